"""Claims: a statement about weight decay, the range that a measurement has if it is true, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.measured import CONFIRMING, Cell, Evidence, Measure
from wd_research.evidence.statistics import ALPHA, holm, p_inside, p_outside
from wd_research.flags import UserError
from wd_research.names import FORMS, check_name


class Unit(NamedTuple):
    """The unit in which a measurement is shown; recorded values are not converted."""

    name: str
    factor: float  # measurement times factor is the number shown
    form: str  # of that number, one of `FORMS`


NUMBER = Unit("", 1.0, "+.4g")
POINTS = Unit("points", 100.0, "+.2f")  # of accuracy, measured as a share
NATS = Unit("nats", 1.0, "+.3f")
PERCENT = Unit("%", 100.0, "+.2f")


class Decision(NamedTuple):
    """A verdict and the name of the cell it hangs on."""

    verdict: str  # "holds", "fails", "undecided", or "equal here"
    cell: str


@dataclass(frozen=True)
class Claim:
    """A statement about weight decay that a run can decide.

    `quantifier` is `everywhere` or `somewhere`. `expected` bounds the measured quantity where the statement
    is true; for "no effect" it is the margin, stated before the run.

    Raises UserError when it is made of something else.
    """

    id: str
    statement: str  # in our words
    source: str
    measure: Measure  # exploring results -> name of the cell -> its scores, or f64[s] where it follows no choice
    expected: tuple[float, float]
    quantifier: Callable[[Sequence[str], np.ndarray, np.ndarray], Decision]
    unit: Unit = NUMBER

    def __post_init__(self) -> None:
        check_name("claim", self.id)
        if not callable(self.measure) or not callable(self.quantifier):
            raise UserError(f"claim {self.id} needs a function that measures, and wd.everywhere or wd.somewhere")
        try:
            low, high = map(float, self.expected)
        except (TypeError, ValueError):
            low, high = np.nan, np.nan
        if not low <= high:
            raise UserError(f"claim {self.id} expects {self.expected!r}: give two numbers, low and high")
        check_unit(f"claim {self.id}", self.unit)


def check_unit(whose: str, unit: Any) -> None:
    """Raise UserError unless a unit has a name, a finite factor, and a format of `FORMS`, which the report can read."""
    instead = 'give wd.Unit("points", 100.0, "+.2f"), or one that is like it'
    if not isinstance(unit, Unit) or not isinstance(unit.name, str):
        raise UserError(f"{whose} has the unit {unit!r}, which is none: {instead}")
    is_real = isinstance(unit.factor, int | float | np.integer | np.floating) and not isinstance(unit.factor, bool)
    if not is_real or not np.isfinite(unit.factor):
        raise UserError(f"{whose} has a unit with the factor {unit.factor!r}, which is no finite number: {instead}")
    if not isinstance(unit.form, str) or not FORMS.fullmatch(unit.form):
        raise UserError(f"{whose} has a unit with the format {unit.form!r}, which shows no number: {instead}")


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


def judge(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """Measure a claim and give the verdict; a row of `summary.json`.

    What follows a choice is judged after each look at the confirming seeds, until it is decided. "measured", "low" and
    "high" are the mean and its paired t interval in the cell that the verdict hangs on; "cells" has the same for every
    cell. The interval is of 1 - `alpha`, 95 % where there is one look.
    """
    cells, alpha = evidence.score(claim.measure), ALPHA
    decision = decide(claim, cells, alpha)
    if any(cell.stage == CONFIRMING for cell in cells.values()):
        alpha = evidence.alpha
        for seeds in evidence.looks:
            cells = evidence.score(claim.measure, seeds)
            decision = decide(claim, cells, alpha)
            if decision.verdict != "undecided":
                break
    rows = {name: _row(cell, alpha) for name, cell in cells.items()}
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "measured": rows[decision.cell]["mean"],
        **{key: rows[decision.cell][key] for key in ("low", "high", "stage", "seeds", "edges", "on_edge")},
        "expected": list(claim.expected),
        "quantifier": claim.quantifier.__name__,
        "verdict": decision.verdict,
        "cell": decision.cell,
        "alpha": alpha,
        "unit": claim.unit._asdict(),
        "cells": rows,
    }


def decide(claim: Claim, cells: Mapping[str, Cell], alpha: float = ALPHA) -> Decision:
    """The verdict at a level; "equal here" where every value is 0, and 0 is an end of what is expected."""
    looked = ALPHA / alpha  # p values as if there were one look

    def p_values(p: Callable[..., float]) -> np.ndarray:
        return np.array([1.0 if cell.on_edge else min(1.0, looked * p(cell.values, *claim.expected, cell.resolution))
                         for cell in cells.values()])  # fmt: skip

    decision = claim.quantifier(list(cells), p_values(p_inside), p_values(p_outside))
    equal = 0 in claim.expected and all((cell.values == 0).all() for cell in cells.values())
    return decision._replace(verdict="equal here") if equal and decision.verdict == "undecided" else decision


def _row(cell: Cell, alpha: float) -> dict[str, Any]:
    return {
        **cell.estimate(alpha)._asdict(), "stage": cell.stage, "seeds": len(cell.values),
        "edges": list(cell.edges), "on_edge": cell.on_edge,
    }  # fmt: skip
