"""Does decay set how fast weights turn, alike in all layers, and is that why AdamW beats Adam with L2?

python -m experiments.literature.rotational_equilibrium

python -m experiments.literature.rotational_equilibrium --seeds 4     # half the time, wider intervals

Expected (102 s on 2 CPU cores; 704 members, four programs): a random walk rotates per
step by the angle that theory predicts, by 1.005 [1.004, 1.005] times as much under AdamW, 1.0002 under momentum SGD,
0.9985 under Adam with L2, the farthest cell of each; under AdamW alike for gradients of any size, under Adam with L2 by
the inverse cube root of their size. Lion fails at 1 %: 1.026 [1.023, 1.029] where the time scale of decay is 1,000
steps, only ten times that of its momentum; at 2,000 steps 1.007 [1.003, 1.010]. The norm under AdamW is 0.985
[0.984, 0.986] of the predicted one.

In the net, its decay chosen on validation data, AdamW rotates the fastest layer 1.16 [1.15, 1.17] times as fast as the
slowest, which fails at 10 %, Adam with L2 2.20 [2.19, 2.21] times. Yet there is no advantage to explain: on 16 fresh
seeds AdamW's test accuracy is 1.3 points [0.4, 2.1] below that of Adam with L2, so that claim fails. The figure: level
lines and one that falls; then layers nearly alike and unalike; then two peaks of about the same height, of which the
one of Adam with L2 is the wider.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import wd_research as wd
from experiments.article.setting import digits_task
from experiments.literature.cells import cells
from experiments.literature.during import mean_during
from experiments.literature.scale_invariant import SIDE, NormalizedMlp, check_widths
from experiments.literature.turning import ADAM, ANGLES, coordinates, random_walks, rotation

BATCH_SIZE = 16  # small, so that gradients are mostly noise
EVALUATIONS = 10


class Net(NamedTuple):
    """The hyperparameters of a net; a decay of 0 is off."""

    learning_rate: wd.Array  # f32[]
    strength: wd.Array  # f32[], of L2
    decay: wd.Array  # f32[], the rate of decoupled decay


def experiment(
    *,
    scales: tuple[float, ...] = (0.03, 0.3, 3.0),
    decays: tuple[float, ...] = (0.1, 0.2),
    learning_rate: float = 0.005,
    net_decays: tuple[float, ...] = wd.decades(0.1, 4.64, 10)[1:],
    net_strengths: tuple[float, ...] = wd.decades(1e-3, 0.316, 10)[1:],
    net_learning_rate: float = 0.01,
    seeds: int = 16,
    steps: int = 8_000,
    train_size: int = 500,
    label_noise: float = 0.2,
    widths: tuple[int, ...] = (64, 32, 16),
) -> wd.Experiment:
    """Four optimizers move a matrix whose gradient is pure noise, a random walk; two train a normalized net on digits.

    The learning rate is constant. Every measurement is a mean over the second half of training, accuracies included.

    Args:
        scales: Sizes of the noise; the claims compare the smallest with the largest.
        decays: Rates of decay of the matrix, strengths where the decay is L2; Lion takes ten times as much.
        learning_rate: Of the matrix; Lion takes a tenth of it (Chen et al., 2302.06675, advise a third to a tenth).
        net_decays: Rates of decay of the net under AdamW.
        net_strengths: Strengths of L2 of the net under Adam.
        net_learning_rate: Of the net. One is enough: all its layers are normalized, so that in equilibrium only its
            product with the decay matters.
        seeds: Each has its own noise, split, label noise, initial weights and order of the data.
        steps: Steps of training; many times 1 / (learning rate * decay), or there is no equilibrium to measure.
        train_size: Training examples of the net; 400 of the 1,797 digits are for validation, the rest for testing.
        label_noise: Share of the training labels that are made wrong.
        widths: Units of the net's hidden layers.
    """
    wd.flags.positive(scales=scales, decays=decays, learning_rate=(learning_rate,), net_decays=net_decays,
                    net_strengths=net_strengths, net_learning_rate=(net_learning_rate,))  # fmt: skip
    wd.flags.counts(steps=steps, train_size=train_size)
    wd.flags.seeds(seeds)
    check_widths(widths)
    if len(scales) < 2:
        raise wd.UserError("--scales has one value: give two or more, the claims compare the smallest with the largest")
    net = digits_task(NormalizedMlp(widths, classes=10), train_size, label_noise, BATCH_SIZE)
    points = partial(wd.grid, Net, learning_rate=(net_learning_rate,))
    of_net = partial(wd.Arm, net, ADAM, observe=lambda h: rotation)
    return wd.Experiment(
        arms={
            **random_walks(scales, decays, learning_rate),
            "net, AdamW": of_net(points(decay=net_decays), axis="decay"),
            "net, Adam with L2": of_net(points(strength=net_strengths), axis="strength"),
        },
        seeds=seeds,
        steps=steps,
        evaluations=EVALUATIONS,
        claims=(*map(turns_as_predicted, ANGLES), norm, scale_free, balanced, unbalanced, generalises),
        figures=figures,
    )


# What is measured

Arms = Mapping[str, wd.Results]
NETS = ("net, AdamW", "net, Adam with L2")


def late(results: wd.Results, name: str) -> np.ndarray:
    """A mean over the second half of training; f64[s, h], NaN where the member has diverged."""
    return mean_during(results, name, 0.5)


def angle(results: wd.Results, leaf: int = 0) -> np.ndarray:
    """The root of the mean squared angle per step, in rad; f64[s, h]."""
    return np.sqrt(late(results, f"running_squared_angle_{leaf}"))


def layers(results: wd.Results) -> np.ndarray:
    """The angle per step of each layer of the net; f64[s, h, layers]."""
    count = sum(str(name).startswith("running_squared_angle_") for name in results.data_vars)
    return np.stack([angle(results, leaf) for leaf in range(count)], axis=-1)


def per_point(results: wd.Results, values: np.ndarray) -> dict[str, np.ndarray]:
    """A cell for each point of a walk, from f64[s, h]."""
    _, decays, scales = coordinates(results)
    return cells("decay {:.3g}, scale {:.3g}", values, decays, scales)


def against_prediction(name: str, arms: Arms) -> dict[str, np.ndarray]:
    """Measured / predicted angle of a walk."""
    return per_point(arms[name], angle(arms[name]) / ANGLES[name](*coordinates(arms[name])))


KOSSON = "Kosson et al. (2305.17212)"
claim = partial(wd.Claim, quantifier=wd.everywhere)


def turns_as_predicted(name: str) -> wd.Claim:
    """The claim that a walk rotates per step by the predicted angle, within 1 %."""
    return claim(
        id=f"rotation-{name.lower().replace(' ', '-')}",
        statement=f"Under {name} a random walk turns per step by the angle that theory predicts.",
        source=f"{KOSSON}, rotational equilibrium",
        measure=lambda arms: against_prediction(name, arms),
        expected=(0.99, 1.01),
    )


def norms(arms: Arms) -> dict[str, np.ndarray]:
    """Measured / predicted norm of the walk under AdamW, sqrt(learning rate * entries / (2 decay))."""
    results = arms["AdamW"]
    learning_rates, decays, _ = coordinates(results)
    predicted = wd.equilibrium.norm_under_adam(learning_rates, decays, SIDE**2)
    return per_point(results, late(results, "running_norm_0") / predicted)


def small_to_large(arms: Arms) -> dict[str, np.ndarray]:
    """The angle under AdamW at the smallest gradients relative to that at the largest, for each decay."""
    _, decays, scales = coordinates(arms["AdamW"])
    small, large = (angle(arms["AdamW"])[:, scales == scale] for scale in (scales.min(), scales.max()))
    return cells("decay {:.3g}", small / large, decays[scales == scales.min()])


def chosen(results: wd.Results) -> wd.Choice:
    """The decay of the net that validation data choose, by their mean over the second half of training."""
    return wd.choose(results, scores=late(results, "validation_accuracy"))


def imbalance(name: str, arms: Arms) -> dict[str, wd.Scores]:
    """The largest layer's angle relative to the smallest's, at the decay that validation data choose."""

    def ratio(at: wd.Results) -> np.ndarray:
        return (layers(at).max(axis=-1) / layers(at).min(axis=-1))[:, 0]

    return {"chosen on validation data": wd.measured(ratio, chosen(arms[name]))}


def advantage(arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of the net under AdamW above that under Adam with L2, each decay chosen on validation data."""

    def above(adamw: wd.Results, l2: wd.Results) -> np.ndarray:
        return (late(adamw, "test_accuracy") - late(l2, "test_accuracy"))[:, 0]

    return {"both tuned": wd.measured(above, *(chosen(arms[name]) for name in NETS))}


