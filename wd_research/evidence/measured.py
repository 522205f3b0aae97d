"""What a run has measured: exploring seeds on whole grids, and fresh confirming seeds on what was chosen there.

Whatever follows a choice is scored on confirming seeds alone; without any, by halves: each half of the exploring seeds
is scored at what the other half chooses, and a single seed at what it chooses itself, without an interval. Whole curves
stay with the exploring seeds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from wd_research.evidence.choices import Choice, Scores
from wd_research.evidence.statistics import ALPHA, Estimate, halves, nominal_level, paired_t
from wd_research.results import describe_point, hypers, joined, trained
from wd_research.types import Results

Arms = Mapping[str, Results]
Measure = Callable[[Arms], Mapping[str, Scores | np.ndarray]]  # exploring results -> name of the cell -> its scores
WantedPoints = dict[str, set[int]]  # arm -> numbers of points

EXPLORING, CONFIRMING, HALVES = "exploring", "confirming", "halves"


class Cell(NamedTuple):
    """One condition in which something is measured."""

    values: np.ndarray  # f64[s], one measurement per seed
    stage: str = EXPLORING  # the seeds that these are of; HALVES: exploring ones, each scored by the others' choice
    edges: tuple[str, ...] = ()  # hyperparameters tuned to an end of their grid
    on_edge: bool = False  # whether that of the axis in question is: no verdict can rest on it
    resolution: float = 0.0  # the smallest step that a value can make

    def estimate(self, alpha: float = ALPHA) -> Estimate:
        """The mean with its (1 - alpha) t interval."""
        return paired_t(self.values, alpha, self.resolution)


class Evidence(Mapping[str, Results]):
    """The exploring results of every arm, by name, and the confirming ones.

    `confirming` has one or more results per arm, of some points and some fresh seeds each. `looks` are the numbers of
    confirming seeds after which claims are judged, and may be decided.
    """

    def __init__(
        self, arms: Arms, confirming: Mapping[str, Sequence[Results]] | None = None, looks: Sequence[int] = ()
    ) -> None:
        self.arms = {name: results.assign_attrs(arm=name) for name, results in arms.items()}
        self.confirming = confirming or {}
        self.looks = tuple(looks) if self.confirming else ()
        self.trained: dict[tuple[str, int], Results] = {}  # what `confirmed` has put together

    def __getitem__(self, name: str) -> Results:
        return self.arms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arms)

    def __len__(self) -> int:
        return len(self.arms)

    @cached_property
    def alpha(self) -> float:
        """The level of a single look, at which all looks together err in 5 % of cases."""
        return nominal_level(self.looks) if self.looks else ALPHA

    @property
    def scored_on(self) -> str:
        """On which seeds choices are scored, in words."""
        return "confirming seeds" if self.confirming else "halves of the seeds"

    @property
    def seeds(self) -> int:
        """How many confirming seeds there are, at most: what was decided early has fewer."""
        return max((sum(tile.sizes["seed"] for tile in tiles) for tiles in self.confirming.values()), default=0)

    def members(self, names: Iterable[str]) -> int:
        """How many members these arms have, on exploring and confirming seeds."""
        tiles = [tile for name in names for tile in (self[name], *self.confirming.get(name, ()))]
        return int(sum(trained(tile).sum() for tile in tiles))

    def score(self, measure: Measure, seeds: int | None = None) -> dict[str, Cell]:
        """Choose on the exploring seeds, and score the choices; on the first `seeds` confirming ones if there are any.

        Raises LookupError when a choice has not been trained on confirming seeds.
        """
        cells = measured_cells(measure, self.arms)
        chosen = {name: scores for name, scores in cells.items() if isinstance(scores, Scores)}
        if self.confirming:
            stage, values = CONFIRMING, {name: self._on_confirming(scores, seeds) for name, scores in chosen.items()}
        elif next(iter(self.arms.values())).sizes["seed"] == 1:
            trained = partial(trained_in, self.arms)
            stage, values = EXPLORING, {name: scores.of(trained) for name, scores in chosen.items()}
        else:
            stage, values = HALVES, score_by_halves(self.arms, measure) if chosen else {}
        return {
            name: Cell(values[name], stage, scores.edges, scores.on_edge, scores.resolution)
            if isinstance(scores, Scores)
            else Cell(np.asarray(scores, float))
            for name, scores in cells.items()
        }

    def confirmed(self, choice: Choice) -> Results:
        """The confirming results of a choice, of all its seeds, up to its step."""
        key = choice.arm, choice.point
        if key not in self.trained:
            tiles = [tile for tile in self.confirming.get(choice.arm, ()) if choice.point in tile["point"]]
            if not tiles:
                results = self.arms[choice.arm].sel(point=choice.point)
                said = describe_point({name: results[name] for name in hypers(self.arms[choice.arm])})
                raise LookupError(f"{choice.arm} at {said} was not trained on confirming seeds: a claim that is newer "
                                  "than the run needs a run of its own")  # fmt: skip
            self.trained[key] = joined([tile.sel(point=[choice.point]) for tile in tiles], "seed")
        return self.trained[key].sel(step=slice(choice.step))

    def _on_confirming(self, scores: Scores, seeds: int | None) -> np.ndarray:
        common = min(self.confirmed(choice).sizes["seed"] for choice in scores.choices)
        first = slice(common if seeds is None else min(seeds, common))
        return scores.of(lambda choice: self.confirmed(choice).isel(seed=first))


def measured_cells(measure: Measure, arms: Arms) -> Mapping[str, Scores | np.ndarray]:
    """What a claim measures, cell by cell. Raises ValueError unless these are scores, or one number for every seed."""
    cells = measure(arms)
    if not isinstance(cells, Mapping) or not cells:
        raise ValueError(f"a claim measures a mapping of cells, name -> scores, and this one gave {cells!r:.80}")
    for name, scores in cells.items():
        if isinstance(scores, Scores):
            continue
        values = np.asarray(scores)
        if values.ndim != 1 or not len(values) or values.dtype.kind not in "biuf":
            raise ValueError(
                f"a claim measures one number for each seed, or scores after a choice, and its cell {name!r} is of "
                f"shape {values.shape}, type {values.dtype}"
            )
    return cells


def score_by_halves(arms: Arms, measure: Measure) -> dict[str, np.ndarray]:
    """Score each half of two or more seeds at what the other half chooses; f64[s].

    What rests on no choice is left out.
    """
    seeds = next(iter(arms.values())).sizes["seed"]
    scored: dict[str, np.ndarray] = {}
    for choosing, scoring in zip(halves(seeds), halves(seeds)[::-1], strict=True):
        kept = {name: results.isel(seed=scoring) for name, results in arms.items()}
        half = {name: results.isel(seed=choosing) for name, results in arms.items()}
        for name, scores in measured_cells(measure, half).items():
            if isinstance(scores, Scores):
                scored.setdefault(name, np.full(seeds, np.nan))[scoring] = scores.of(partial(trained_in, kept))
    return scored


def trained_in(arms: Arms, choice: Choice) -> Results:
    """The results of a choice in results of whole grids, up to its step."""
    return arms[choice.arm].sel(point=[choice.point], step=slice(choice.step))


def points_wanted(arms: Arms, measures: Iterable[Measure]) -> WantedPoints:
    """The points that measures score after a choice, arm by arm: what confirming seeds train."""
    wanted: WantedPoints = {}
    for measure in measures:
        for scores in measured_cells(measure, arms).values():
            for choice in scores.choices if isinstance(scores, Scores) else ():
                wanted.setdefault(choice.arm, set()).add(choice.point)
    return wanted
