"""How long does a net with a small decay take to its best accuracy: as long as 1 / (learning rate * decay)?

python -m experiments.literature.time_to_best

Seen (86 s on 2 CPU cores; 216 nets, one program, 8 seeds): the time to the best accuracy falls as the product of
learning rate and decay grows, but slowly: with a slope of -.25 [-.36, -.14] of the logarithms at learning rate .1, -.34
and -.33 at the others, not -1. At one product, learning rates four times apart need as long, 1.2 [.7, 1.7] times, which
is undecided. The best decay of a seed scatters from none to .016 at every budget and does not visibly fall; in some
seeds it lies at an end of the grid, so that the slope is not known.

If so, a smaller decay asks for more steps in proportion, and for a given number of steps there is one that fits them.
The learning rate does not fall. Where the best accuracy comes at the last evaluation it may still be to come, and the
member is left out of the slope.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import digits_task
from experiments.literature.slopes import power

WIDTH, BATCH_SIZE, EVALUATIONS = 32, 50, 200
TOLERANCE = 0.0025  # of test accuracy: what is as near to the best is as good
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the steps: budgets


class Hypers(NamedTuple):
    """The hyperparameters of a net."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[]


def experiment(
    *,
    learning_rates: tuple[float, ...] = (0.05, 0.1, 0.2),
    decays: tuple[float, ...] = (0, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 0.128),
    train_size: int = 500,
    seeds: int = 8,
    steps: int = 20_000,
) -> wd.Experiment:
    """Gradient descent without momentum on digits, by batches of 50, at constant learning rates.

    Args:
        learning_rates: Constant; those of which one is four times another are compared at the same product.
        decays: Rates of decay, multiplied by the learning rate; 0 among them.
        train_size: Training examples, without label noise; 400 are for validation, the rest for testing.
        seeds: Each has its own split, initial weights and order.
        steps: Steps of training, 1 / (learning rate * decay) or more for the smallest of both.
    """
    wd.flags.positive(learning_rates=learning_rates)
    wd.flags.decays(decays=decays)
    wd.flags.counts(train_size=train_size, steps=steps)
    wd.flags.seeds(seeds)
    check_grid(learning_rates, decays, steps)
    task = digits_task(wd.Mlp((WIDTH,), classes=10), train_size, label_noise=0.0, batch_size=BATCH_SIZE)
    points = wd.grid(Hypers, learning_rate=sorted(learning_rates), decay=sorted(decays))
    return wd.Experiment(
        arms={"digits": wd.Arm(task, descent, points, axis="decay")},
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=claims_of(),
        figures=figures,
        answer=wd.by_verdicts,
    )


def check_grid(learning_rates: tuple[float, ...], decays: tuple[float, ...], steps: int) -> None:
    """Raise UserError unless three decays are above 0, some products are met twice, and the slowest has time."""
    positive = [decay for decay in decays if decay > 0]
    if len(positive) < 3:
        raise wd.UserError("--decays has fewer than three values above 0: give more, a slope is measured")
    slowest = 1 / (min(learning_rates) * min(positive))
    if steps < slowest:
        raise wd.UserError(f"--steps {steps} is too few for learning rate {min(learning_rates):g} and decay "
                           f"{min(positive):g}: give {slowest:.0f}, 1 / (learning rate * decay), or more")  # fmt: skip
    if not pairs_of(np.array(learning_rates), np.array(positive)):
        raise wd.UserError("--learning-rates and --decays have no product that two learning rates four times apart "
                           "share: give such as 0.05 and 0.2 with decays 0.01 and 0.04")  # fmt: skip


def descent(h: Hypers) -> optax.GradientTransformation:
    """w <- (1 - h.learning_rate h.decay) w - h.learning_rate g, which is also L2."""
    return wd.decoupled(optax.identity(), wd.decay_weights(h.decay), h.learning_rate, optax.constant_schedule(1.0))


# What is measured

Arms = Mapping[str, wd.Results]


def coordinates(arms: Arms) -> tuple[np.ndarray, np.ndarray]:
    """Learning rate and decay of every point, each f64[h]."""
    rates, decays = (arms["digits"][name].to_numpy().astype(float) for name in Hypers._fields)
    return rates, decays


def steps_to_best(results: wd.Results) -> np.ndarray:
    """The first step whose test accuracy is within `TOLERANCE` of the best; f64[s, h], NaN at the last evaluation."""
    accuracy = results["test_accuracy"].to_numpy().astype(float)
    first = (accuracy >= accuracy.max(axis=-1, keepdims=True) - TOLERANCE).argmax(axis=-1)
    steps = results["step"].to_numpy().astype(float)
    reached = first < len(steps) - 1
    return np.where(reached & (results["diverged_at"].to_numpy() < 0), steps[first], np.nan)


