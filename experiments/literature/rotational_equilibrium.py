"""Does decay set how fast weights turn, alike in all layers, and is that why AdamW beats Adam with L2?

python -m experiments.literature.rotational_equilibrium

python -m experiments.literature.rotational_equilibrium --seeds 4     # half the time, wider intervals

Expected (138 s on 2 CPU cores; 672 members, four programs): a random walk turns as theory says,
by 1.005 [1.004, 1.005] times the predicted angle under AdamW, 1.0002 under momentum SGD, 0.9985 under Adam with L2, the
farthest cell of each; under AdamW alike for gradients of any size, under Adam with L2 by the inverse cube root of their
size. Lion fails at 1 %: 1.026 [1.023, 1.029] where decay takes 1,000 steps, only ten times what its momentum remembers;
at 2,000 steps 1.007 [1.003, 1.010]. The norm under AdamW is 0.985 [0.984, 0.986] of the predicted one.

In the net, its decay chosen on validation data, AdamW turns the fastest layer 1.16 [1.15, 1.17] times as fast as the
slowest, which fails at 10 %, Adam with L2 2.14 [2.12, 2.16] times. Yet there is no advantage to explain: AdamW's test
accuracy is 1.5 points [0.8, 2.3] below that of Adam with L2, so that claim fails. The picture: level lines and one that
falls; then layers nearly alike and unalike; then two hills, of which the unbalanced one is higher and falls off later.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.literature.scale_invariant import SIDE, check_widths, length, normalized, random_walk, unit
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.claims import Cell, Claim, does
from wd_research.evidence.drawing import LINES, draw_band, panel_grid
from wd_research.evidence.statistics import at_choice, best_candidate, choose_leaving_one_out
from wd_research.experiment import Experiment
from wd_research.search import decades, grid
from wd_research.training.data import check_sizes, digits, draw_split
from wd_research.training.models import dense
from wd_research.training.tasks import classification
from wd_research.types import Arm, Array, Axes, Batch, Extras, Figure, Hypers, Key, Loss, Metrics, Params, Results, Task

BETA_1, ADAM_BETA_2, LION_BETA_2, MOMENTUM = 0.9, 0.999, 0.99, 0.9
VALIDATION_SIZE = 400
BATCH_SIZE = 16  # small, so that gradients are mostly noise
LOOKS = 10


class Net(NamedTuple):
    """The numbers of a net."""

    learning_rate: Array  # f32[]
    strength: Array  # f32[], of L2
    decay: Array  # f32[], the rate of decoupled decay


class Walker(NamedTuple):
    """The numbers of a matrix that walks at random."""

    learning_rate: Array  # f32[]
    strength: Array  # f32[], of L2
    decay: Array  # f32[], the rate of decoupled decay
    scale: Array  # f32[], standard deviation of the gradient's entries where the matrix has norm 1


def experiment(
    *,
    scales: tuple[float, ...] = (0.03, 0.3, 3.0),
    decays: tuple[float, ...] = (0.1, 0.2),
    learning_rate: float = 0.005,
    net_decays: tuple[float, ...] = decades(0.1, 4.64, 10)[1:],
    net_strengths: tuple[float, ...] = decades(1e-3, 0.316, 10)[1:],
    net_learning_rate: float = 0.01,
    seeds: int = 16,
    steps: int = 8_000,
    train_size: int = 500,
    flipped: float = 0.2,
    widths: tuple[int, ...] = (64, 32, 16),
) -> Experiment:
    """Four optimizers move a matrix whose gradient is noise alone; two of them then train a normalized net on digits.

    The learning rate is constant. Every measurement is a mean over the second half of training, accuracies included.

    Args:
        scales: Sizes of the noise; the claims compare the smallest with the largest.
        decays: Rates of decay of the matrix, strengths where the decay is L2; Lion takes ten times as much.
        learning_rate: Of the matrix; Lion takes a tenth of it (Chen et al., 2302.06675, advise a third to a tenth).
        net_decays: Rates of decay of the net under AdamW.
        net_strengths: Strengths of L2 of the net under Adam.
        net_learning_rate: Of the net. One is enough: norms follow all its layers, so that in equilibrium only its
            product with decay counts.
        seeds: Each has its own noise, split, flipped labels, initial weights and order of the data.
        steps: Steps of training; many times 1 / (learning rate * decay), or there is no equilibrium to measure.
        train_size: Training examples of the net; 400 of the 1,797 digits are for validation, the rest for testing.
        flipped: Share of the training labels that are made wrong.
        widths: Units of the net's hidden layers.
    """
    checks.positive(scales=scales, decays=decays, learning_rate=(learning_rate,), net_decays=net_decays,
                    net_strengths=net_strengths, net_learning_rate=(net_learning_rate,))  # fmt: skip
    checks.counts(steps=steps, train_size=train_size)
    checks.seeds(seeds)
    check_widths(widths)
    if len(scales) < 2:
        raise ValueError("--scales has one value: give two or more, the claims compare the smallest with the largest")
    examples = digits()
    check_sizes(examples, train_size, VALIDATION_SIZE, flipped)

    walk = watched(random_walk(SIDE))
    net = watched(
        classification(
            NormalizedMlp(widths, classes=10),
            examples,
            split=lambda seed: draw_split(examples, seed, train_size, VALIDATION_SIZE, flipped),
            batch_size=BATCH_SIZE,
        )
    )
    adam, sgd, lion = (
        stepping(core)
        for core in (
            optax.scale_by_adam(BETA_1, ADAM_BETA_2),
            optax.trace(MOMENTUM),
            optax.scale_by_lion(BETA_1, LION_BETA_2),
        )
    )
    rate, net_rate = (learning_rate,), (net_learning_rate,)
    decoupled_points = grid(Walker, learning_rate=rate, strength=(0.0,), decay=decays, scale=scales)
    coupled_points = grid(Walker, learning_rate=rate, strength=decays, decay=(0.0,), scale=scales)
    lion_points = decoupled_points._replace(
        learning_rate=decoupled_points.learning_rate / 10, decay=decoupled_points.decay * 10
    )
    net_decoupled_points = grid(Net, learning_rate=net_rate, strength=(0.0,), decay=net_decays)
    net_coupled_points = grid(Net, learning_rate=net_rate, strength=net_strengths, decay=(0.0,))
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={
            "AdamW": Arm(walk, walk.loss, adam, decoupled_points, axis="decay"),
            "momentum SGD": Arm(walk, walk.loss, sgd, coupled_points, axis="strength"),
            "Lion": Arm(walk, walk.loss, lion, lion_points, axis="decay"),
            "Adam with L2": Arm(walk, walk.loss, adam, coupled_points, axis="strength"),
            "net, AdamW": Arm(net, net.loss, adam, net_decoupled_points, axis="decay"),
            "net, Adam with L2": Arm(net, net.loss, adam, net_coupled_points, axis="strength"),
        },
        seeds=seeds,
        steps=steps,
        looks=LOOKS,
        claims=(*map(turns_as_predicted, ANGLES), norm, scale_free, balanced, unbalanced, generalises),
        figures=figures,
    )


def stepping(core: optax.GradientTransformation) -> Callable[[Hypers], optax.GradientTransformation]:
    """The optimizer with this core, L2 before it and decoupled decay after it, at a constant learning rate.

    Each arm sets one of the two to 0, so that AdamW and Adam with L2 are one program.
    """

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        with_l2 = optax.chain(decay_weights(hypers.strength), core)
        return decoupled(with_l2, decay_weights(hypers.decay), hypers.learning_rate, optax.constant_schedule(1.0))

    return optimizer


# What is trained


class NormalizedMlp(nn.Module):
    """A multilayer perceptron with ReLU, without biases, whose every layer is followed by `normalized`.

    So no layer's output changes with the size of its kernel, the logits f32[b, classes] neither, and decay acts on
    nothing but the rate at which kernels turn.
    """

    widths: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        del train
        for width in self.widths:
            inputs = nn.relu(normalized(dense(width, use_bias=False)(inputs)))
        return normalized(dense(self.classes, use_bias=False)(inputs))


# What is measured


def watched(task: Task) -> Task:
    """A task without extras, with two more metrics of every leaf i: "squared_angle_i", rad^2 by which the last step
    turned it, and "norm_i".

    The extras keep the direction that each leaf had a step ago. The angle is 2 arcsin(|u - v| / 2) for the directions u
    and v: in float32 their difference is exact where their scalar product is not.
    """

    def init(key: Key) -> tuple[Params, Extras]:
        params, _ = task.init(key)
        return params, jax.tree.map(unit, params)

    def loss(hypers: Hypers) -> Loss:
        unwatched = task.loss(hypers)

        def of_batch(params: Params, before: Extras, batch: Batch, key: Key):
            value, (_, metrics) = unwatched(params, {}, batch, key)
            leaves, olds = jax.tree.leaves(jax.lax.stop_gradient(params)), jax.tree.leaves(before)
            angles = [2 * jnp.arcsin(length(unit(leaf) - old) / 2) for leaf, old in zip(leaves, olds, strict=True)]
            squares = {f"squared_angle_{i}": angle**2 for i, angle in enumerate(angles)}
            norms = {f"norm_{i}": length(leaf) for i, leaf in enumerate(leaves)}
            now = jax.tree.map(unit, jax.lax.stop_gradient(params))
            return value, (now, {**metrics, **squares, **norms})

        return of_batch

    def evaluate(params: Params, before: Extras, part: Batch) -> Metrics:
        del before
        return task.evaluate(params, {}, part)

    return task._replace(init=init, loss=loss, evaluate=evaluate)


Arms = Mapping[str, Results]
NETS = ("net, AdamW", "net, Adam with L2")


def late(results: Results, name: str) -> np.ndarray:
    """A mean over the second half of training; f64[s, h], NaN where the member has diverged."""
    halfway = float(results["step"][-1]) / 2
    mean = results[name].sel(step=results["step"] > halfway).mean("step").to_numpy().astype(float)
    return np.where(results["diverged_at"].to_numpy() < 0, mean, np.nan)


def angle(results: Results, leaf: int = 0) -> np.ndarray:
    """The root of the mean squared angle per step, in rad; f64[s, h]."""
    return np.sqrt(late(results, f"running_squared_angle_{leaf}"))


def layers(results: Results) -> np.ndarray:
    """The angle per step of each layer of the net; f64[s, h, layers]."""
    count = sum(str(name).startswith("running_squared_angle_") for name in results.data_vars)
    return np.stack([angle(results, leaf) for leaf in range(count)], axis=-1)


def coordinates(results: Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Learning rate, decay (be it a rate or a strength, the other is 0) and scale of a walk's points, each f64[h]."""
    learning_rates, strengths, decays, scales = (results[name].to_numpy().astype(float) for name in Walker._fields)
    return learning_rates, strengths + decays, scales


