"""Do gradients grow near the end of training because decay follows the learning rate, and does a correction stop it?

python -m experiments.literature.gradients_at_the_end

python -m experiments.literature.gradients_at_the_end --steps 2000 --seeds 4     # 15 s, two claims undecided

Expected (37 s on 2 CPU cores; 224 members, two programs): at a constant rate |g| / |w| of a random walk under SGD is
0.9988 [0.9987, 0.9988] of sqrt(2 decay / learning rate). From the middle to the last tenth of a cosine its gradient
grows 1.500 [1.499, 1.502] times under decoupled decay, 1.000 [0.999, 1.002] under corrected.

Under AdamW the gradient of the net's normalized layers grows 1.21 [1.20, 1.22] times at decay 0.3, 1.56 at 1 and 2.11
at 3. Corrected decay keeps the norm of these layers (at most 1.014 [1.007, 1.022]) and so stops the growth, but their
gradient does not stay, it falls: to 0.77 [0.75, 0.78] at decay 1, where |g| |w|, the gradient at norm 1, falls to 0.76
under either decay. So "as it is, within a tenth" fails; the seven other claims hold. The loss on the noisy batches ends
lower at every decay, by 0.0004 [0.0002, 0.0006] nats at 0.1 and 0.0095 [0.0045, 0.0144] at 3; test accuracy stays
within half a point.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import digits_task
from experiments.literature.cells import cells
from experiments.literature.during import mean_during
from experiments.literature.scale_invariant import SIDE, NormalizedMlp, check_widths, random_walk
from experiments.literature.wrong_labels import noisy

CLASSES = 10
VALIDATION_SIZE = 300
BATCH_SIZE = 16
EVALUATIONS = 20


class Hypers(NamedTuple):
    """The hyperparameters of a random walk or a net."""

    learning_rate: wd.Array  # f32[], the peak
    decay: wd.Array  # f32[], a rate
    falling: wd.Array  # f32[]: 1 where the learning rate falls by a cosine, 0 where it is constant
    correction: wd.Array  # f32[]: 1 where the rate of decay falls by the cosine as well, 0 where it is constant
    scale: wd.Array  # f32[], standard deviation of the walk's gradient where it has norm 1; unused by the net


def experiment(
    *,
    decays: tuple[float, ...] = (0.1, 0.2),
    learning_rate: float = 0.05,
    net_decays: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    net_learning_rate: float = 0.01,
    seeds: int = 16,
    steps: int = 6_000,
    train_size: int = 1_000,
    noise: float = 0.4,
    widths: tuple[int, ...] = (64, 32),
) -> wd.Experiment:
    """SGD moves a matrix whose gradient is pure noise, a random walk; AdamW trains a net on digits with noisy labels.

    The learning rate falls to 0 by a cosine, and decay is proportional either to it (decoupled) or to its square
    (corrected); the random walk is run at a constant learning rate as well.

    Args:
        decays: Rates of decay of the matrix.
        learning_rate: Peak learning rate of the matrix.
        net_decays: Rates of decay of the net.
        net_learning_rate: Peak learning rate of the net.
        seeds: Each has its own noise, split, initial weights and order of the data.
        steps: Steps of training.
        train_size: Training examples of the net; 300 of the 1,797 digits are for validation, the rest for testing.
        noise: Share of the labels of every batch that are made wrong, drawn anew at every step, so that the net cannot
            memorise the noise.
        widths: Units of the net's hidden layers.
    """
    wd.flags.positive(decays=decays, learning_rate=(learning_rate,), net_decays=net_decays,
                    net_learning_rate=(net_learning_rate,))  # fmt: skip
    wd.flags.counts(train_size=train_size)
    wd.flags.seeds(seeds)
    check_widths(widths)
    if not 0 <= noise <= 1:
        raise wd.UserError(f"--noise {noise} is not a share: give a number from 0 to 1")
    points = partial(wd.grid, Hypers, learning_rate=(net_learning_rate,), decay=net_decays, falling=(1.0,))
    check_steps(points(), steps)
    net = NormalizedMlp(widths, CLASSES, normalized_head=False)
    task = digits_task(net, train_size, label_noise=0.0, batch_size=BATCH_SIZE, validation_size=VALIDATION_SIZE)
    of_net = partial(noisy_net, noisy(task, noise, CLASSES), len(widths), steps)
    return wd.Experiment(
        arms={
            **random_walks(decays, learning_rate, steps),
            "net, decoupled": of_net(points()),
            "net, corrected": of_net(points(correction=(1.0,))),
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=EVALUATIONS,
        claims=(equilibrium, walk_grows, walk_corrected, net_grows, net_corrected, net_norm, lower_loss, as_accurate),
        figures=figures,
    )


# What is trained


def random_walks(decays: Sequence[float], learning_rate: float, steps: int) -> dict[str, wd.Arm]:
    """Random walks under SGD at a constant learning rate, and at one that falls with decoupled and corrected decay."""

    def sgd(hypers: Hypers) -> optax.GradientTransformation:
        decay = corrected(hypers, steps, wd.matrices)
        return wd.decoupled(optax.identity(), decay, hypers.learning_rate, cosine_to(hypers.falling, steps))

    points = partial(wd.grid, Hypers, learning_rate=(learning_rate,), decay=decays, scale=(1.0,))
    arm = partial(wd.Arm, random_walk(SIDE), sgd, axis="decay", observe=lambda h: partial(squares, wd.matrices))
    return {
        "walk, constant": arm(points()),
        "walk, decoupled": arm(points(falling=(1.0,))),
        "walk, corrected": arm(points(falling=(1.0,), correction=(1.0,))),
    }


def noisy_net(task: wd.Task, hidden_layers: int, steps: int, points: Hypers) -> wd.Arm:
    """A net under AdamW whose hidden layers, normalized, have corrected decay and its head, which is not, decoupled."""
    hidden = wd.matching("|".join(f"Dense_{layer}/kernel" for layer in range(hidden_layers)))
    head = wd.matching(f"Dense_{hidden_layers}/kernel")

    def adam(hypers: Hypers) -> optax.GradientTransformation:
        decay = optax.chain(corrected(hypers, steps, hidden), wd.decay_weights(hypers.decay, mask=head))
        return wd.decoupled(optax.scale_by_adam(), decay, hypers.learning_rate, cosine_to(hypers.falling, steps))

    return wd.Arm(task, adam, points, axis="decay", observe=lambda h: partial(squares, hidden))


def cosine_to(power: wd.Array, steps: int) -> optax.Schedule:
    """A cosine from 1 to 0, to a power.

    To the power 0 it is a constant, so that one program serves all walks, and another both nets.
    """
    cosine = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: cosine(step) ** power


def corrected(hypers: Hypers, steps: int, mask: wd.Mask) -> optax.GradientTransformation:
    """Decay at a rate that falls as the learning rate does where h.correction is 1, and stays where it is 0."""
    return wd.corrected(hypers.decay, cosine_to(hypers.correction, steps), mask)


# What is measured


def squares(mask: wd.Mask, before: wd.Params, gradients: optax.Updates, after: wd.Params) -> wd.Metrics:
    """Of a step, and the leaves that the mask takes in: |g|^2, |w|^2 before the step, and their quotient."""
    del after
    of_gradient, of_weights = 2 * wd.l2(gradients, mask), 2 * wd.l2(before, mask)
    return {
        "squared_gradient": of_gradient,
        "squared_weights": of_weights,
        "squared_ratio": of_gradient / of_weights,
    }


Arms = Mapping[str, wd.Results]


def during(results: wd.Results, name: str, start: float, end: float) -> np.ndarray:
    """The mean of a squared quantity from one share of training to another, as a root; f64[s, h]."""
    return np.sqrt(mean_during(results, f"running_squared_{name}", start, end))


def growth(results: wd.Results, name: str = "gradient") -> np.ndarray:
    """A quantity in the last tenth of training relative to the tenth in its middle; f64[s, h]."""
    return during(results, name, 0.9, 1.0) / during(results, name, 0.45, 0.55)


def per_decay(results: wd.Results, values: np.ndarray) -> dict[str, np.ndarray]:
    """A cell for each decay, from f64[s, h]."""
    return cells("decay {:.3g}", values, results["decay"].to_numpy())


def settled(learning_rates: np.ndarray, decays: np.ndarray, steps: int) -> np.ndarray:
    """Which points decay on a time scale 1 / (learning rate * decay) of at most a tenth of training; bool[h]."""
    return learning_rates * decays * steps >= 9.99  # 10, up to the rounding of its factors in float32


def check_steps(points: Hypers, steps: int) -> None:
    """Raise UserError unless every evaluation has a step, and a point decays fast enough for claims to be measured."""
    if steps < EVALUATIONS:
        raise wd.UserError(
            f"--steps {steps} is too few: give {EVALUATIONS} or more, there are {EVALUATIONS} evaluations"
        )
    learning_rates, decays = np.asarray(points.learning_rate), np.asarray(points.decay)
    if not settled(learning_rates, decays, steps).any():
        least = int(np.ceil(10 / (learning_rates * decays).max()))
        raise wd.UserError(
            f"--steps {steps} is too few: the net's fastest decay takes more than a tenth of training, so give {least} "
            "or more"
        )


def growth_of_the_net(arm: str, arms: Arms, name: str = "gradient") -> dict[str, np.ndarray]:
    """Growth of a quantity of the net's normalized layers, where decay is fast enough for them to reach equilibrium."""
    results = arms[arm]
    among = settled(results["learning_rate"].to_numpy(), results["decay"].to_numpy(), int(results["step"][-1]))
    return per_decay(results.isel(point=among), growth(results, name)[:, among])


