"""Claims: a statement, what would be measured if it were true, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.statistics import LEVEL, Estimate, holm, p_inside, p_outside, paired_t

ALPHA = 1 - LEVEL


class Unit(NamedTuple):
    """In what a measurement is shown; what is measured, expected and recorded stays as it is."""

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
    """What somebody says of weight decay, as something that a run can decide.

    `quantifier` is `does` or `can`. `expected` bounds the measured quantity where the statement is true; for "no
    effect" it is the margin, stated before the run.
    """

    id: str
    statement: str  # in our words
    source: str
    measure: Callable[[Any], Mapping[str, Cell]]  # results -> name of the cell -> cell
    expected: tuple[float, float]
    quantifier: Callable[[Sequence[str], np.ndarray, np.ndarray], Decision]
    unit: Unit = NUMBER


def does(names: Sequence[str], inside: np.ndarray, outside: np.ndarray) -> Decision:
    """In every declared cell: holds when every interval lies in what is expected, fails when one (Holm) is outside."""
    weakest, refuting = int(inside.argmax()), int(outside.argmin())
    if holm(outside)[refuting] <= ALPHA:
        return Decision("fails", names[refuting])
    return Decision("holds" if inside[weakest] <= ALPHA else "undecided", names[weakest])


def can(names: Sequence[str], inside: np.ndarray, outside: np.ndarray) -> Decision:
    """In at least one declared cell: holds when one interval (Holm) is in what is expected, fails when all lie out."""
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


def measured(row: Mapping[str, Any]) -> str:
    """What a judged claim measured, for a person: `+5.71 points [+4.60, +6.82]`."""
    unit = Unit(**row["unit"])
    mean, low, high = (format(unit.factor * row[key], unit.form) for key in ("measured", "low", "high"))
    return f"{f'{mean} {unit.name}'.rstrip()} [{low}, {high}]"


def expected(row: Mapping[str, Any]) -> str:
    """What a judged claim expected, for a person: `above 0`, `-0.5 to 0.5 points`; None, as in JSON, is no bound."""
    unit = Unit(**row["unit"])
    low, high = (
        none if bound is None else unit.factor * bound
        for bound, none in zip(row["expected"], (-np.inf, np.inf), strict=True)
    )
    bounds = f"below {high:g}" if low == -np.inf else f"above {low:g}" if high == np.inf else f"{low:g} to {high:g}"
    return f"{bounds} {unit.name}".rstrip()


def _row(estimate: Estimate, cell: Cell) -> dict[str, Any]:
    return {**estimate._asdict(), "on_edge": cell.on_edge}