# What is predicted: the angle per step from learning rate e, decay d and scale s.
# In equilibrium the walk lengthens w in a step by as much as decay shortens it. Adam's steps have entries of mean
# square (1 - b1) / (1 + b1), and over many steps the walk of entries of mean square 1. With L2 Adam divides the decay
# d w by the gradient's size s / |w| too, whence e^2 C = 2 e d |w|^3 / s.

LION = (1 - BETA_1) ** 2 + BETA_1**2 * (1 - LION_BETA_2) / (1 + LION_BETA_2)
ANGLES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "AdamW": lambda e, d, s: np.sqrt(2 * e * d * (1 - BETA_1) / (1 + BETA_1)),
    "momentum SGD": lambda e, d, s: np.sqrt(2 * e * d / (1 + MOMENTUM)),
    "Lion": lambda e, d, s: np.sqrt(np.pi / 2) * np.sqrt(2 * e * d) * np.sqrt(LION),
    "Adam with L2": lambda e, d, s: np.sqrt((1 - BETA_1) / (1 + BETA_1)) * np.cbrt(2 * e**2 * d * SIDE / s),
}


def per_point(results: Results, values: np.ndarray) -> dict[str, Cell]:
    """A cell for each point of a walk, from f64[s, h]."""
    _, decays, scales = coordinates(results)
    names = [f"decay {decay:.3g}, scale {scale:.3g}" for decay, scale in zip(decays, scales, strict=True)]
    return {name: Cell(column) for name, column in zip(names, values.T, strict=True)}


