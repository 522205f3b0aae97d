"""Judging rules: what each loses in worlds whose best decay is known.

A rule sees one half of a world's seeds and is scored on the other, both ways, at the best learning rate of a world and
its neighbours: what its decay loses there on test data, against the decay that a whole sweep of the seen half takes. A
regret is told in nats or points, and as a share of what that decay gains over none (of two tolerances, where it gains
less). Constants are fitted on worlds of other data, and no rule looks for decays beyond those that are best there.
Over worlds, medians and the worst have bootstrap intervals: data are drawn, then worlds of these, then learning rates.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import wd_research as wd
from experiments.tournament.rules import Runs, Search
from experiments.tournament.table import TOLERANCES, Table, at, twin_of
from experiments.tournament.worlds import World, lesson
from wd_research.decay.rules import FEATURES, Run, scales_of

BUDGETS = (1, 2, 4, 8, 16)
DRAWS = 8  # of the seeds that a rule with runs is given
RESAMPLES = 2_000
CONSTANTS = np.geomspace(1e-5, 1e5, 201)  # among which a rule's is fitted
AS_PUBLISHED = {
    "none": (("decay",), (0.0,)),
    "0.01": (("decay",), (0.01,)),
    "0.1": (("decay",), (0.1,)),
    "0.29 epochs": (("epochs",), (1 / 0.29,)),
}
CPR, AUTO_L2 = "CPR", "AutoL2"
UNFINISHED = "halving, unfinished schedules"
Groups = tuple[tuple[tuple[int, ...], ...], ...]  # numbers of cells, by data and world


class Cell(NamedTuple):
    """One learning rate of one world, with one half of its seeds to see and the other to be judged on."""

    world: World
    rate: int  # number of the learning rate
    run: Run
    seen: Table
    shorter: Table | None  # what is seen of the world's twin
    lost: np.ndarray  # f64[k], on test data of the other half, the mean over its seeds
    bounded: float  # what CPR loses there
    falling: float  # and AutoL2
    best: int  # number of the decay that the seen half takes

    @property
    def decay(self) -> float:
        """The decay that the seen half takes; time scales in a run."""
        return float(self.seen.scales[self.best])

    @property
    def gain(self) -> float:
        """What the best decay gains over none."""
        return float(self.lost[0] - self.lost[self.best])

    @property
    def tolerance(self) -> float:
        """What nobody would change a recipe for."""
        return TOLERANCES[self.seen.unit]

    @property
    def scale(self) -> float:
        """What regrets are a share of."""
        return max(self.gain, 2 * self.tolerance)

    def regret(self, scales: np.ndarray | float) -> np.ndarray:
        """What other decays lose against the best; nats or points."""
        return at(self.seen.scales, self.lost, scales) - self.lost[self.best]


def cells_of(tables: Mapping[World, Table]) -> list[Cell]:
    """Every world at its best learning rate and that one's neighbours, both ways."""
    return [cell for world in tables for ways in ((0, 1), (1, 0)) for cell in _cells(tables, world, *ways)]


def _cells(tables: Mapping[World, Table], world: World, mine: int, other: int) -> Iterator[Cell]:
    seen, judged, shorter = tables[world].halves[mine], tables[world].halves[other], twin_of(world, tables)
    middle = int(np.argmin(seen.validation[..., -1].mean(axis=0).min(axis=1)))
    for rate in range(max(0, middle - 1), min(len(seen.rates), middle + 2)):
        run = run_of(world, float(seen.rates[rate]))
        best = int(np.argmin(seen.test[:, rate].mean(axis=0)))
        yield Cell(
            world,
            rate,
            run,
            seen,
            shorter.halves[mine] if shorter else None,
            judged.test[:, rate].mean(axis=0),
            float(judged.bounded[:, rate].mean()),
            float(judged.falling[:, rate].mean()),
            best,
        )


def run_of(world: World, learning_rate: float) -> Run:
    """What a rule may ask of a world."""
    of = lesson(world.data)
    seen = world.steps * of.batch
    return Run(world.steps, learning_rate, seen / of.examples, of.width, seen * of.tokens / of.parameters)


class Judged(NamedTuple):
    """What a rule lost in every cell."""

    rule: str
    budget: int  # runs that it paid for
    regrets: np.ndarray  # f64[c], nats or points
    said: np.ndarray  # f64[c], the decay that it said, over the best; NaN where none was said, or none is best
    features: tuple[str, ...] = ()  # of a rule without runs
    constants: tuple[float, ...] = ()  # of these, fitted on all worlds, or published


# Rules without runs


