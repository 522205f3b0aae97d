"""Which layers should decay: all, the hidden one, input, output, biases, scales and shifts of norms?

python -m experiments.article.which_layers

python -m experiments.article.which_layers --seeds 4 --steps 300     # less time, most claims undecided

Expected (85 s on 2 CPU cores; 3,040 nets, two programs): decay of all layers gains 4.5 points of test accuracy [3.7,
5.4], of one layer alone 3.5 [2.3, 4.6] (hidden), 3.8 [3.1, 4.5] (input) and 3.6 [2.7, 4.5] (output), at rates of 10 to
100 where all together take 3. Decay of the hidden layer alone gains 1.1 points [0.5, 1.7] less than of all, and of all
but the output 0.6 [-0.1, 1.2] less: both claims of "no difference" are undecided, the first at the brink of failing.
Biases make none, 0.2 [-0.1, 0.4]. Under batch normalization decay of the matrices gains 2.0 points [1.5, 2.5], and that
of scales and shifts 1.1 [0.8, 1.3] more: "C8-norms" fails. Six of nine claims hold. The net with norms is 5.5 points
[4.6, 6.4] less accurate than the one without, decay of the matrices tuned. Learning rates must reach far down: on the
exploring seeds, by halves, decay of all layers gains 3.6 points [2.7, 4.5], and 8.6 [7.1, 10.1] were there none below
1e-3. The figure: every choice of layers gains, those with all layers most.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import WIDTH, digits_task

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 1e-3, 3e-3, 1e-2)
RATES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
MATRICES = ("input", "hidden", "output")
DECAYED = {  # name of an arm -> the fields of Hypers that share a rate, the others being 0
    "all layers": MATRICES,
    "hidden": ("hidden",),
    "input": ("input",),
    "output": ("output",),
    "all but the output": ("input", "hidden"),
    "all layers and biases": (*MATRICES, "biases"),
}
UNDER_NORMS = {"normalized": MATRICES, "normalized, norms too": (*MATRICES, "norms")}
HALF_A_POINT = 0.005


class Hypers(NamedTuple):
    """The hyperparameters of a net: the peak learning rate, and a rate of decoupled decay for each kind of leaf."""

    learning_rate: wd.Array  # f32[]
    input: wd.Array  # f32[], of the first matrix
    hidden: wd.Array  # f32[], of the second
    output: wd.Array  # f32[], of the last
    biases: wd.Array  # f32[]
    norms: wd.Array  # f32[], of the scales and shifts of batch normalization


def experiment(*, seeds: int = 8, steps: int = 1_000) -> wd.Experiment:
    """A net of three matrices on noisy digits, one rate of decay for some of its layers and none for the others.

    Args:
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Steps of training.
    """
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    arms = {}
    for batch_norm, decayed, rates_of in ((False, DECAYED, rates), (True, UNDER_NORMS, rates_under_norms)):
        task, optimizer = digits_task(wd.Mlp((WIDTH, WIDTH), classes=10, batch_norm=batch_norm)), adam(rates_of, steps)
        for name, fields in decayed.items():
            arms[name] = wd.Arm(task, optimizer, points(fields), axis=fields[0])
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# What is trained


def points(fields: Sequence[str]) -> Hypers:
    """Every learning rate with every rate of decay, which the named fields share."""
    one = wd.grid(Hypers, learning_rate=LEARNING_RATES, **{fields[0]: RATES})
    return one._replace(**dict.fromkeys(fields, getattr(one, fields[0])))


def rates(h: Hypers) -> dict[str, Any]:
    """The rate of every leaf of the net without norms."""
    return {
        layer: {"kernel": rate, "bias": h.biases}
        for layer, rate in zip(("Dense_0", "Dense_1", "Dense_2"), (h.input, h.hidden, h.output), strict=True)
    }


def rates_under_norms(h: Hypers) -> dict[str, Any]:
    """The rate of every leaf, or subtree, of the net with batch normalization, where only the last layer has a bias."""
    return {
        "Dense_0": h.input, "BatchNorm_0": h.norms, "Dense_1": h.hidden, "BatchNorm_1": h.norms,
        "Dense_2": {"kernel": h.output, "bias": h.biases},
    }  # fmt: skip


def adam(rates_of: Callable[[Hypers], Any], steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """Adam with decoupled decay, every leaf at its own rate, under a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        decay = wd.decay_weights(rates_of(hypers), mask=wd.everything)
        return wd.decoupled(optax.scale_by_adam(), decay, hypers.learning_rate, cosine)

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def gain(name: str, statement: str, layers: str) -> wd.Claim:
    """A claim that the tuned decay of these layers raises test accuracy."""

    def measure(arms: Arms) -> dict[str, wd.Scores]:
        return {layers: wd.gain_over_none(arms[layers], "test_accuracy")}

    return wd.Claim(name, statement, source_of("C8"), measure, (0.0, np.inf), wd.everywhere, wd.POINTS)