def against_prediction(name: str, arms: Arms) -> dict[str, Cell]:
    """Measured / predicted angle of a walk."""
    return per_point(arms[name], angle(arms[name]) / ANGLES[name](*coordinates(arms[name])))


def turns_as_predicted(name: str) -> Claim:
    """The claim that a walk turns per step by the predicted angle, within 1 %."""
    return Claim(
        id=f"rotation-{name.lower().replace(' ', '-')}",
        statement=f"Under {name} a random walk turns per step by the angle that theory predicts.",
        source="Kosson et al. (2305.17212), rotational equilibrium",
        measure=lambda arms: against_prediction(name, arms),
        expected=(0.99, 1.01),
        quantifier=does,
    )


def norms(arms: Arms) -> dict[str, Cell]:
    """Measured / predicted norm of the walk under AdamW, sqrt(learning rate * entries / (2 decay))."""
    learning_rates, decays, _ = coordinates(arms["AdamW"])
    return per_point(
        arms["AdamW"], late(arms["AdamW"], "running_norm_0") / np.sqrt(learning_rates * SIDE**2 / (2 * decays))
    )


def small_to_large(arms: Arms) -> dict[str, Cell]:
    """The angle under AdamW at the smallest gradients relative to that at the largest, for each decay."""
    _, decays, scales = coordinates(arms["AdamW"])
    small, large = (angle(arms["AdamW"])[:, scales == scale] for scale in (scales.min(), scales.max()))
    names = [f"decay {decay:.3g}" for decay in decays[scales == scales.min()]]
    return {name: Cell(column) for name, column in zip(names, (small / large).T, strict=True)}


