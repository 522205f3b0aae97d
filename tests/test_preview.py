"""The plan of a run says what it would train, on which seeds, before anything is trained."""

from dataclasses import replace

import pytest

from tests.training import cases
from wd_research.experiment import Experiment
from wd_research.flags import UserError
from wd_research.measuring import measure
from wd_research.preview import plan_text, then
from wd_research.training.plan import Limits

EXPERIMENT = Experiment({"arm": cases.parabola((0.0, 0.1))}, seeds=3, steps=4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ["those that the 3 exploring seeds choose, on 16 fresh confirming seeds"]),
        ({"confirm": 8, "until_decided": 24}, ["on 8 fresh confirming seeds, and 8 more at a time, up to 24, until"]),
        ({"grow": True}, ["where a best point lies on an edge", "on 16 fresh confirming seeds"]),
        ({"confirm": 0}, ["scored by halves of the exploring seeds"]),
    ],
)
def test_it_says_what_trains_after_the_exploring_seeds(changes, says):
    lines = then(replace(EXPERIMENT, **changes))
    assert len(lines) == len(says)
    assert all(words in line for words, line in zip(says, lines, strict=True))


def test_the_plan_ends_with_it():
    said = plan_text(EXPERIMENT, Limits(blocks=(1,)))
    assert "6 members" in said
    assert said.splitlines()[-1] == then(EXPERIMENT)[0]


def test_the_plan_of_a_run_that_grows_says_what_is_there(tmp_path):
    measure(EXPERIMENT, tmp_path / "run")
    assert "are trained already" not in plan_text(EXPERIMENT, Limits(blocks=(1,)), tmp_path / "other")
    wider = replace(EXPERIMENT, seeds=5)
    said = plan_text(wider, Limits(blocks=(1,)), tmp_path / "run")
    assert f"6 of the 10 members are trained already, in {tmp_path / 'run'}" in said
    with pytest.raises(UserError, match="trained for 4 steps"):
        plan_text(replace(EXPERIMENT, steps=8), Limits(blocks=(1,)), tmp_path / "run")