def without_runs(cells: Sequence[Cell]) -> list[Judged]:
    """What rules lose that ask no run."""
    published = [
        of_decays(name, 0, cells, [scales_of(*as_published, cell.run) for cell in cells], *as_published)
        for name, as_published in AS_PUBLISHED.items()
    ]
    unchosen = {CPR: [cell.bounded for cell in cells], AUTO_L2: [cell.falling for cell in cells]}
    best, unsaid = np.array([cell.lost[cell.best] for cell in cells]), np.full(len(cells), np.nan)
    families = {f"{name}, fitted": (name,) for name in FEATURES} | {"epochs or run, fitted": ("epochs", "run")}
    return [
        *published,
        *(Judged(name, 0, np.array(lost) - best, unsaid) for name, lost in unchosen.items()),
        *(fitted(name, features, cells) for name, features in families.items()),
    ]


def fitted(name: str, features: tuple[str, ...], cells: Sequence[Cell]) -> Judged:
    """What the largest of features, each times a constant, loses with constants that are best on other data."""
    every = [CONSTANTS] * len(features)  # losses are f64[constants, ...], an axis for each feature
    losses = [cell.regret(scales_of(features, every, cell.run)) / cell.scale for cell in cells]

    def best_on(others: Sequence[int]) -> tuple[int, ...]:
        mean = np.mean([losses[other] for other in others], axis=0)
        return tuple(map(int, np.unravel_index(np.argmin(mean), mean.shape)))

    data = [cell.world.data for cell in cells]
    places = {of: best_on([c for c in range(len(cells)) if data[c] != of]) for of in dict.fromkeys(data)}
    said = [[float(scales_of(features, every, cell.run)[places[cell.world.data]])] for cell in cells]
    constants = tuple(float(CONSTANTS[place]) for place in best_on(range(len(cells))))
    return of_decays(name, 0, cells, said, features, constants)


def of_decays(
    name: str, budget: int, cells: Sequence[Cell], said: Sequence[Sequence[float] | np.ndarray],
    features: tuple[str, ...] = (), constants: tuple[float, ...] = (),
) -> Judged:  # fmt: skip
    """A rule by the decays that it said in every cell, one or several, of which means are taken."""
    regrets = [float(cell.regret(np.array(of)).mean()) for cell, of in zip(cells, said, strict=True)]
    over = [
        np.exp(np.mean(np.log(np.divide(of, cell.decay)))) if cell.best and min(of) > 0 else np.nan
        for cell, of in zip(cells, said, strict=True)
    ]
    return Judged(name, budget, np.array(regrets), np.array(over), features, constants)


# Rules with runs


def judged(name: str, search: Search, budget: int, cells: Sequence[Cell]) -> Judged:
    """What a rule loses with so many runs, on the mean over draws of its seeds."""
    places = {of: best_elsewhere(of, cells) for of in {cell.world.data for cell in cells}}

    def said(number: int, cell: Cell, draw: int) -> float:
        rng = np.random.default_rng((number, budget, draw))
        order = rng.permutation(len(cell.seen.test))
        return search(Runs(cell.seen, cell.rate, places[cell.world.data], budget, order, cell.shorter, cell.run), rng)

    of_cells = [[said(number, cell, draw) for draw in range(DRAWS)] for number, cell in enumerate(cells)]
    return of_decays(name, budget, cells, of_cells)


def best_elsewhere(data: str, cells: Sequence[Cell]) -> np.ndarray:
    """The decays above 0 from the least to the largest that is best on other data, and one more on either side."""
    best = [cell.best for cell in cells if cell.world.data != data and cell.best]
    return np.arange(max(1, min(best) - 1), min(len(cells[0].seen.scales), max(best) + 2))


# What is said of all


class Score(NamedTuple):
    """A rule over all worlds, by shares of what decay is worth there."""

    median: wd.Estimate
    mean: wd.Estimate
    worst: wd.Estimate
    within: float  # the share of worlds in which it loses no more than the tolerance


def scored(cells: Sequence[Cell], regrets: np.ndarray) -> Score:
    """The median, mean and worst over worlds, both ways and all learning rates together, with their intervals."""
    shares, groups = regrets / np.array([cell.scale for cell in cells]), grouped(cells)
    worlds = [list(of) for worlds in groups for of in worlds]
    within = [np.mean(regrets[of]) <= cells[of[0]].tolerance for of in worlds]
    median, mean, worst = (estimate(groups, over_draws(groups, shares, of)) for of in (np.median, np.mean, np.max))
    return Score(median, mean, worst, float(np.mean(within)))


