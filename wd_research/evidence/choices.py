"""Choices: points that exploring seeds choose on validation data, and scores of them on whichever seeds one likes.

A `Choice` names a point of an arm. `Scores` is what is measured of one or several choices, a number per seed, not yet
computed: so a run collects the choices, trains them on fresh seeds, and only then computes. Scores add, subtract,
multiply, and pass through NumPy's functions, as the array would that they become.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.statistics import best_candidate, contenders
from wd_research.results import BETTER, final, has_value, hypers, judged_by
from wd_research.types import Results

SPENT = 0.005  # the level at which a race tests in all its rounds together


class Contest(NamedTuple):
    """Among what, and by what, a point was chosen."""

    points: tuple[int, ...]  # their numbers in the arm
    by: str  # "accuracy" or "loss", or "" by other scores
    any_step: bool


class Choice(NamedTuple):
    """A point of an arm, and the step at which it is scored."""

    arm: str
    point: int  # its number in the arm
    step: int
    validation: float  # its mean validation score over the seeds that chose it, larger where better
    edges: tuple[str, ...]  # tuned hyperparameters whose best value is an end of the grid: a better one may lie beyond
    on_edge: bool  # whether the axis in question is one of them
    contest: Contest | None = None  # what it has won; None where the point was not chosen for its score

    @property
    def has_score(self) -> bool:
        """Whether it was chosen for its score; where members diverged at every point, the first one stands for all."""
        return bool(self.validation > -np.inf)


Trained = Callable[[Choice], Results]  # the results of a choice alone, dims (seed, point, step), up to its step


class Scores(np.lib.mixins.NDArrayOperatorsMixin):
    """What is measured of choices, a number per seed: `of(trained)` computes it, f64[s].

    `resolution` is the smallest step that it can make: 1/n for accuracies of n examples, 0 for what is not counted.
    """

    def __init__(
        self, choices: tuple[Choice, ...], of: Callable[[Trained], np.ndarray], resolution: float = 0.0
    ) -> None:
        self.choices, self.of, self.resolution = tuple(dict.fromkeys(choices)), of, resolution

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        """The scores that a function of NumPy makes of these."""
        if method != "__call__":
            return NotImplemented

        def of(trained: Trained) -> np.ndarray:
            return ufunc(*(each.of(trained) if isinstance(each, Scores) else each for each in inputs), **keywords)

        scores = [each for each in inputs if isinstance(each, Scores)]
        return Scores(tuple(choice for each in scores for choice in each.choices), of, resolution_of(ufunc, inputs))

    @property
    def edges(self) -> tuple[str, ...]:
        """The tuned hyperparameters of which some choice lies at an end of the grid."""
        return tuple(dict.fromkeys(edge for choice in self.choices for edge in choice.edges))

    @property
    def on_edge(self) -> bool:
        """Whether some choice lies at an end of the axis in question: no verdict can rest on it."""
        return any(choice.on_edge for choice in self.choices)


KEEPING = (np.add, np.subtract, np.negative, np.positive, np.absolute)  # functions that keep the smallest step


def resolution_of(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> float:
    """The smallest step of a sum, a difference or a multiple of scores; other functions have none that is known."""
    steps = [each.resolution for each in inputs if isinstance(each, Scores)]
    factors = [abs(each) for each in inputs if isinstance(each, int | float)]
    if ufunc is np.multiply and factors:
        return steps[0] * factors[0]
    if ufunc is np.divide and isinstance(inputs[1], int | float):
        return steps[0] / abs(inputs[1])
    return max(steps) if ufunc in KEEPING else 0.0


def choose(
    results: Results, among: np.ndarray | None = None, by: str | None = None, any_step: bool = False,
    scores: np.ndarray | None = None,
) -> Choice:  # fmt: skip
    """The point with the best mean validation score over seeds, among those of the mask bool[h].

    It is judged `by` "accuracy" or "loss" at the end of training, with `any_step` at whichever evaluation is best, or
    by other scores f64[s, h], larger where better. A point with a diverged member is worse than all others. Where there
    are no others the first point is taken, which has no score and lies on no edge.
    """
    among = np.ones(results.sizes["point"], bool) if among is None else among
    by = by or judged_by(results)
    curves = scores_of(results, by, any_step) if scores is None else np.ma.filled(scores, np.nan)[..., None]
    curves = curves[:, among]
    point, evaluation = divmod(best_candidate(curves.reshape(len(curves), -1)), curves.shape[-1])
    steps = results["step"].to_numpy()[0 if any_step else -1 :]
    index = int(np.flatnonzero(among)[point])
    choice = choice_of(results, index, among, int(steps[evaluation]), curves[:, point, evaluation].mean())
    raced_by = by if scores is None and "stopped_at" not in results else ""
    choice = choice._replace(contest=Contest(tuple(results["point"].to_numpy()[among].tolist()), raced_by, any_step))
    return choice if choice.has_score else choice._replace(edges=(), on_edge=False)


def scores_of(results: Results, by: str, any_step: bool) -> np.ndarray:
    """Validation scores, larger where better, of all evaluations or of the last; f64[s, h, e], NaN where diverged."""
    scores = BETTER[by] * results[f"validation_{by}"].to_numpy()[..., 0 if any_step else -1 :].astype(float)
    return np.where(results["diverged_at"].to_numpy()[..., None] < 0, scores, np.nan)


def rivals(results: Results, choice: Choice, alpha: float) -> set[int]:
    """The numbers of the points that more seeds may find the best of a choice's contest, tested at the level alpha.

    They are the `contenders` among all its points at all its evaluations, on validation data. All stay where none has a
    score, or other scores chose than these results have.
    """
    if choice.contest is None:
        return {choice.point}
    points, by, any_step = choice.contest
    if not by or not choice.has_score:
        return set(points)
    among = np.flatnonzero(np.isin(results["point"].to_numpy(), points))
    curves, examples = scores_of(results, by, any_step)[:, among], results.attrs.get("validation_examples", 0)
    resolution = 1 / examples if examples and by == "accuracy" else 0.0
    means = curves[:, results["point"].to_numpy()[among] == choice.point].mean(axis=0)
    if not np.isclose(means, choice.validation).any():
        return set(points)
    stays = contenders(curves.reshape(len(curves), -1), alpha, resolution).reshape(len(among), -1).any(axis=1)
    return set(results["point"].to_numpy()[among[stays]].tolist())


def choice_of(
    results: Results, index: int, among: np.ndarray | None = None, step: int | None = None, validation: float = np.nan
) -> Choice:
    """The choice of the point with this index in the results, which was tuned among the points of the mask bool[h]."""
    number, last = int(results["point"][index]), int(results["step"][-1])
    edges = edges_of(results, index, np.ones(results.sizes["point"], bool) if among is None else among)
    return Choice(
        results.attrs.get("arm", ""), number, last if step is None else step, float(validation), edges,
        results.attrs["axis"] in edges,
    )  # fmt: skip


def edges_of(results: Results, index: int, among: np.ndarray) -> tuple[str, ...]:
    """The hyperparameters whose value at a point is the smallest or the largest that was tried; 0 is no edge.

    Nothing lies below 0; and what has one value among the points of the mask bool[h] was not tuned.
    """
    grids = {name: np.unique(results[name].to_numpy()[among]) for name in hypers(results)}
    return tuple(
        name
        for name, grid in grids.items()
        if len(grid) > 1 and (value := results[name].to_numpy()[index]) != 0
        and value in (grid[grid > 0].min(initial=np.inf), grid.max())
    )  # fmt: skip


def measured(function: Callable[..., np.ndarray], *choices: Choice, resolution: float = 0.0) -> Scores:
    """What function(results of each choice) -> f64[s] makes of choices; the results have dims (seed, point, step)."""
    return Scores(choices, lambda trained: function(*map(trained, choices)), resolution)


def score(results: Results, choice: Choice, name: str) -> Scores:
    """A final metric at a choice of the results, by its last finite weights where the member has diverged."""
    examples = results.attrs.get(f"{name.partition('_')[0]}_examples", 0)
    counted = name.endswith("_accuracy") and examples > 0
    return measured(lambda at: final(at, name)[:, 0], choice, resolution=1 / examples if counted else 0.0)


def tuned(
    results: Results, name: str, among: np.ndarray | None = None, by: str | None = None, any_step: bool = False
) -> Scores:
    """A final metric at the point that validation data choose among `among` bool[h] (see `choose`).

    It is NaN where members diverged at every point of the arm.
    """
    choice = choose(results, among, by, any_step)
    scores = score(results, choice, name)
    return scores if choice.has_score or among is not None else scores + np.nan


def gain_over_none(results: Results, name: str, by: str | None = None, any_step: bool = False) -> Scores:
    """Difference in a final metric between the tuned point and the tuned point without decay."""
    return tuned(results, name, None, by, any_step) - tuned(results, name, has_value(results, 0), by, any_step)


def difference(first: Results, second: Results, name: str = "test_accuracy") -> Scores:
    """Difference in a final metric between two arms, both tuned."""
    return tuned(first, name) - tuned(second, name)
