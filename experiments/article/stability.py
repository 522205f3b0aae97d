"""Does decay keep weights small, and does a deep net with it tolerate larger learning rates?

python -m experiments.article.stability

python -m experiments.article.stability --seeds 4 --steps 100     # seconds, wider intervals

Expected (103 s on 2 CPU cores; 4,800 nets, one program): decay keeps a net of eight layers finite at more of the 25
learning rates, the most with decay 0.1, at 9.1 more [8.2, 9.9], and with L2 of 0.1 at 7.7 more [6.8, 8.6]. With it the
net learns at larger ones, by 0.36 decades [0.28, 0.45] with decay 0.1 and by 0.33 [0.25, 0.41] with L2 of 0.01. But too
much stops it from learning at any rate: L2 from 0.1, decay from 1, so that "B1-never-less" fails. Weights stay smaller
with L2 from 0.001 and decay from 0.1; where a net without decay learns, L2 of 0.01 and decay 0.1 make them smaller by a
factor of 1.5. With less decay most sizes are not distinguishable, so that both claims about them are undecided. The
second of them was added after the first was seen to be: at learning rates at which nets diverge, sizes differ by
chance. (There too one net of 16 diverges with L2 of 1e-4, until its size overflows; this L2, the smallest tried, has
the best validation accuracy.) The figure: lines that stay up and then fall, at larger learning rates with more decay,
and flat ones at a tenth, a guess, where decay is too strong.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import WIDTH, digits_task

RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-3, 10, 25))
LEARNS = 0.5  # of the training labels are right at the end
PLACES = {"L2": "strength", "weight decay": "decay"}


class Hypers(NamedTuple):
    """The hyperparameters of a net; one of the two decays is 0."""

    learning_rate: wd.Array  # f32[]
    strength: wd.Array  # f32[], of L2 in the gradient, before the momentum
    decay: wd.Array  # f32[], a step removes learning rate * decay of a weight


def experiment(
    *,
    decays: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    layers: int = 8,
    width: int = WIDTH,
    seeds: int = 16,
    steps: int = 400,
) -> wd.Experiment:
    """A deep net under momentum SGD at constant learning rates from 1e-3 to 10, with L2 or with decoupled decay.

    Args:
        decays: The strengths of L2, and also the rates of decay; 0 among them.
        layers: Hidden layers.
        width: Units of each.
        seeds: Each has its own split, initial weights and order of the data; no label is wrong.
        steps: Training steps.
    """
    wd.flags.decays(decays=decays)
    wd.flags.counts(layers=layers, width=width, steps=steps)
    wd.flags.seeds(seeds)
    task = digits_task(wd.Mlp((width,) * layers, classes=10), label_noise=0.0)._replace(measure=size)
    return wd.Experiment(
        arms={
            place: wd.Arm(task, momentum, wd.grid(Hypers, learning_rate=RATES, **{axis: decays}), axis)
            for place, axis in PLACES.items()
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


def momentum(hypers: Hypers) -> optax.GradientTransformation:
    """Momentum SGD with L2 before it and decay after it."""
    shrink = wd.decay_weights(hypers.learning_rate * hypers.decay)
    constant = optax.constant_schedule(1.0)
    return optax.chain(
        wd.decay_weights(hypers.strength), wd.independent(optax.trace(0.9), shrink, hypers.learning_rate, constant)
    )


def size(params: wd.Params, extras: wd.Extras) -> wd.Metrics:
    """The root mean square of the entries of all matrices."""
    del extras
    weights = wd.entries(params)
    return {"size": np.sqrt(1 / weights.size) * optax.tree.norm(weights)}


# What is measured

Arms = Mapping[str, wd.Results]


def by_rate(results: wd.Results, values: np.ndarray) -> np.ndarray:
    """Values of points as a table over decays and learning rates, both ascending: f64[s, h] -> f64[s, decay, rate]."""
    axis, rates = (results[name].to_numpy() for name in (results.attrs["axis"], "learning_rate"))
    order = np.lexsort((rates, axis))
    return values[:, order].reshape(len(values), len(np.unique(axis)), -1)


def finite(results: wd.Results) -> np.ndarray:
    """Whether a net ends with finite weights and loss; bool[s, decay, rate]."""
    return by_rate(results, np.isfinite(wd.surviving(results, "train_loss")))


def learns(results: wd.Results) -> np.ndarray:
    """Whether a net learns; bool[s, decay, rate]."""
    return by_rate(results, wd.surviving(results, "train_accuracy")) > LEARNS


def reach(results: wd.Results) -> np.ndarray:
    """log10 of the largest learning rate at which a net learns, a step below the grid where none; f64[s, decay]."""
    rates = np.log10(np.unique(results["learning_rate"].to_numpy()).astype(float))
    below = rates[0] - np.diff(rates).mean()
    return np.where(learns(results), rates, below).max(axis=-1)


def against_none(quantity: Callable[[wd.Results], np.ndarray], arms: Arms) -> dict[str, np.ndarray]:
    """What a quantity f64[s, decay] is with each decay above that without."""
    cells = {}
    for place, results in arms.items():
        values = quantity(results)
        for decay, above in zip(wd.axis_values(results)[1:], (values - values[:, :1]).T[1:], strict=True):
            cells[f"{place} {decay:g}"] = above
    return cells


def mean_size_where_no_decay_learns(results: wd.Results) -> np.ndarray:
    """The mean of ln size over the learning rates at which the net without decay learns; f64[s, decay].

    A net that is not finite counts with its last finite weights.
    """
    return np.mean(log_size(results), axis=-1, where=learns(results)[:, :1])


def mean_size(results: wd.Results) -> np.ndarray:
    """The mean of ln size over the learning rates at which a seed's nets are finite with every decay; f64[s, decay].

    With weights of 1e20 the size of a finite net overflows: such learning rates are left out as well.
    """
    sizes = log_size(results)
    return np.mean(sizes, axis=-1, where=(finite(results) & np.isfinite(sizes)).all(axis=1, keepdims=True))


def log_size(results: wd.Results) -> np.ndarray:
    """ln size at the end of training; f64[s, decay, rate]."""
    return np.log(by_rate(results, wd.final(results, "size")) + np.finfo(np.float32).tiny)


CLAIMS = (
    wd.Claim("B1-small", "Weights stay smaller with decay (change of ln size, mean over learning rates).",
          source_of("B1"), partial(against_none, mean_size), (-np.inf, 0.0), wd.everywhere),
    wd.Claim("B1-small-where-none-learns", "So they do at the learning rates at which a net without decay learns.",
          source_of("B1"), partial(against_none, mean_size_where_no_decay_learns), (-np.inf, 0.0), wd.everywhere),
    wd.Claim("B1-finite", "Some decay keeps a net finite at more of the learning rates (share).", source_of("B1"),
          partial(against_none, lambda results: finite(results).mean(axis=-1)), (0.0, np.inf), wd.somewhere),
    wd.Claim("B1-learns", "Some decay lets a net learn at larger learning rates (decades).", source_of("B1"),
          partial(against_none, reach), (0.0, np.inf), wd.somewhere),
    wd.Claim("B1-never-less", "No decay costs more than a tenth of a decade of the rates at which a net learns.",
          source_of("B1"), partial(against_none, reach), (-0.1, np.inf), wd.everywhere),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """The share of finite nets and training accuracy over the learning rate, a line per decay, a column per place."""
    figure, panels = wd.panel_grid(2, len(arms), width=3.9, height=2.8)
    for column, (place, results) in zip(panels.T, arms.items(), strict=True):
        accuracy = np.nan_to_num(by_rate(results, wd.surviving(results, "train_accuracy")))
        draw_lines(column[0], results, finite(results))
        draw_lines(column[1], results, accuracy)
        column[0].set_title(place)
        column[1].set_xlabel("learning rate")
    panels[0, 0].set_ylabel("nets that stay finite")
    panels[1, 0].set_ylabel("training accuracy, 0 if not finite")
    panels[1, 0].legend(fontsize=7, title="strength, rate", title_fontsize=7)
    return {"stability": figure}


def draw_lines(panel: wd.Axes, results: wd.Results, table: np.ndarray) -> None:
    """Some of the decays as lines over the learning rate."""
    rates, decays = np.unique(results["learning_rate"].to_numpy()), wd.axis_values(results)
    shown = [0, *range(max(1, len(decays) - len(wd.STYLES) + 1), len(decays))]
    for decay, style in zip(shown, wd.STYLES, strict=False):
        wd.draw_band(panel, rates, table[:, decay], f"{decays[decay]:g}", style.color, style.dashes)
    panel.set_xscale("log")


if __name__ == "__main__":
    wd.main(experiment)
