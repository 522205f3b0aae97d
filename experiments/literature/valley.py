"""Can learning rate and decay be tuned one after the other: does the valley of good pairs run along an axis?

python -m experiments.literature.valley

Seen (2 minutes on 2 CPU cores; 3,360 nets, 4 programs, 16 seeds): the valley runs along the axis of the convention
where it was not expected. Decoupled, the best decay hardly moves with the learning rate: over a factor of 100 the
logarithms have a slope of -.28 [-.32, -.24] on the regression and of .28 [.23, .34] on digits, where -1 was expected.
Independent, it grows: .71 [.65, .76] and 1.28 [1.23, 1.34], where 0 was expected. All three claims fail: with Adam and
a learning rate that falls by a line, the decay of optax and PyTorch is the one that can be tuned on its own. The loss
of the regression is more nearly a sum of both in the independent convention (share .28 [.27, .29] higher), that of
digits less (-.48).

Decoupled decay, that of optax and PyTorch, shrinks weights by 1 - learning rate * decay; independent decay, that of the
paper of AdamW, by 1 - decay. If what matters is by how much weights shrink, the best decay falls as one over the
learning rate in the first convention, slope -1 of the logarithms, and stays in the second, slope 0.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import digits_task
from experiments.literature.linear import Sample, Setting, draw, every_direction, linear_regression
from experiments.literature.slopes import slope
from wd_research.training.tasks import shuffled_epochs

EXAMPLES, BATCH_SIZE, EPOCHS = 200, 20, 50  # of the regression, with 1,000 inputs by default: Schaipp's
NOISE = 0.5  # standard deviation of the targets, whose teacher has length 1
WIDTH = 32  # of the net
PLACES = {"decoupled": wd.decoupled, "independent": wd.independent}
LOSSES = {"ridge": "test_error", "digits": "validation_loss"}
WORST = 2.0  # times the least loss of a map: what is worse than that is not told apart


class Hypers(NamedTuple):
    """The hyperparameters of both."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[]


