"""Is decay chosen well by grid, random or quasi-random search on validation data, and which of them needs least?

python -m experiments.article.choosing

python -m experiments.article.choosing --side 6 --seeds 4 --steps 300     # seconds, the table is coarse

Expected (78 s on 2 CPU cores; 4,352 members, one program; 50 searches of each kind and budget):
three claims hold, one fails. Every search finds a decay better than none, the least by 0.8 points [0.3, 1.4] with 8
random trials; with 32 trials all three fall 0.4 to 0.5 points short of trying all 256 points on many seeds. With 8
trials random search finds 0.8 points [0.7, 1.0] less than the grid, with 16 and 32 as much within 0.3. Quasi-random
search finds as much or more at every budget, by 0.3 points [0.1, 0.5] with 16. The picture: three lines that fall and
meet.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from experiments.article.rows import said
from experiments.article.setting import adam, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.evidence.answer import by_verdicts, final, surviving
from wd_research.evidence.claims import POINTS, Cell, Claim, does
from wd_research.evidence.drawing import LINES, panel_grid
from wd_research.evidence.statistics import at_choice, choose_leaving_one_out, paired_t
from wd_research.experiment import Experiment
from wd_research.search import grid, random_points, sobol_points
from wd_research.training.models import Mlp
from wd_research.types import Arm, Array, Figure, Results

RATES, DECAYS = (3e-4, 3e-2), (0.03, 100.0)  # what is searched, evenly in the logarithm
BUDGETS = (8, 16, 32)  # trials
SEARCHES = 50  # of each kind and budget, averaged
TRAINED = "every point"


class Hypers(NamedTuple):
    """The numbers of a net."""

    learning_rate: Array  # f32[]
    decay: Array  # f32[], the rate of decoupled decay


def experiment(
    *,
    side: int = 16,
    seeds: int = 16,
    steps: int = 1_000,
    train_size: int = 200,
    flipped: float = 0.2,
    width: int = 32,
    batch_size: int = 50,
) -> Experiment:
    """A table of side x side points is trained once; every search looks its trials up in it, at the nearest point.

    Args:
        side: Learning rates, and decays, of the table.
        seeds: Each has its own split, flipped labels, initial weights and order of the data.
        steps: Steps of training.
        train_size: Training examples; 400 of the 1,797 digits are for validation, the rest for testing.
        flipped: Share of the training labels that are made wrong.
        width: Units of the hidden layer.
        batch_size: Examples of a step.
    """
    checks.counts(side=side, steps=steps, train_size=train_size, width=width, batch_size=batch_size)
    checks.seeds(seeds)
    if side**2 < max(BUDGETS):
        raise ValueError(f"--side {side} is too few: give 6 or more, the largest search has {max(BUDGETS)} trials")
    task = digits_task(Mlp((width,), classes=10), train_size, flipped, batch_size)
    rates, decays = (np.geomspace(*span, side) for span in (RATES, DECAYS))
    points = grid(Hypers, learning_rate=tuple(rates), decay=(0.0, *decays))
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={TRAINED: Arm(task, task.loss, adam(steps), points, axis="decay")},
        seeds=seeds,
        steps=steps,
        looks=1,
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


# The searches: budget, number of the search -> trials in the unit square, f64[budget, 2]


def on_a_grid(budget: int, number: int) -> np.ndarray:
    """Rows times columns, as square as the budget allows, in the middle of equal parts, with an offset of their own."""
    rows = 2 ** (budget.bit_length() // 2)
    offset = np.random.default_rng(number).random(2)
    shape = (budget // rows, rows)
    return np.array([((i + offset[0]) / shape[0], (j + offset[1]) / shape[1]) for i, j in product(*map(range, shape))])


def drawn(draw: Callable[..., Hypers], budget: int, number: int) -> np.ndarray:
    """Points drawn log-uniformly, in the unit square of the logarithms."""
    points = draw(Hypers, budget, number, learning_rate=RATES, decay=DECAYS)
    spans = zip((points.learning_rate, points.decay), (RATES, DECAYS), strict=True)
    return np.stack([np.log(np.asarray(x) / low) / np.log(high / low) for x, (low, high) in spans], axis=1)


Search = Callable[[int, int], np.ndarray]
KINDS: dict[str, Search] = {
    "grid": on_a_grid,
    "random": partial(drawn, random_points),
    "quasi-random": partial(drawn, sobol_points),
}


# What is measured

Arms = Mapping[str, Results]


class Table(NamedTuple):
    """The final accuracies of all points with decay, side x side of them, f64[s, side^2], and the best without."""

    validation: np.ndarray
    test: np.ndarray
    without: np.ndarray  # f64[s], test accuracy without decay, its learning rate chosen among all of them

    @property
    def side(self) -> int:
        return int(np.sqrt(self.test.shape[1]))

    @property
    def best(self) -> np.ndarray:
        """Test accuracy where ALL points are tried on validation data of the other seeds; f64[s]."""
        return at_choice(self.test, choose_leaving_one_out(self.validation))


def table(arms: Arms) -> Table:
    """The table that was trained."""
    results = arms[TRAINED]
    decayed = results["decay"].to_numpy() > 0
    validation, test = surviving(results, "validation_accuracy"), final(results, "test_accuracy")
    without = at_choice(test[:, ~decayed], choose_leaving_one_out(validation[:, ~decayed]))
    return Table(validation[:, decayed], test[:, decayed], without)


def found(kind: str, budget: int, every: Table) -> np.ndarray:
    """Test accuracy of what a search finds, on the validation data of the seed alone; mean over searches, f64[s]."""
    accuracies = []
    for number in range(SEARCHES):
        cells = np.minimum((KINDS[kind](budget, number) * every.side).astype(int), every.side - 1)
        trials = cells[:, 0] * every.side + cells[:, 1]
        scores = np.nan_to_num(every.validation[:, trials], nan=-np.inf)
        accuracies.append(at_choice(every.test[:, trials], scores.argmax(axis=1)))
    return np.mean(accuracies, axis=0)


def gains(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of what a search finds, over the best without decay."""
    every = table(arms)
    return {f"{k}, {n} trials": Cell(found(k, n, every) - every.without) for k, n in product(KINDS, BUDGETS)}


