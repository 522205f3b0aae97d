"""Verdicts, as a table of what was measured, what is expected, and the quantifier."""

import json

import numpy as np
import pytest

from wd_research.evidence.claims import NUMBER, POINTS, Cell, Claim, everywhere, judge, somewhere
from wd_research.reporting.sentences import format_expected, format_measured

UP, DOWN, NONE = (Cell(sign * np.array([1.0, 1.1, 0.9, 1.2, 0.8])) for sign in (1, -1, 0.0))
VAGUE = Cell(np.array([1.0, -1.2, 0.4, -0.3, 0.6]))
EDGE = Cell(UP.values, on_edge=True)
ABOVE, BELOW, MARGIN = (0.0, np.inf), (-np.inf, 0.0), (-0.005, 0.005)

TABLE = [
    ((UP,), ABOVE, everywhere, "holds"),
    ((UP,), BELOW, everywhere, "fails"),
    ((VAGUE,), ABOVE, everywhere, "undecided"),
    ((EDGE,), ABOVE, everywhere, "undecided"),
    ((EDGE,), BELOW, somewhere, "undecided"),
    ((NONE,), MARGIN, everywhere, "holds"),
    ((UP,), MARGIN, everywhere, "fails"),
    ((VAGUE,), MARGIN, everywhere, "undecided"),
    ((UP, UP), ABOVE, everywhere, "holds"),
    ((UP, VAGUE), ABOVE, everywhere, "undecided"),
    ((UP, DOWN), ABOVE, everywhere, "fails"),
    ((VAGUE, DOWN), ABOVE, everywhere, "fails"),
    ((UP, DOWN), ABOVE, somewhere, "holds"),
    ((VAGUE, DOWN), ABOVE, somewhere, "undecided"),
    ((DOWN, DOWN), ABOVE, somewhere, "fails"),
    ((EDGE, DOWN), ABOVE, somewhere, "undecided"),
]


def claim(cells, expected, quantifier):
    """A claim about cells named a, b, ..."""
    return Claim("id", "statement", "source", lambda _: dict(zip("abc", cells, strict=False)), expected, quantifier)


@pytest.mark.parametrize(("cells", "expected", "quantifier", "verdict"), TABLE)
def test_verdicts(cells, expected, quantifier, verdict):
    row = judge(claim(cells, expected, quantifier), None)
    assert row["verdict"] == verdict
    assert set(row) >= {"id", "statement", "source", "measured", "low", "high", "expected", "verdict"}
    assert set(row["cells"]) == set("abc"[: len(cells)])


def test_the_verdict_names_the_cell_it_hangs_on():
    assert judge(claim((UP, DOWN), ABOVE, everywhere), None)["cell"] == "b"
    assert judge(claim((DOWN, UP), ABOVE, somewhere), None)["cell"] == "b"
    assert judge(claim((UP, VAGUE), ABOVE, everywhere), None)["cell"] == "b"


def test_somewhere_pays_for_its_many_cells():
    """One cell just sure enough alone is not sure enough when it was picked among three."""
    barely = Cell(np.array([0.1, 1.9, 0.7, 1.4, 0.3, 0.9, -0.2, 1.2]) - 0.18)
    assert judge(claim((barely,), ABOVE, somewhere), None)["verdict"] == "holds"
    assert judge(claim((barely, VAGUE, VAGUE), ABOVE, somewhere), None)["verdict"] == "undecided"


def test_a_verdict_is_json_but_for_infinity():
    json.dumps(judge(claim((UP,), MARGIN, everywhere), None), allow_nan=False)


@pytest.mark.parametrize(
    ("unit", "bounds", "says"),
    [
        (POINTS, [-0.005, 0.005], "-0.5 to 0.5 points"),
        (POINTS, [0.01, np.inf], "above 1 points"),
        (POINTS, [0.01, None], "above 1 points"),  # read from a file
        (NUMBER, [-np.inf, 2.5], "below 2.5"),
        (NUMBER, [None, 2.5], "below 2.5"),
    ],
)
def test_what_was_expected_is_in_the_unit_of_the_claim(unit, bounds, says):
    assert format_expected({"unit": unit._asdict(), "expected": bounds}) == says


def test_what_was_measured_is_in_the_unit_of_the_claim():
    row = {"unit": POINTS._asdict(), "measured": 0.05712, "low": 0.046, "high": 0.0682}
    assert format_measured(row) == "+5.71 points [+4.60, +6.82]"
    assert format_measured({**row, "unit": NUMBER._asdict()}) == "+0.05712 [+0.046, +0.0682]"