def alike(name: str, statement: str, first: str, second: str, at_least: bool = False) -> wd.Claim:
    """A claim that two choices of layers are equally accurate within half a point, or the first no less than that."""

    def measure(arms: Arms) -> dict[str, wd.Scores]:
        return {f"{first} - {second}": wd.difference(arms[first], arms[second])}

    margin = (-HALF_A_POINT, np.inf if at_least else HALF_A_POINT)
    return wd.Claim(name, statement, source_of("C8"), measure, margin, wd.everywhere, wd.POINTS)


CLAIMS = (
    gain("C8-can-be-all", "Decay of all layers, input and output included, raises test accuracy.", "all layers"),
    gain("C8-hidden-counts", "Decay of the hidden layer alone raises test accuracy.", "hidden"),
    gain("C8-input-counts", "Decay of the input layer alone raises test accuracy.", "input"),
    gain("C8-output-counts", "Decay of the output layer alone raises test accuracy.", "output"),
    alike("C8-hidden-suffices", "Decay of the hidden layer alone is as good as that of all, within half a point.",
          "hidden", "all layers", at_least=True),
    alike("C8-output-in", "Leaving out the output makes no difference, within half a point.",
          "all but the output", "all layers"),
    alike("C8-biases", "Biases in or out make no difference, within half a point.",
          "all layers and biases", "all layers"),
    gain("C8-normalized", "Under batch normalization decay of all matrices raises test accuracy.", "normalized"),
    alike("C8-norms", "Scales and shifts of the norms in or out make no difference, within half a point.",
          "normalized, norms too", "normalized"),
)  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """What decay of each choice of layers gains over none, from the least to the most; nets with norms below."""
    figure, panels = wd.panel_grid(1, 1, width=5.6, height=3.4, share=False)
    panel, labels = panels[0, 0], []
    cells = arms.score(lambda arms: {name: wd.gain_over_none(arms[name], "test_accuracy") for name in arms})
    gained = {name: cell.estimate() for name, cell in cells.items()}
    for names, style, label in (
        (UNDER_NORMS, wd.STYLES[1], "batch normalization"),
        (DECAYED, wd.STYLES[0], "no norms"),
    ):
        order = sorted(names, key=lambda name: gained[name].mean)
        at = len(labels) + np.arange(len(order))
        mean, low, high = 100 * np.array([gained[name] for name in order]).T
        panel.errorbar(mean, at, xerr=(mean - low, high - mean), fmt=style.marker, color=style.color, markersize=4,
                       capsize=2, label=label)  # fmt: skip
        labels += order
    panel.axvline(0, color="0.6", linewidth=1)
    panel.set_yticks(range(len(labels)), labels, fontsize=8)
    panel.set_xlabel("gain in test accuracy over no decay, points")
    panel.set_title(arms.scored_on, fontsize=10)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return {"which_layers": figure}


if __name__ == "__main__":
    wd.main(experiment)
