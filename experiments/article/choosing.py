"""Is decay chosen well by grid, random or quasi-random search on validation data, and which of them needs least?

python -m experiments.article.choosing

python -m experiments.article.choosing --side 6 --seeds 4 --steps 300     # seconds, the table is coarse

Expected (64 s on 2 CPU cores; 4,352 nets, one program; 50 searches of each kind and budget): three claims hold, one
fails. On average every search finds a decay that is better than none, by the smallest margin, 1.3 points [0.8, 1.7] of
test accuracy, with 8 random trials; with 32 trials all three reach 0.3 to 0.4 points less than trying all 256 points on
many seeds. With 8 trials random search reaches 0.8 points [0.7, 1.0] less than the grid, with 16 and 32 the same within
0.3. Quasi-random search reaches the same or more at every budget, 0.3 points [0.1, 0.5] more with 16. The figure: three
lines that fall and meet.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import adam, digits_task

RATES, DECAYS = (3e-4, 3e-2), (0.03, 100.0)  # the ranges that are searched, log-uniformly
BUDGETS = (8, 16, 32)  # trials
SEARCHES = 50  # of each kind and budget, averaged
TRAINED = "every point"


class Hypers(NamedTuple):
    """The hyperparameters of a net."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[], the rate of decoupled decay


def experiment(
    *,
    side: int = 16,
    seeds: int = 16,
    steps: int = 1_000,
    train_size: int = 200,
    label_noise: float = 0.2,
    width: int = 32,
    batch_size: int = 50,
) -> wd.Experiment:
    """A table of side x side points is trained once; a trial of a search takes the nearest point of the table.

    Args:
        side: Number of learning rates, and of decays, in the table.
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Training steps.
        train_size: Training examples; 400 of the 1,797 digits are for validation, the rest for testing.
        label_noise: Share of the training labels that are wrong.
        width: Units of the hidden layer.
        batch_size: Examples of a step.
    """
    wd.flags.counts(side=side, steps=steps, train_size=train_size, width=width, batch_size=batch_size)
    wd.flags.seeds(seeds)
    if side**2 < max(BUDGETS):
        raise wd.UserError(f"--side {side} is too few: give 6 or more, the largest search has {max(BUDGETS)} trials")
    task = digits_task(wd.Mlp((width,), classes=10), train_size, label_noise, batch_size)
    rates, decays = (np.geomspace(*span, side) for span in (RATES, DECAYS))
    points = wd.grid(Hypers, learning_rate=rates.tolist(), decay=(0.0, *decays))
    return wd.Experiment(
        arms={TRAINED: wd.Arm(task, adam(steps), points, axis="decay")},
        seeds=seeds,
        confirm=0,  # searches are scored on the seeds of the table
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# The searches: (budget, seed of the search) -> trials in the unit square of the two logarithms, f64[budget, 2]


def on_a_grid(budget: int, seed: int) -> np.ndarray:
    """A grid, as square as the budget allows, shifted at random within its cells."""
    rows = 2 ** (budget.bit_length() // 2)
    offset = np.random.default_rng(seed).random(2)
    shape = (budget // rows, rows)
    return np.array([((i + offset[0]) / shape[0], (j + offset[1]) / shape[1]) for i, j in product(*map(range, shape))])


def drawn(draw: Callable[..., Hypers], budget: int, seed: int) -> np.ndarray:
    """Points drawn log-uniformly."""
    points = draw(Hypers, budget, seed, learning_rate=RATES, decay=DECAYS)
    spans = zip((points.learning_rate, points.decay), (RATES, DECAYS), strict=True)
    return np.stack([np.log(np.asarray(x) / low) / np.log(high / low) for x, (low, high) in spans], axis=1)


KINDS: dict[str, Callable[[int, int], np.ndarray]] = {
    "grid": on_a_grid,
    "random": partial(drawn, wd.random_points),
    "quasi-random": partial(drawn, wd.sobol_points),
}


# What is measured

Arms = Mapping[str, wd.Results]


class Table(NamedTuple):
    """Final accuracies over learning rate and decay above 0, and what trying every point reaches."""

    validation: np.ndarray  # f64[s, rate, decay]
    test: np.ndarray  # f64[s, rate, decay]
    best: np.ndarray  # f64[s], all points with decay tried, on the validation data of the other half of the seeds
    without: np.ndarray  # f64[s], all learning rates without decay tried, on the same data


def table_of(arms: Arms) -> Table:
    """The table that was trained."""
    results = arms[TRAINED]
    rates, decays = (results[name].to_numpy() for name in Hypers._fields)
    order = [point for point in np.lexsort((decays, rates)) if decays[point] > 0]

    def table(values: np.ndarray) -> np.ndarray:
        return values[:, order].reshape(len(values), len(np.unique(rates)), -1)

    return Table(
        table(wd.surviving(results, "validation_accuracy")),
        table(wd.final(results, "test_accuracy")),
        **wd.score_by_halves(arms, reached),
    )


def reached(arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of the best point with decay, and of the best without."""
    results = arms[TRAINED]
    without = wd.has_value(results, 0)
    return {
        "best": wd.tuned(results, "test_accuracy", ~without),
        "without": wd.tuned(results, "test_accuracy", without),
    }


def found(kind: str, budget: int, table: Table) -> np.ndarray:
    """Test accuracy of the best trial by the validation data of the seed itself, mean over the searches; f64[s]."""
    accuracies, seeds, shape = [], np.arange(len(table.test)), np.array(table.test.shape[1:])
    for search in range(SEARCHES):
        rate, decay = np.minimum((KINDS[kind](budget, search) * shape).astype(int), shape - 1).T
        best = np.nan_to_num(table.validation[:, rate, decay], nan=-np.inf).argmax(axis=1)
        accuracies.append(table.test[seeds, rate[best], decay[best]])
    return np.mean(accuracies, axis=0)


def gains(arms: Arms) -> dict[str, np.ndarray]:
    """Test accuracy of what a search finds, above the best without decay."""
    table = table_of(arms)
    return {f"{k}, {n} trials": found(k, n, table) - table.without for k, n in product(KINDS, BUDGETS)}


def regrets(budgets: tuple[int, ...], arms: Arms) -> dict[str, np.ndarray]:
    """Test accuracy that a search loses against trying all points on many seeds."""
    table = table_of(arms)
    return {f"{k}, {n} trials": table.best - found(k, n, table) for k, n in product(KINDS, budgets)}


def over_grid(kind: str, arms: Arms) -> dict[str, np.ndarray]:
    """Test accuracy of what one kind of search finds, above that of the grid with as many trials."""
    table = table_of(arms)
    return {f"{n} trials": found(kind, n, table) - found("grid", n, table) for n in BUDGETS}


SOURCE = source_of("C5")
CLAIMS = (
    wd.Claim("C5-helps", "A search on validation data finds a decay that is better than none, with 8 trials already.",
          SOURCE, gains, (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C5-suffices", "With 32 trials it loses less than a point against trying all points on many seeds.",
          SOURCE, partial(regrets, BUDGETS[-1:]), (-np.inf, 0.01), wd.everywhere, wd.POINTS),
    wd.Claim("C5-random", "Random search finds a decay as good as the grid does, within half a point.",
          "Bergstra & Bengio (2012), who find it better", partial(over_grid, "random"), (-0.005, np.inf), wd.everywhere,
          wd.POINTS),
    wd.Claim("C5-quasi-random", "Quasi-random search finds a decay as good as the grid does, within half a point.",
          SOURCE, partial(over_grid, "quasi-random"), (-0.005, np.inf), wd.everywhere, wd.POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """Test accuracy that each kind of search loses against trying all points, over its budget; exploring seeds."""
    figure, panels = wd.panel_grid(1, 1, width=4.6, height=3.4, share=False)
    panel, table = panels[0, 0], table_of(arms)
    for place, (kind, (color, dashes), marker) in enumerate(zip(KINDS, wd.LINES, "os^", strict=False)):
        regret = [wd.paired_t(100 * (table.best - found(kind, budget, table))) for budget in BUDGETS]
        mean, low, high = np.array(regret).T
        panel.errorbar(np.array(BUDGETS) * 1.05 ** (place - 1), mean, (mean - low, high - mean), color=color,
                       linestyle=dashes, marker=marker, markersize=4, capsize=2, label=kind)  # fmt: skip
    without = wd.paired_t(100 * (table.best - table.without)).mean
    panel.axhline(without, color="0.6", linewidth=1)
    panel.annotate("no decay", (BUDGETS[-1], without), xytext=(0, -10), textcoords="offset points", fontsize=8,
                   ha="right")  # fmt: skip
    panel.set(xscale="log", xlabel="trials", ylabel="points below trying every point")
    panel.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
    panel.xaxis.set_minor_formatter("")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return {"choosing": figure}


if __name__ == "__main__":
    wd.main(experiment)