def at_chosen(results: Results, values: np.ndarray) -> np.ndarray:
    """Values f64[s, h] of the net at the decay that validation data choose, leaving one seed out; f64[s]."""
    return at_choice(values, choose_leaving_one_out(late(results, "validation_accuracy")))


def chosen(results: Results) -> int:
    """The decay that the validation data of all seeds choose, as the number of its point."""
    return best_candidate(late(results, "validation_accuracy"))


def on_edge(results: Results) -> bool:
    """Whether that decay is the smallest or the largest of the grid, so that a better one may lie beyond."""
    grid = results[results.attrs["axis"]].to_numpy()
    return bool(grid[chosen(results)] in (grid.min(), grid.max()))


def imbalance(name: str, arms: Arms) -> dict[str, Cell]:
    """The largest layer's angle relative to the smallest's, at the decay that validation data choose."""
    ratios = layers(arms[name]).max(axis=-1) / layers(arms[name]).min(axis=-1)
    return {"chosen on validation data": Cell(at_chosen(arms[name], ratios), on_edge(arms[name]))}


def advantage(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of the net under AdamW above that under Adam with L2, each decay chosen on validation data."""
    adamw, l2 = (arms[name] for name in NETS)
    first, second = (at_chosen(results, late(results, "test_accuracy")) for results in (adamw, l2))
    return {"both tuned": Cell(first - second, on_edge(adamw) or on_edge(l2))}


norm = Claim(
    id="norm-adamw",
    statement="Under AdamW the norm of a random walk becomes the one that theory predicts.",
    source="Kosson et al. (2305.17212), rotational equilibrium",
    measure=norms,
    expected=(0.97, 1.03),
    quantifier=does,
)
scale_free = Claim(
    id="scale-free-adamw",
    statement="Under AdamW the angle does not depend on the size of the gradient.",
    source="Kosson et al. (2305.17212); Zhuang et al. (2202.00089), scale-freeness",
    measure=small_to_large,
    expected=(0.99, 1.01),
    quantifier=does,
)
balanced = Claim(
    id="balanced-adamw",
    statement="Under AdamW the layers of a net turn equally, within 10 %.",
    source="Kosson et al. (2305.17212), balanced rotation",
    measure=lambda arms: imbalance("net, AdamW", arms),
    expected=(1.0, 1.1),
    quantifier=does,
)
unbalanced = Claim(
    id="unbalanced-adam-with-l2",
    statement="Under Adam with L2 the layers of a net turn unequally, by more than 25 %.",
    source="Kosson et al. (2305.17212), AdamW against Adam with L2",
    measure=lambda arms: imbalance("net, Adam with L2", arms),
    expected=(1.25, np.inf),
    quantifier=does,
)
generalises = Claim(
    id="adamw-generalises-better",
    statement="At a constant learning rate AdamW generalises better than Adam with L2, both decays tuned.",
    source="Loshchilov & Hutter (1711.05101); Kosson et al. (2305.17212) explain it by balanced rotation",
    measure=advantage,
    expected=(0.0, np.inf),
    quantifier=does,
)


# What is drawn

MARKERS = ("o", "s", "^", "D")
NET_LINES = (LINES[0], LINES[3])  # as the walks of the same optimizers
MILLI = 1000


def figures(arms: Arms) -> dict[str, Figure]:
    """Three panels: the walks beside their predictions, the layers of the net, and its accuracy over its mean angle."""
    figure, panels = panel_grid(3, 1, width=3.8, height=2.9, share=False)
    walks, by_layer, accuracy = panels[:, 0]
    draw_walks(walks, arms)
    draw_layers(by_layer, arms)
    draw_accuracy(accuracy, arms)
    for panel in panels[:, 0]:
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    return {"rotation": figure}


def draw_walks(panel: Axes, arms: Arms) -> None:
    """Measured angles as marks and predicted ones as lines over the size of the gradient, at the largest decay."""
    for (name, predicted), (color, dashes), marker in zip(ANGLES.items(), LINES, MARKERS, strict=False):
        learning_rates, decays, scales = coordinates(arms[name])
        among = decays == decays.max()
        line = np.geomspace(scales.min() / 1.5, scales.max() * 1.5, 50)
        heights = predicted(learning_rates[0], decays.max(), line) * np.ones_like(line)
        panel.plot(line, MILLI * heights, color=color, linestyle=dashes, linewidth=1)
        measured = angle(arms[name])[:, among].mean(axis=0)
        panel.plot(scales[among], MILLI * measured, marker, color=color, markersize=5, label=name)
    panel.set(title="walks: measured (marks), predicted (lines)", xscale="log", yscale="log",
              xlabel="size of the gradient's entries at norm 1", ylabel="angle per step, mrad")  # fmt: skip
    panel.set_ylim(top=5 * panel.get_ylim()[1])  # room for the legend
    panel.legend(fontsize=8, ncols=2, loc="upper right")
    plain_numbers(panel.xaxis)
    plain_numbers(panel.yaxis)


def draw_layers(panel: Axes, arms: Arms) -> None:
    """The angle of every layer of the net at the decay that validation data choose, beside AdamW's prediction."""
    for name, (color, dashes) in zip(NETS, NET_LINES, strict=True):
        angles = MILLI * layers(arms[name])[:, chosen(arms[name])]
        numbers = np.arange(angles.shape[1]) + 1
        draw_band(panel, numbers, angles, name, color, dashes)
        panel.set_xticks(numbers)
    best = arms["net, AdamW"].isel(point=chosen(arms["net, AdamW"]))
    predicted = ANGLES["AdamW"](best["learning_rate"].to_numpy(), best["decay"].to_numpy(), np.ones(()))
    panel.axhline(MILLI * float(predicted), color="0.6", linewidth=1, label="predicted for AdamW")
    panel.set(title="a net, its decay chosen on validation data", xlabel="layer", ylabel="angle per step, mrad")
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=8, loc="lower left")


def draw_accuracy(panel: Axes, arms: Arms) -> None:
    """Test accuracy over the angle per step, the mean of the net's layers; a line goes through the decays."""
    for name, (color, dashes) in zip(NETS, NET_LINES, strict=True):
        mean_angles = MILLI * layers(arms[name]).mean(axis=(0, 2))
        draw_band(panel, mean_angles, late(arms[name], "test_accuracy"), name, color, dashes)
    panel.set(title="the net, over its decays", xscale="log", ylabel="test accuracy",
              xlabel="angle per step, mean of the layers, mrad")  # fmt: skip
    panel.yaxis.set_major_formatter("{x:.0%}")
    plain_numbers(panel.xaxis)
    panel.legend(fontsize=8, loc="lower left")


def plain_numbers(axis: Any) -> None:
    """Ticks at 1, 2 and 5 of every decade of a logarithmic axis, written out."""
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


if __name__ == "__main__":
    main(experiment)