def regrets(budgets: tuple[int, ...], arms: Arms) -> dict[str, Cell]:
    """By how much test accuracy falls short of that of all points tried on many seeds."""
    every = table(arms)
    return {f"{k}, {n} trials": Cell(every.best - found(k, n, every)) for k, n in product(KINDS, budgets)}


def over_grid(kind: str, arms: Arms) -> dict[str, Cell]:
    """Test accuracy of what one kind of search finds, over that of the grid with as many trials."""
    every = table(arms)
    return {f"{n} trials": Cell(found(kind, n, every) - found("grid", n, every)) for n in BUDGETS}


SOURCE = said("C5")
CLAIMS = (
    Claim("C5-helps", "A search on validation data finds a decay that is better than none, with 8 trials already.",
          SOURCE, gains, (0.0, np.inf), does, POINTS),
    Claim("C5-suffices", "With 32 trials it falls short of all points, tried on many seeds, by less than a point.",
          SOURCE, partial(regrets, BUDGETS[-1:]), (-np.inf, 0.01), does, POINTS),
    Claim("C5-random", "Random search finds as much as the grid, within half a point.",
          "Bergstra & Bengio (2012) say more", partial(over_grid, "random"), (-0.005, np.inf), does, POINTS),
    Claim("C5-quasi-random", "Quasi-random search finds as much as the grid, within half a point.",
          SOURCE, partial(over_grid, "quasi-random"), (-0.005, np.inf), does, POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """What every search falls short of the whole table, over its budget."""
    figure, panels = panel_grid(1, 1, width=4.6, height=3.4, share=False)
    panel, every = panels[0, 0], table(arms)
    for place, (kind, (color, dashes), marker) in enumerate(zip(KINDS, LINES, "os^", strict=False)):
        regret = [paired_t(100 * (every.best - found(kind, budget, every))) for budget in BUDGETS]
        mean, low, high = np.array(regret).T
        panel.errorbar(np.array(BUDGETS) * 1.05 ** (place - 1), mean, (mean - low, high - mean), color=color,
                       linestyle=dashes, marker=marker, markersize=4, capsize=2, label=kind)  # fmt: skip
    without = paired_t(100 * (every.best - every.without)).mean
    panel.axhline(without, color="0.6", linewidth=1)
    panel.annotate("no decay", (BUDGETS[-1], without), xytext=(0, -10), textcoords="offset points", fontsize=8,
                   ha="right")  # fmt: skip
    panel.set(xscale="log", xlabel="trials", ylabel="points short of the whole table")
    panel.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
    panel.xaxis.set_minor_formatter("")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return {"choosing": figure}


if __name__ == "__main__":
    main(experiment)