norm = claim(
    id="norm-adamw",
    statement="Under AdamW the norm of a random walk becomes the one that theory predicts.",
    source=f"{KOSSON}, rotational equilibrium",
    measure=norms,
    expected=(0.97, 1.03),
)
scale_free = claim(
    id="scale-free-adamw",
    statement="Under AdamW the angle does not depend on the size of the gradient.",
    source=f"{KOSSON}; Zhuang et al. (2202.00089), scale-freeness",
    measure=small_to_large,
    expected=(0.99, 1.01),
)
balanced = claim(
    id="balanced-adamw",
    statement="Under AdamW the layers of a net turn equally, within 10 %.",
    source=f"{KOSSON}, balanced rotation",
    measure=lambda arms: imbalance("net, AdamW", arms),
    expected=(1.0, 1.1),
)
unbalanced = claim(
    id="unbalanced-adam-with-l2",
    statement="Under Adam with L2 the layers of a net turn unequally, by more than 25 %.",
    source=f"{KOSSON}, AdamW against Adam with L2",
    measure=lambda arms: imbalance("net, Adam with L2", arms),
    expected=(1.25, np.inf),
)
generalises = claim(
    id="adamw-generalises-better",
    statement="At a constant learning rate AdamW generalises better than Adam with L2, both decays tuned.",
    source=f"Loshchilov & Hutter (1711.05101); {KOSSON} explain it by balanced rotation",
    measure=advantage,
    expected=(0.0, np.inf),
)