def against_equilibrium(arms: Arms) -> dict[str, np.ndarray]:
    """|g| / |w| of the walk at a constant rate, in the second half of training, relative to its prediction."""
    results = arms["walk, constant"]
    return per_decay(results, during(results, "ratio", 0.5, 1.0) / equilibrium_ratio(results))


def equilibrium_ratio(results: wd.Results) -> np.ndarray:
    """sqrt(2 decay / learning rate), at the peak of the schedule; f64[h]."""
    return np.sqrt(2 * results["decay"].to_numpy().astype(float) / results["learning_rate"].to_numpy())


def difference(arms: Arms, of: Callable[[wd.Results], np.ndarray]) -> dict[str, np.ndarray]:
    """By how much a quantity of the net is larger under decoupled than under corrected decay."""
    return per_decay(arms["net, decoupled"], of(arms["net, decoupled"]) - of(arms["net, corrected"]))


def noisy_loss(results: wd.Results) -> np.ndarray:
    """The loss on the training batches of the last tenth, in nats; f64[s, h]."""
    return mean_during(results, "running_loss", 0.9)


DEFAZIO = "Defazio (2506.02285)"
claim = partial(wd.Claim, source=DEFAZIO, quantifier=wd.everywhere)

equilibrium = claim(
    id="gradient-to-weight-ratio",
    statement="Under SGD at a constant rate |g| / |w| of a random walk becomes sqrt(2 decay / learning rate).",
    measure=against_equilibrium,
    expected=(0.99, 1.01),
)
walk_grows = claim(
    id="walk-grows",
    statement="Where the rate falls, decoupled decay makes the gradient of the walk grow, by more than a fifth.",
    measure=lambda arms: per_decay(arms["walk, decoupled"], growth(arms["walk, decoupled"])),
    expected=(1.2, np.inf),
)
walk_corrected = claim(
    id="walk-corrected",
    statement="Corrected decay keeps the gradient of the walk as it is, within 3 %.",
    measure=lambda arms: per_decay(arms["walk, corrected"], growth(arms["walk, corrected"])),
    expected=(0.97, 1.03),
)
net_grows = claim(
    id="net-grows",
    statement="Under AdamW the gradient of a net's normalized layers grows, by more than a tenth.",
    measure=partial(growth_of_the_net, "net, decoupled"),
    expected=(1.1, np.inf),
)
net_corrected = claim(
    id="net-corrected",
    statement="Corrected decay keeps the gradient of a net's normalized layers as it is, within a tenth.",
    measure=partial(growth_of_the_net, "net, corrected"),
    expected=(0.9, 1.1),
)
net_norm = claim(
    id="net-norm",
    statement="Corrected decay keeps the norm of a net's normalized layers as it is, within 5 %.",
    measure=partial(growth_of_the_net, "net, corrected", name="weights"),
    expected=(0.95, 1.05),
)
lower_loss = claim(
    id="corrected-lower-loss",
    statement="At the same learning rate and decay corrected decay ends at a lower loss on the training batches.",
    source=f"{DEFAZIO}, its abstract: lower loss throughout training",
    measure=partial(difference, of=noisy_loss),
    expected=(0.0, np.inf),
)
as_accurate = claim(
    id="corrected-as-accurate",
    statement="At the same learning rate and decay test accuracy stays the same, within half a point.",
    source=f"a margin for {DEFAZIO}",
    measure=partial(difference, of=partial(wd.surviving, name="test_accuracy")),
    expected=(-0.005, 0.005),
)


