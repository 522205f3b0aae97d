"""Does decay keep weights small, and does a deep net with it bear larger learning rates?

python -m experiments.article.stability

python -m experiments.article.stability --seeds 4 --steps 100     # seconds, wider intervals

Expected (131 s on 2 CPU cores; 4,800 members, one program): decay lets a net of eight layers stay finite at
more of the 25 learning rates, the most with decay 0.1, at 40 % more of them [36, 43], and with L2 of 0.1 at 34 % more
[31, 37]. It learns at larger ones, by 0.41 decades [0.34, 0.47] with L2 of 0.01 and by 0.35 [0.26, 0.45] with decay
0.1. But too much stops it from learning at any rate: L2 from 0.1, decay from 1, so that "B1-never-less" fails. Weights
stay smaller with L2 from 0.01 and decay from 0.1, by a factor of 1.5 where a net without decay learns; with less the
sizes cannot be told apart, so that both claims about them are undecided. The second of them was added after the first
was seen to be: at rates at which nets break, sizes differ by chance. The picture: lines that stay up and then fall,
further to the right with more decay, and flat ones at a tenth, a guess, where decay is too strong.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import optax

from experiments.article.rows import said
from experiments.article.setting import WIDTH, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.masks import entries
from wd_research.decay.places import independent
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.answer import axis_values, by_verdicts, final, surviving
from wd_research.evidence.claims import Cell, Claim, can, does
from wd_research.evidence.drawing import STYLES, draw_band, panel_grid
from wd_research.experiment import Experiment
from wd_research.search import grid
from wd_research.training.models import Mlp
from wd_research.training.tasks import measuring
from wd_research.types import Arm, Array, Axes, Batch, Extras, Figure, Metrics, Params, Results

RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-3, 10, 25))
LEARNS = 0.5  # of the training labels are right at the end
PLACES = {"L2": "strength", "weight decay": "decay"}


class Hypers(NamedTuple):
    """The numbers of a net; one of the two decays is 0."""

    learning_rate: Array  # f32[]
    strength: Array  # f32[], of L2 in the gradient, before the momentum
    decay: Array  # f32[], a step removes learning rate * decay of a weight


def experiment(
    *,
    decays: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    layers: int = 8,
    width: int = WIDTH,
    seeds: int = 16,
    steps: int = 400,
) -> Experiment:
    """A deep net under momentum SGD at constant learning rates from 1e-3 to 10, with decay at either place.

    Args:
        decays: Strengths of L2 and, the same, rates of decay; 0 among them.
        layers: Hidden layers.
        width: Units of each.
        seeds: Each has its own split, initial weights and order of the data; no label is flipped.
        steps: Steps of training.
    """
    checks.decays(decays=decays)
    checks.counts(layers=layers, width=width, steps=steps)
    checks.seeds(seeds)
    task = measuring(digits_task(Mlp((width,) * layers, classes=10), flipped=0.0), norm)
    off = dict.fromkeys(PLACES.values(), (0.0,))
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={
            place: Arm(task, task.loss, momentum, grid(Hypers, learning_rate=RATES, **{**off, axis: decays}), axis)
            for place, axis in PLACES.items()
        },
        seeds=seeds,
        steps=steps,
        looks=1,
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


def momentum(hypers: Hypers) -> optax.GradientTransformation:
    """Momentum SGD with L2 before it and decay after it."""
    shrink = decay_weights(hypers.learning_rate * hypers.decay)
    schedule = optax.constant_schedule(1.0)
    return optax.chain(
        decay_weights(hypers.strength), independent(optax.trace(0.9), shrink, hypers.learning_rate, schedule)
    )


def norm(params: Params, extras: Extras, part: Batch) -> Metrics:
    """The root mean square of the entries of all matrices, "size"."""
    del extras, part
    weights = entries(params)
    return {"size": np.sqrt(1 / weights.size) * optax.tree.norm(weights)}


# What is measured

Arms = Mapping[str, Results]


def by_rate(results: Results, values: np.ndarray) -> np.ndarray:
    """Values of members as a table over decays and, ascending, learning rates: f64[s, h] -> f64[s, decay, rate]."""
    axis, rates = (results[name].to_numpy() for name in (results.attrs["axis"], "learning_rate"))
    order = np.lexsort((rates, axis))
    return values[:, order].reshape(len(values), len(np.unique(axis)), -1)


def finite(results: Results) -> np.ndarray:
    """Whether a net ends with finite weights and loss; f64[s, decay, rate]."""
    return by_rate(results, np.isfinite(surviving(results, "train_loss")).astype(float))


def reach(results: Results) -> np.ndarray:
    """The decimal logarithm of the largest learning rate at which a net learns; f64[s, decay].

    Where it learns at none this is one step of the grid below the smallest.
    """
    learns = by_rate(results, surviving(results, "train_accuracy")) > LEARNS
    rates = np.log10(np.unique(results["learning_rate"].to_numpy()).astype(float))
    below = rates[0] - np.diff(rates).mean()
    return np.where(learns, rates, below).max(axis=-1)


def against_none(quantity: Callable[[Results], np.ndarray], arms: Arms) -> dict[str, Cell]:
    """What a quantity f64[s, decay] is with each decay above that without."""
    return {
        f"{place} {value:g}": Cell(difference)
        for place, results in arms.items()
        for value, difference in zip(
            axis_values(results), (quantity(results) - quantity(results)[:, :1]).T, strict=True
        )
        if value > 0
    }


def mean_size_where_none_learns(results: Results) -> np.ndarray:
    """The mean logarithm of the size of weights over the learning rates at which the net without decay learns.

    A net that is not finite counts with its last finite weights. f64[s, decay].
    """
    sizes = np.log(by_rate(results, final(results, "train_size")) + np.finfo(np.float32).tiny)
    learns = by_rate(results, surviving(results, "train_accuracy"))[:, :1] > LEARNS
    return np.mean(sizes, axis=-1, where=np.broadcast_to(learns, sizes.shape))


def mean_size(results: Results) -> np.ndarray:
    """The mean logarithm of the size of weights over the learning rates at which all nets of a seed stay finite.

    With weights of 1e20 the size of a finite net overflows: such rates are left out as well. f64[s, decay].
    """
    sizes = np.log(by_rate(results, final(results, "train_size")) + np.finfo(np.float32).tiny)
    stay = (finite(results) * np.isfinite(sizes)).all(axis=1, keepdims=True)
    return np.mean(sizes, axis=-1, where=np.broadcast_to(stay, sizes.shape))


CLAIMS = (
    Claim("B1-small", "Weights stay smaller with decay (change of ln size, mean over learning rates).", said("B1"),
          partial(against_none, mean_size), (-np.inf, 0.0), does),
    Claim("B1-small-where-none-learns", "So they do at the learning rates at which a net without decay learns.",
          said("B1"), partial(against_none, mean_size_where_none_learns), (-np.inf, 0.0), does),
    Claim("B1-finite", "Some decay keeps a net finite at more of the learning rates (share).", said("B1"),
          partial(against_none, lambda results: finite(results).mean(axis=-1)), (0.0, np.inf), can),
    Claim("B1-learns", "Some decay lets a net learn at larger learning rates (decades).", said("B1"),
          partial(against_none, reach), (0.0, np.inf), can),
    Claim("B1-never-less", "No decay costs more than a tenth of a decade of the learning rates at which a net learns.",
          said("B1"), partial(against_none, reach), (-0.1, np.inf), does),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """The share of finite nets and training accuracy over the learning rate, a line per decay, a column per place."""
    figure, panels = panel_grid(2, len(arms), width=3.9, height=2.8)
    for column, (place, results) in zip(panels.T, arms.items(), strict=True):
        accuracy = np.nan_to_num(by_rate(results, surviving(results, "train_accuracy")))
        draw_lines(column[0], results, finite(results))
        draw_lines(column[1], results, accuracy)
        column[0].set_title(place)
        column[1].set_xlabel("learning rate")
    panels[0, 0].set_ylabel("nets that stay finite")
    panels[1, 0].set_ylabel("training accuracy, 0 if not finite")
    panels[1, 0].legend(fontsize=7, title="strength, rate", title_fontsize=7)
    return {"stability": figure}


def draw_lines(panel: Axes, results: Results, table: np.ndarray) -> None:
    """Some of the decays as lines over the learning rate."""
    rates, decays = np.unique(results["learning_rate"].to_numpy()), axis_values(results)
    shown = [0, *range(max(1, len(decays) - len(STYLES) + 1), len(decays))]
    for decay, style in zip(shown, STYLES, strict=False):
        draw_band(panel, rates, table[:, decay], f"{decays[decay]:g}", style.color, style.dashes)
    panel.set_xscale("log")


if __name__ == "__main__":
    main(experiment)