# What is drawn

NET_LINES = (wd.LINES[0], wd.LINES[3])  # as the walks of the same optimizers
MILLI = 1000


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """Three panels: the walks beside their predictions, the layers of the net, and its accuracy over its mean angle."""
    figure, panels = wd.panel_grid(3, 1, width=3.8, height=2.9, share=False)
    walks, by_layer, accuracy = panels[:, 0]
    draw_walks(walks, arms)
    draw_layers(by_layer, arms)
    draw_accuracy(accuracy, arms)
    for panel in panels[:, 0]:
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    figure.supxlabel("exploring seeds", fontsize=8)
    return {"rotation": figure}


def draw_walks(panel: wd.Axes, arms: Arms) -> None:
    """Measured angles as marks, predicted ones as lines, over the size of the gradient at the largest decay."""
    for (name, predicted), style in zip(ANGLES.items(), wd.STYLES, strict=False):
        learning_rates, decays, scales = coordinates(arms[name])
        among = decays == decays.max()
        line = np.geomspace(scales.min() / 1.5, scales.max() * 1.5, 50)
        heights = predicted(learning_rates[0], decays.max(), line) * np.ones_like(line)
        panel.plot(line, MILLI * heights, color=style.color, linestyle=style.dashes, linewidth=1)
        measured = angle(arms[name])[:, among].mean(axis=0)
        panel.plot(scales[among], MILLI * measured, style.marker, color=style.color, markersize=5, label=name)
    panel.set(title="walks: measured (marks), predicted (lines)", xscale="log", yscale="log",
              xlabel="size of the gradient's entries at norm 1", ylabel="angle per step, mrad")  # fmt: skip
    panel.set_ylim(top=5 * panel.get_ylim()[1])  # room for the legend
    panel.legend(fontsize=8, ncols=2, loc="upper right")
    plain_numbers(panel.xaxis)
    plain_numbers(panel.yaxis)


def draw_layers(panel: wd.Axes, arms: Arms) -> None:
    """The angle of every layer of the net at the decay that validation data choose, beside AdamW's prediction."""
    for name, (color, dashes) in zip(NETS, NET_LINES, strict=True):
        angles = MILLI * layers(arms[name].sel(point=[chosen(arms[name]).point]))[:, 0]
        numbers = np.arange(angles.shape[1]) + 1
        wd.draw_band(panel, numbers, angles, name, color, dashes)
        panel.set_xticks(numbers)
    best = arms["net, AdamW"].sel(point=chosen(arms["net, AdamW"]).point)
    predicted = ANGLES["AdamW"](best["learning_rate"].to_numpy(), best["decay"].to_numpy(), np.ones(()))
    panel.axhline(MILLI * float(predicted), color="0.6", linewidth=1, label="predicted for AdamW")
    panel.set(title="a net, its decay chosen on validation data", xlabel="layer", ylabel="angle per step, mrad")
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=8, loc="lower left")


def draw_accuracy(panel: wd.Axes, arms: Arms) -> None:
    """Test accuracy over the angle per step, the mean of the net's layers; a line goes through the decays."""
    for name, (color, dashes) in zip(NETS, NET_LINES, strict=True):
        mean_angles = MILLI * layers(arms[name]).mean(axis=(0, 2))
        wd.draw_band(panel, mean_angles, late(arms[name], "test_accuracy"), name, color, dashes)
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
    wd.main(experiment)