# What is drawn


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """Three panels over training: |g| / |w| of the walk beside its predictions; |g| and |w| of the net at one decay."""
    figure, panels = wd.panel_grid(3, 1, width=3.8, height=2.7, share=False)
    walk, gradient, weights = panels[:, 0]
    draw_walk(walk, arms)
    draw_net(gradient, arms, "gradient", "|g| of the normalized layers")
    draw_net(weights, arms, "weights", "|w| of the normalized layers")
    for panel in panels[:, 0]:
        panel.title.set_fontsize(10)
        panel.set_xlim(0, 1)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    weights.set_xlabel("share of training")
    return {"gradients": figure}


def shares(results: wd.Results) -> np.ndarray:
    """The middle of each segment as a share of training, from 0 to 1; f64[evaluations]."""
    ends = np.concatenate([[0], results["step"].to_numpy()])
    return (ends[1:] + ends[:-1]) / 2 / ends[-1]


def draw_walk(panel: wd.Axes, arms: Arms) -> None:
    """|g| / |w| of the walks at the first decay, and its equilibrium at the learning rate of each step."""
    walks = [name for name in arms if name.startswith("walk")]
    for name, (color, dashes) in zip(walks, (wd.LINES[2], wd.LINES[0], wd.LINES[1]), strict=True):
        values = np.sqrt(arms[name]["running_squared_ratio"].isel(point=0).to_numpy())
        wd.draw_band(panel, shares(arms[name]), values, name, color, dashes)
    in_equilibrium = equilibrium_ratio(arms["walk, constant"])[0]
    share = np.linspace(0, 0.99, 100)
    falling = np.cos(np.pi / 2 * share)  # the root of the cosine schedule (1 + cos(pi t)) / 2
    shaded: dict[str, Any] = {"color": "0.5", "linewidth": 4, "alpha": 0.4, "zorder": 0}
    panel.plot(share, np.full_like(share, in_equilibrium), label="predicted equilibrium", **shaded)
    panel.plot(share, in_equilibrium / falling, **shaded)
    panel.set(title=f"a random walk under SGD, decay {float(arms[walks[0]]['decay'][0]):.3g}", ylabel="|g| / |w|")
    panel.set_ylim(0, 4.2 * in_equilibrium)


def draw_net(panel: wd.Axes, arms: Arms, name: str, label: str) -> None:
    """A quantity of the net's normalized layers over training, at the median decay."""
    for arm, (color, dashes) in {"net, decoupled": wd.LINES[0], "net, corrected": wd.LINES[1]}.items():
        results = arms[arm].isel(point=arms[arm].sizes["point"] // 2)
        values = np.sqrt(results[f"running_squared_{name}"].to_numpy())
        wd.draw_band(panel, shares(results), values, arm, color, dashes)
        panel.set(title=f"a net under AdamW, decay {float(results['decay']):.3g}", ylabel=label)
    panel.set_ylim(bottom=0)


if __name__ == "__main__":
    wd.main(experiment)