def estimate(groups: Groups, draws: np.ndarray) -> wd.Estimate:
    """A number of all worlds with its expanded percentile interval, from f64[1 + draws].

    With n data, quantiles of the draws are taken at Phi(-sqrt(n / (n - 1)) t_{.975, n-1}) and its complement, further
    out than .025, as six or eleven data are few. With three kinds of noise 93 to 98 % of the intervals of means and
    medians hold the truth (`scripts/simulate_tournament.py`); that of a largest share only says how it varies over
    draws. Source: Hesterberg (1411.5279), section 5.3.
    """
    from scipy import stats  # here, because it takes a second to import

    data = len(groups)
    out = float(stats.norm.cdf(-np.sqrt(data / (data - 1)) * stats.t.ppf(0.975, data - 1))) if data > 1 else 0.0
    low, high = np.quantile(draws[1:], (out, 1 - out))
    return wd.Estimate(float(draws[0]), float(low), float(high))


def over_draws(groups: Groups, values: np.ndarray, statistic: Callable[[np.ndarray], Any]) -> np.ndarray:
    """A statistic of the means of worlds: of all of them, and of draws, the same for every rule; f64[1 + draws].

    Data are drawn with replacement, then as many worlds of these, then cells of each.
    """
    worlds = drawn_worlds(groups)
    return np.array([statistic(np.add.reduceat(values[of], begins) / counts) for of, begins, counts in worlds])


@cache
def drawn_worlds(groups: Groups) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All worlds, and draws of them: the cells of each one after the other, where each begins, how many it has."""
    rng = np.random.default_rng(0)

    def among(several: Sequence[Any]) -> list[Any]:
        return [several[number] for number in rng.integers(len(several), size=len(several))]

    def laid_out(worlds: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts = np.array([len(of) for of in worlds])
        return np.concatenate(worlds), np.cumsum(counts) - counts, counts

    draws = ([among(of) for worlds in among(groups) for of in among(worlds)] for _ in range(RESAMPLES))
    return [laid_out([of for worlds in groups for of in worlds]), *map(laid_out, draws)]


def grouped(cells: Sequence[Cell]) -> Groups:
    """Numbers of cells, by data and world."""
    found: dict[str, dict[World, list[int]]] = {}
    for number, cell in enumerate(cells):
        found.setdefault(cell.world.data, {}).setdefault(cell.world, []).append(number)
    return tuple(tuple(map(tuple, worlds.values())) for worlds in found.values())


# What was said before any world was run


class Verdict(NamedTuple):
    """What became of a statement."""

    statement: str
    measured: wd.Estimate
    verdict: str


def verdicts(cells: Sequence[Cell], rules: Sequence[Judged]) -> list[Verdict]:
    """What became of what was stated: it holds where the whole interval lies in what was expected."""
    scales, groups = np.array([cell.scale for cell in cells]), grouped(cells)
    free = {rule.rule: over_draws(groups, rule.regrets / scales, np.max) for rule in rules if rule.budget == 0}
    at_four = {rule.rule: over_draws(groups, rule.regrets / scales, np.mean) for rule in rules if rule.budget == 4}
    unfinished = next(rule for rule in rules if rule.rule == UNFINISHED and rule.budget == 4)
    said = np.log(unfinished.said)
    repeated = [place for place, cell in enumerate(cells) if cell.run.epochs > 2 and np.isfinite(said[place])]
    of_repeated = grouped([cells[place] for place in repeated])
    share = over_draws(of_repeated, said[repeated], lambda of_worlds: np.mean(of_worlds < 0))
    return [
        decided(
            "A time scale in epochs, not longer than a share of the run, has the least worst-case regret of all rules "
            "without a run: by so much the next one's is larger.", ahead(free, "epochs or run, fitted"), 0.0, groups,
        ),
        decided(
            "At four runs a parabola through four points loses less than all else, on the mean: by so much the next "
            "one loses more.", ahead(at_four, "parabola"), 0.0, groups,
        ),
        decided(
            "Halving on unfinished schedules takes too little decay in four of five worlds where data are seen more "
            "than twice: the share of them.", share, 0.8, of_repeated,
        ),
    ]  # fmt: skip


def ahead(losses: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """By how much the best of all other rules loses more; f64[1 + draws]."""
    return np.min([loss for other, loss in losses.items() if other != name], axis=0) - losses[name]


def decided(statement: str, draws: np.ndarray, least: float, groups: Groups) -> Verdict:
    """A verdict on a number that is to be above `least`."""
    measured = estimate(groups, draws)
    verdict = "holds" if measured.low > least else "fails" if measured.high < least else "undecided"
    return Verdict(statement, measured, verdict)
