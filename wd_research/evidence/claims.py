"""Claims: a statement about weight decay, the range that a measurement has if it is true, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.statistics import LEVEL, Estimate, holm, p_inside, p_outside, paired_t

ALPHA = 1 - LEVEL


class Unit(NamedTuple):
    """The unit in which a measurement is shown; recorded values are not converted."""

    name: str
    factor: float  # measurement times factor is the number shown
    form: str  # of that number


NUMBER = Unit("", 1.0, "+.4g")
POINTS = Unit("points", 100.0, "+.2f")  # of accuracy, measured as a share
NATS = Unit("nats", 1.0, "+.3f")
PERCENT = Unit("%", 100.0, "+.2f")


class Cell(NamedTuple):
    """One condition in which a claim is measured."""

    values: np.ndarray  # f64[s], one measurement per seed
    on_edge: bool = False  # what was measured is an optimum on the edge of its grid: no verdict can rest on it


class Decision(NamedTuple):
    """A verdict and the name of the cell it hangs on."""

    verdict: str  # "holds", "fails" or "undecided"
    cell: str


class Claim(NamedTuple):
    """A statement about weight decay that a run can decide.

    `quantifier` is `everywhere` or `somewhere`. `expected` bounds the measured quantity where the statement
    is true; for "no effect" it is the margin, stated before the run.
    """

    id: str
    statement: str  # in our words
    source: str
    measure: Callable[[Any], Mapping[str, Cell]]  # results -> name of the cell -> cell
    expected: tuple[float, float]
    quantifier: Callable[[Sequence[str], np.ndarray, np.ndarray], Decision]
    unit: Unit = NUMBER


def everywhere(names: Sequence[str], inside: np.ndarray, outside: np.ndarray) -> Decision:
    """In every cell: holds when every interval lies in the expected range, fails when one (by Holm) lies outside."""
    weakest, refuting = int(inside.argmax()), int(outside.argmin())
    if holm(outside)[refuting] <= ALPHA:
        return Decision("fails", names[refuting])
    return Decision("holds" if inside[weakest] <= ALPHA else "undecided", names[weakest])


def somewhere(names: Sequence[str], inside: np.ndarray, outside: np.ndarray) -> Decision:
    """In at least one cell: holds when one interval (by Holm) lies in the expected range, fails when all lie out."""
    strongest = int(inside.argmin())
    if holm(inside)[strongest] <= ALPHA:
        return Decision("holds", names[strongest])
    return Decision("fails" if outside.max() <= ALPHA else "undecided", names[strongest])


def judge(claim: Claim, results: Any) -> dict[str, Any]:
    """Measure a claim and give the verdict; a row of `summary.json`.

    "measured", "low" and "high" are the mean and its 95 % paired t interval in the cell that the verdict hangs on;
    "cells" has the same for every cell.
    """
    cells = dict(claim.measure(results))
    inside = np.array([1.0 if cell.on_edge else p_inside(cell.values, *claim.expected) for cell in cells.values()])
    outside = np.array([1.0 if cell.on_edge else p_outside(cell.values, *claim.expected) for cell in cells.values()])
    verdict, deciding = claim.quantifier(list(cells), inside, outside)
    estimates = {name: paired_t(cell.values) for name, cell in cells.items()}
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "measured": estimates[deciding].mean,
        "low": estimates[deciding].low,
        "high": estimates[deciding].high,
        "expected": list(claim.expected),
        "quantifier": claim.quantifier.__name__,
        "verdict": verdict,
        "cell": deciding,
        "unit": claim.unit._asdict(),
        "cells": {name: _row(estimates[name], cell) for name, cell in cells.items()},
    }


def _row(estimate: Estimate, cell: Cell) -> dict[str, Any]:
    return {**estimate._asdict(), "on_edge": cell.on_edge}