def experiment(
    *,
    inputs: int = 1_000,
    ridge_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    net_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    shrinking: tuple[float, ...] = (0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    decays: tuple[float, ...] = (0, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
    seeds: int = 16,
    steps: int = 1_000,
) -> wd.Experiment:
    """Adam on a linear regression with more inputs than examples, and on digits, of which a fifth are mislabelled.

    Args:
        inputs: Of the regression, whose 200 examples are seen 50 times, 20 at a step.
        ridge_rates: Peak learning rates of the regression; they fall to 0 by a line.
        net_rates: Those of the net with one hidden layer of 32 units.
        shrinking: Rates of independent decay; 0 among them.
        decays: Rates of decoupled decay; 0 among them.
        seeds: Each has its own data, initial weights and order.
        steps: Steps of the net.
    """
    wd.flags.counts(inputs=inputs, steps=steps)
    wd.flags.positive(ridge_rates=ridge_rates, net_rates=net_rates)
    wd.flags.decays(shrinking=shrinking, decays=decays)
    wd.flags.seeds(seeds)
    check_grids(ridge_rates=ridge_rates, net_rates=net_rates, shrinking=shrinking, decays=decays)
    tasks = {"ridge": ridge(Setting(inputs, NOISE)), "digits": digits_task(wd.Mlp((WIDTH,), classes=10))}
    lengths = {"ridge": EPOCHS * EXAMPLES // BATCH_SIZE, "digits": steps}
    rates = {"ridge": ridge_rates, "digits": net_rates}
    of_place = {"decoupled": decays, "independent": shrinking}
    return wd.Experiment(
        arms={
            f"{what}, {place}": wd.Arm(
                task,
                adam(PLACES[place], lengths[what]),
                wd.grid(Hypers, learning_rate=sorted(rates[what]), decay=sorted(of_place[place])),
                axis="decay",
                steps=lengths[what],
            )
            for what, task in tasks.items()
            for place in PLACES
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=1,
        claims=claims_of(),
        figures=figures,
        answer=wd.by_verdicts,
    )


def check_grids(**grids: tuple[float, ...]) -> None:
    """Raise UserError unless every grid has three values above 0, through which a line or a parabola goes."""
    for name, values in grids.items():
        if sum(value > 0 for value in values) < 3:
            raise wd.UserError(f"{wd.flags.flag(name)} has fewer than three values above 0: give more, a slope "
                               "is measured")  # fmt: skip


# What is trained


def ridge(setting: Setting) -> wd.Task:
    """Linear regression on 200 examples, 20 at a step, from weights N(0, 1 / d); "test_error" times d is |w - u|^2."""

    def split(seed: int) -> Sample:
        return Sample(*(part.astype(np.float32) for part in draw(setting, seed, EXAMPLES)))

    task = linear_regression(
        split,
        lambda data, sample: {"test": every_direction(sample.teacher)},
        start=lambda key: jax.random.normal(key, (setting.dimension, 1)) * setting.dimension**-0.5,
    )
    return task._replace(
        order=lambda key, start, steps: shuffled_epochs(key, start, steps, EXAMPLES, BATCH_SIZE),
        gather=lambda data, sample, indices: wd.Batch(sample.inputs[indices], sample.targets[indices]),
    )


def adam(place: Callable[..., optax.GradientTransformation], steps: int) -> Callable[..., Any]:
    """Adam with decay in a place, both under a learning rate that falls from h.learning_rate to 0 by a line."""
    schedule = wd.schedules.linear(steps)

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        return place(optax.scale_by_adam(), wd.decay_weights(h.decay), h.learning_rate, schedule)

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def map_of(name: str, arms: Arms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Learning rates f64[r], decays f64[d] above 0, and the logarithm of the loss f64[s, r, d].

    A loss is at most `WORST` times the seed's least one, as is that of a member that diverged.
    """
    results, metric = arms[name], LOSSES[name.partition(",")[0]]
    rates, decays = (np.unique(results[of].to_numpy().astype(float)) for of in ("learning_rate", "decay"))
    loss = wd.surviving(results, metric).reshape(-1, len(rates), len(decays))
    loss = np.nan_to_num(loss, nan=np.inf)
    loss = np.minimum(loss, WORST * loss.min(axis=(1, 2), keepdims=True))
    return rates, decays[decays > 0], np.log(loss[..., decays > 0])


def slopes(place: str, arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of the best decay over that of the learning rate, seed by seed; NaN below 3 rates."""
    found = {}
    for what in LOSSES:
        rates, decays, log_loss = map_of(f"{what}, {place}", arms)
        found[what] = slope(np.log(rates), wd.vertex(np.log(decays), log_loss))
    return found


def separability(log_loss: np.ndarray) -> np.ndarray:
    """How much of the variance of a map f64[s, r, d] a sum a(learning rate) + b(decay) explains; f64[s], at most 1."""
    centred = log_loss - log_loss.mean(axis=(1, 2), keepdims=True)
    rest = centred - centred.mean(axis=1, keepdims=True) - centred.mean(axis=2, keepdims=True)
    return 1 - (rest**2).sum(axis=(1, 2)) / (centred**2).sum(axis=(1, 2))


def more_separable(arms: Arms) -> dict[str, np.ndarray]:
    """The separability with independent decay less that with decoupled decay."""
    independent, decoupled = (
        {what: separability(map_of(f"{what}, {place}", arms)[2]) for what in LOSSES}
        for place in ("independent", "decoupled")
    )
    return {what: independent[what] - decoupled[what] for what in LOSSES}


def claims_of() -> tuple[wd.Claim, ...]:
    """What the two conventions promise; stated before the run."""
    source = "Loshchilov & Hutter (1711.05101), figure 2; Schaipp (2024)"
    said = {
        "diagonal": ("With decoupled decay the best decay falls as one over the learning rate: slope -1, within 0.25.",
                     partial(slopes, "decoupled"), (-1.25, -0.75)),
        "parallel": ("With independent decay the best decay stays: slope 0, within 0.25.",
                     partial(slopes, "independent"), (-0.25, 0.25)),
        "separable": ("A sum of functions of learning rate and decay explains 5 points more with independent decay.",
                      more_separable, (0.05, np.inf)),
    }  # fmt: skip
    return tuple(wd.Claim(name, text, source, measure, wanted, wd.everywhere)
                 for name, (text, measure, wanted) in said.items())  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The mean loss over learning rate and decay, with the best decay of every seed at each learning rate."""
    figure, panels = wd.panel_grid(len(LOSSES), len(PLACES), width=4.4, height=3.4, share=False)
    for panel, name in zip(panels.flat, [f"{what}, {place}" for what in LOSSES for place in PLACES], strict=True):
        rates, decays, log_loss = map_of(name, arms)
        shown = np.exp(log_loss - log_loss.min(axis=(1, 2), keepdims=True)).mean(axis=0).T
        image = panel.pcolormesh(borders(rates), borders(decays), shown, cmap="Greys", vmin=1, vmax=WORST)
        for best in np.exp(wd.vertex(np.log(decays), log_loss)):
            panel.plot(rates, best, "o", color="#D55E00", markersize=3)
        panel.set(xscale="log", yscale="log", title=name, xlabel="learning rate", ylabel="decay")
        bar = figure.colorbar(image, ax=panel)
        bar.set_label("loss / the least of its seed", fontsize=8)
    figure.supxlabel("mean over exploring seeds; marks: the best decay of each seed", fontsize=8)
    return {"valley": figure}


def borders(values: np.ndarray) -> np.ndarray:
    """The borders between values f64[n] and around them, halfway in the logarithm; f64[n + 1]."""
    logs = np.log(values)
    halfway = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - halfway[0], *halfway, 2 * logs[-1] - halfway[-1]])


if __name__ == "__main__":
    wd.main(experiment)
