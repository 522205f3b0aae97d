"""Verdicts, as a table of what was measured, what is expected, and the quantifier."""

import itertools
import json

import numpy as np
import pytest

from tests.evidence.cases import confirming, results
from wd_research.evidence.choices import choose, gain_over_none, measured
from wd_research.evidence.claims import NUMBER, POINTS, Claim, Unit, check_unit, everywhere, judge, somewhere
from wd_research.evidence.measured import Evidence
from wd_research.reporting.schema import FORM
from wd_research.reporting.sentences import format_expected, format_measured

UP, DOWN, NONE = (sign * np.array([1.0, 1.1, 0.9, 1.2, 0.8]) for sign in (1, -1, 0.0))
VAGUE = np.array([1.0, -1.2, 0.4, -0.3, 0.6])
CHOICE = choose(results())
EDGE = measured(lambda _: UP, CHOICE._replace(arm="arm", edges=("decay",), on_edge=True))
EVIDENCE = Evidence({"arm": results()}, {"arm": [confirming([CHOICE.point], seeds=5)]}, looks=[5])
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
    ((NONE,), ABOVE, everywhere, "equal here"),
    ((NONE, NONE), BELOW, somewhere, "equal here"),
    ((NONE, VAGUE), ABOVE, everywhere, "undecided"),
    ((NONE, DOWN), ABOVE, everywhere, "fails"),
    ((UP[:2],), ABOVE, everywhere, "undecided"),  # two seeds never decide
]


def claim(cells, expected, quantifier):
    """A claim about cells named a, b, ..."""
    return Claim("id", "statement", "source", lambda _: dict(zip("abc", cells, strict=False)), expected, quantifier)


@pytest.mark.parametrize(("cells", "expected", "quantifier", "verdict"), TABLE)
def test_verdicts(cells, expected, quantifier, verdict):
    row = judge(claim(cells, expected, quantifier), EVIDENCE)
    assert row["verdict"] == verdict
    assert set(row) >= {"id", "statement", "source", "measured", "low", "high", "expected", "verdict"}
    assert set(row["cells"]) == set("abc"[: len(cells)])


def test_the_verdict_names_the_cell_it_hangs_on():
    assert judge(claim((UP, DOWN), ABOVE, everywhere), EVIDENCE)["cell"] == "b"
    assert judge(claim((DOWN, UP), ABOVE, somewhere), EVIDENCE)["cell"] == "b"
    assert judge(claim((UP, VAGUE), ABOVE, everywhere), EVIDENCE)["cell"] == "b"


def test_somewhere_pays_for_its_many_cells():
    """One cell just sure enough alone is not sure enough when it was picked among three."""
    barely = np.array([0.1, 1.9, 0.7, 1.4, 0.3, 0.9, -0.2, 1.2]) - 0.18
    assert judge(claim((barely,), ABOVE, somewhere), EVIDENCE)["verdict"] == "holds"
    assert judge(claim((barely, VAGUE, VAGUE), ABOVE, somewhere), EVIDENCE)["verdict"] == "undecided"


def test_a_verdict_is_json_but_for_infinity():
    json.dumps(judge(claim((UP,), MARGIN, everywhere), EVIDENCE), allow_nan=False)


def gains(arms):
    return {"arm": gain_over_none(arms["arm"], "test_accuracy")}


HELPS = Claim("helps", "Decay helps.", "here", gains, ABOVE, everywhere)


def rounds(gain, noise, count=3):
    """Evidence of an arm with confirming seeds in rounds of 16, all points of them."""
    effects = (0.0, 0.0, gain, 0.0, -0.4)
    tiles = [confirming(range(15), first=8 + 16 * k, seed=100 + k, effects=effects, noise=noise) for k in range(count)]
    return Evidence({"arm": results((0.0, 0.0, 0.2, 0.0, -0.4))}, {"arm": tiles}, looks=[16, 32, 48])


def test_a_claim_is_judged_at_every_look_and_stays_as_it_was_decided():
    sure = judge(HELPS, rounds(gain=0.05, noise=0.02))
    assert (sure["verdict"], sure["seeds"], sure["stage"]) == ("holds", 16, "confirming")
    assert sure["alpha"] == pytest.approx(0.0221, abs=1e-4)  # Pocock's for three looks
    open_ = judge(HELPS, rounds(gain=0.0, noise=0.02))
    assert (open_["verdict"], open_["seeds"]) == ("undecided", 48)


def test_at_many_looks_the_interval_is_wider():
    evidence = rounds(gain=0.05, noise=0.02, count=1)
    once = judge(HELPS, Evidence(evidence.arms, evidence.confirming, looks=[16]))
    thrice = judge(HELPS, evidence)
    assert once["alpha"] == 0.05
    assert thrice["measured"] == once["measured"]
    assert thrice["high"] - thrice["low"] > once["high"] - once["low"]


def test_a_claim_about_exploring_seeds_has_one_look():
    row = judge(claim((UP,), ABOVE, everywhere), rounds(gain=0.0, noise=0.02))
    assert (row["alpha"], row["seeds"], row["stage"]) == (0.05, 5, "exploring")


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


PARTS_OF_A_FORMAT = (
    ("", "<", "*^", "0="), ("", "+", " "), ("", "z"), ("", "#"), ("", "0"), ("", "7", "12"), ("", ",", "_"),
    ("", ".3", ".12"), ("", "e", "E", "f", "F", "g", "G", "%"),
)  # fmt: skip


def test_a_format_that_a_claim_may_have_shows_a_number_and_is_read_by_the_report():
    for form in map("".join, itertools.product(*PARTS_OF_A_FORMAT)):
        check_unit("it", Unit("points", 100.0, form))
        assert format(0.5, form)
        assert FORM.fits(form)