def growth(arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of the steps to the best over that of the product, at each learning rate.

    Products whose 1 / (learning rate * decay) is less than the steps between two evaluations are left out.
    """
    rates, decays = coordinates(arms)
    slow = rates * decays * float(arms["digits"]["step"][0]) <= 1
    times = steps_to_best(arms["digits"])
    return {
        f"learning rate {rate:.3g}": power((rates * decays)[among], times[:, among])
        for rate in np.unique(rates)
        for among in [(rates == rate) & (decays > 0) & slow]
    }


def pairs_of(rates: np.ndarray, decays: np.ndarray) -> list[tuple[float, float, float]]:
    """(learning rate, decay, four times that decay) where both belong to one product and two learning rates."""

    def there(values: np.ndarray, value: float) -> bool:
        return bool(np.isclose(values, value, rtol=1e-4).any())

    return [(rate, decay, 4 * decay) for rate in np.unique(rates) for decay in np.unique(decays[decays > 0])
            if there(rates, rate / 4) and there(decays, 4 * decay)]  # fmt: skip


def alike(arms: Arms) -> dict[str, np.ndarray]:
    """The steps to the best with a learning rate and a decay over those with a quarter of one and four times the other.

    Both are means over the decays that have a partner, of the logarithm.
    """
    rates, decays = coordinates(arms)
    times = np.log(steps_to_best(arms["digits"]))

    def at(rate: float, decay: float) -> np.ndarray:
        return times[:, np.isclose(rates, rate, rtol=1e-4) & np.isclose(decays, decay, rtol=1e-4)][:, 0]

    ratios: dict[str, list[np.ndarray]] = {}
    for rate, decay, larger in pairs_of(rates, decays):
        name = f"learning rates {rate:.3g}, {rate / 4:.3g}"
        ratios.setdefault(name, []).append(at(rate, decay) - at(rate / 4, larger))
    return {name: np.exp(mean_of_known(np.stack(rows))) for name, rows in ratios.items()}


def mean_of_known(rows: np.ndarray) -> np.ndarray:
    """The mean of f64[k, s] over k without NaN; NaN where there is nothing else."""
    known = np.isfinite(rows).sum(axis=0)
    return np.divide(np.nansum(rows, axis=0), known, out=np.full(rows.shape[1], np.nan), where=known > 0)


def of_budget(arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of the best decay, by validation loss, over that of the steps, at a learning rate."""
    rates, decays = coordinates(arms)
    steps, found = arms["digits"]["step"].to_numpy().astype(float), {}
    for rate in np.unique(rates):
        among = np.flatnonzero((rates == rate) & (decays > 0))
        loss = losses(arms)[:, among[np.argsort(decays[among])]]
        at = np.unique([int(np.abs(steps - share * steps[-1]).argmin()) for share in SHARES])
        best = wd.vertex(np.log(np.sort(decays[among])), np.moveaxis(loss[..., at], 1, 2))
        found[f"learning rate {rate:.3g}"] = power(steps[at], np.exp(best))
    return found


def losses(arms: Arms) -> np.ndarray:
    """The validation loss at every evaluation; f64[s, h, t], infinite where the member diverged."""
    loss = arms["digits"]["validation_loss"].to_numpy().astype(float)
    return np.where(arms["digits"]["diverged_at"].to_numpy()[..., None] < 0, loss, np.inf)


def claims_of() -> tuple[wd.Claim, ...]:
    """What the time scale of decay promises; stated before the run."""
    source = "Lewkowycz & Gur-Ari (2006.08643)"
    claim = partial(wd.Claim, source=source, quantifier=wd.everywhere)
    return (
        claim("growth", "The steps to the best accuracy grow as 1 / (learning rate * decay): slope -1, within 0.2.",
              measure=growth, expected=(-1.2, -0.8)),
        claim("alike", "At a given learning rate * decay the learning rate changes these steps by less than half.",
              measure=alike, expected=(1 / 1.5, 1.5)),
        claim("budget", "For a given number of steps one decay is best, and falls as one over them: -1, within 0.25.",
              measure=of_budget, expected=(-1.25, -0.75)),
    )  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The steps to the best over learning rate * decay, and the accuracy over training for every decay."""
    results, (rates, decays) = arms["digits"], coordinates(arms)
    steps, times = results["step"].to_numpy(), steps_to_best(results)
    figure, ((of_times, of_courses),) = wd.panel_grid(1, 2, width=4.4, height=3.6, share=False)
    for rate, style in zip(np.unique(rates), wd.STYLES, strict=False):
        among = (rates == rate) & (decays > 0) & (np.isfinite(times).sum(axis=0) > 1)
        estimates = np.exp([wd.means(column[np.isfinite(column), None])[0] for column in np.log(times[:, among]).T])
        wd.draw_measured(
            of_times, (rates * decays)[among], estimates.reshape(-1, 3), style, f"learning rate {rate:.3g}"
        )
    line = np.geomspace((rates * decays)[decays > 0].min(), (rates * decays).max(), 2)
    of_times.plot(line, 1 / line, color="0.6", linewidth=1, label="1 / (learning rate x decay)")
    of_times.set(xscale="log", yscale="log", xlabel="learning rate x decay", ylabel="steps to the best accuracy")
    middle = np.unique(rates)[len(np.unique(rates)) // 2]
    shown = [decay for k, decay in enumerate(np.unique(decays)) if k % 2 == 0]
    for decay, (color, dashes) in zip(shown, wd.LINES, strict=False):
        curves = results["test_accuracy"].to_numpy()[:, (rates == middle) & (decays == decay)][:, 0]
        wd.draw_band(of_courses, steps, curves, f"decay {decay:.3g}", color, dashes)
    of_courses.set(xscale="log", xlabel="steps", ylabel="test accuracy", title=f"learning rate {middle:.3g}")
    top = float(results["test_accuracy"].max())
    of_courses.set_ylim(max(0.0, top - 0.1), min(1.0, top + 0.01))
    of_courses.yaxis.set_major_formatter("{x:.0%}")
    for panel in (of_times, of_courses):
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel("exploring seeds, 95 % intervals; without members whose best accuracy is the last", fontsize=8)
    return {"time_to_best": figure}


if __name__ == "__main__":
    wd.main(experiment)
