"""Which layers should decay: all, the hidden one, input, output, biases, the numbers of norms?

python -m experiments.article.which_layers

python -m experiments.article.which_layers --seeds 4 --steps 300     # less time, most claims undecided

Expected (122 s on 2 CPU cores; 3,840 members, two programs): decay of all layers gains 4.3
points [3.5, 5.0], of one layer alone 3.1 [2.2, 4.0] (hidden), 3.2 [2.3, 4.0] (input) and 3.4 [2.7, 4.2] (output), at
rates of 10 to 30 where all together take 3. The hidden layer alone is 1.2 points [0.4, 1.9] behind all, and so is all
but the output, by 1.1 [0.5, 1.8]: both claims of "no difference" are undecided, at the brink of failing. Biases make
none, 0.1 [-0.1, 0.4]. Under batch normalization decay of the matrices gains 1.8 points [1.3, 2.4], and that of scales
and shifts 1.2 [0.8, 1.6] more: "C8-norms" fails. Six of nine claims hold. The net with norms is 5.9 points
behind the one without, decay tuned. Learning rates must reach far down: from 1e-3 up alone, decay of all layers seemed
to gain 8.8 points. The picture: all ways above 0, those with all layers ahead.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax

from experiments.article.rows import said
from experiments.article.setting import WIDTH, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.masks import everything
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.answer import ahead, by_verdicts, change, change_cell
from wd_research.evidence.claims import POINTS, Cell, Claim, does
from wd_research.evidence.drawing import STYLES, means, panel_grid
from wd_research.experiment import Experiment
from wd_research.search import grid
from wd_research.training.models import Mlp
from wd_research.types import Arm, Array, Figure, Results

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 1e-3, 3e-3)
RATES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
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
    """The numbers of a net: the peak learning rate, and a rate of decoupled decay for each kind of leaf."""

    learning_rate: Array  # f32[]
    input: Array  # f32[], of the first matrix
    hidden: Array  # f32[], of the second
    output: Array  # f32[], of the last
    biases: Array  # f32[]
    norms: Array  # f32[], of the scales and shifts of batch normalization


def experiment(*, seeds: int = 16, steps: int = 1_000) -> Experiment:
    """A net of three matrices on noisy digits, one rate of decay for some of its layers and none for the others.

    Args:
        seeds: Each has its own split, flipped labels, initial weights and order of the data.
        steps: Steps of training.
    """
    checks.counts(steps=steps)
    checks.seeds(seeds)
    arms = {}
    for batch_norm, decayed in ((False, DECAYED), (True, UNDER_NORMS)):
        task = digits_task(Mlp((WIDTH, WIDTH), classes=10, batch_norm=batch_norm))
        optimizer = partial(adam, rates_under_norms if batch_norm else rates, steps)
        for name, fields in decayed.items():
            arms[name] = Arm(task, task.loss, optimizer, points(fields), axis=fields[0])
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms=arms,
        seeds=seeds,
        steps=steps,
        looks=1,
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


# What is trained


def points(fields: Sequence[str]) -> Hypers:
    """Learning rates by rates, these the same in the fields that are named."""
    off = dict.fromkeys(Hypers._fields, (0.0,))
    one = grid(Hypers, **{**off, "learning_rate": LEARNING_RATES, fields[0]: RATES})
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


def adam(rates_of: Any, steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """Adam with decoupled decay, every leaf at its own rate, under a cosine."""
    decay = decay_weights(rates_of(hypers), mask=everything)
    cosine = optax.cosine_decay_schedule(1.0, steps)
    return decoupled(optax.scale_by_adam(), decay, hypers.learning_rate, cosine)


# What is measured

Arms = Mapping[str, Results]


def over_none(name: str, arms: Arms) -> dict[str, Cell]:
    """Test accuracy with the tuned decay of some layers above that of the same net without decay."""
    return {name: change_cell(arms[name], "test_accuracy")}


def above(first: str, second: str, arms: Arms) -> dict[str, Cell]:
    """Test accuracy of one way to decay above that of another."""
    return {f"{first} - {second}": ahead(arms[first], arms[second])}


def gain(name: str, statement: str, of: str) -> Claim:
    """A claim that decay of these layers raises test accuracy."""
    return Claim(name, statement, said("C8"), partial(over_none, of), (0.0, np.inf), does, POINTS)


def alike(name: str, statement: str, first: str, second: str, at_least: bool = False) -> Claim:
    """A claim that two ways to decay are equally accurate within half a point, or the first no less than that."""
    margin = (-HALF_A_POINT, np.inf if at_least else HALF_A_POINT)
    return Claim(name, statement, said("C8"), partial(above, first, second), margin, does, POINTS)


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
    alike("C8-norms", "The numbers of the norms in or out make no difference, within half a point.",
          "normalized, norms too", "normalized"),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """What each way to decay gains over the same net without, from the least to the most; nets with norms below."""
    figure, panels = panel_grid(1, 1, width=5.6, height=3.4, share=False)
    panel, labels = panels[0, 0], []
    gained = {name: change(results, "test_accuracy") for name, results in arms.items()}
    for names, style, label in ((UNDER_NORMS, STYLES[1], "batch normalization"), (DECAYED, STYLES[0], "no norms")):
        order = sorted(names, key=lambda name: gained[name].mean())
        at = len(labels) + np.arange(len(order))
        mean, low, high = means(100 * np.array([gained[name] for name in order]).T).T
        panel.errorbar(mean, at, xerr=(mean - low, high - mean), fmt=style.marker, color=style.color, markersize=4,
                       capsize=2, label=label)  # fmt: skip
        labels += order
    panel.axvline(0, color="0.6", linewidth=1)
    panel.set_yticks(range(len(labels)), labels, fontsize=8)
    panel.set_xlabel("gain in test accuracy over no decay, points")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="lower right")
    return {"which_layers": figure}


if __name__ == "__main__":
    main(experiment)
