"""Two folders of runs are the same where every measurement is, and the one that is not is named."""

import math

import numpy as np
import pytest

from scripts.same_measurements import block_of, compare, same
from tests.evidence.cases import results
from wd_research.reporting.folder import CONFIRMING, RESULTS, write_confirming, write_json, write_results
from wd_research.reporting.tensorboard import event_files
from wd_research.types import Position


def leave(folder, arm, claim=0.5):
    """A run with one arm and one claim."""
    folder.mkdir(parents=True)
    judged = {"id": "helps", "measured": claim, "low": math.nan, "high": 1.0, "expected": [0, None], "verdict": "holds",
              "cell": "arm", "cells": {"arm": {"mean": claim}}}  # fmt: skip
    write_json(folder / "summary.json", {"best": {"arm": {"decay": 0.1}}, "comparisons": {}, "claims": [judged]})
    write_results(folder / RESULTS, {"arm": arm})
    write_confirming(folder / CONFIRMING, {"arm": [arm.isel(point=[2])]})
    with event_files(folder / "tensorboard") as observe:
        observe("arm", Position(200, None, arm))


@pytest.fixture
def before(tmp_path):
    leave(tmp_path / "before" / "tiny", results())
    return tmp_path / "before"


def compared(before, after, capfd):
    with pytest.raises(SystemExit) as ended:
        compare(before, after)
    said, error = capfd.readouterr()
    assert error == ""
    return ended.value.code, said


def test_equal_runs_are_the_same(before, tmp_path, capfd):
    leave(tmp_path / "after" / "tiny", results())
    code, said = compared(before, tmp_path / "after", capfd)
    assert code == 0
    assert said.startswith("tiny: ")
    assert " measurements, 0 differ, 0 renamed" in said


def test_the_last_digit_of_one_number_is_named(before, tmp_path, capfd):
    arm = results()
    arm.test_loss[3, 2, 0] = np.nextafter(arm.test_loss[3, 2, 0], 1)
    leave(tmp_path / "after" / "tiny", arm, claim=0.5 + 1e-15)
    code, said = compared(before, tmp_path / "after", capfd)
    assert code == 1
    assert "4 differ" in said
    assert "  results.nc /arm test_loss: " in said
    assert "  confirming.nc /arm/0 test_loss: " in said
    assert "  claim helps / measured: 0.5 before, 0.500000000000001 after" in said


def test_what_has_another_name_and_the_same_value_is_counted(before, tmp_path, capfd):
    leave(tmp_path / "after" / "tiny", results().rename(running_loss="running_objective"))
    code, said = compared(before, tmp_path / "after", capfd)
    assert code == 0
    assert " measurements, 0 differ, " in said
    assert not said.rstrip().endswith(" 0 renamed")


def test_what_is_missing_differs(before, tmp_path, capfd):
    leave(tmp_path / "after" / "tiny", results().drop_vars("running_loss"))
    code, said = compared(before, tmp_path / "after", capfd)
    assert code == 1
    assert "  results.nc /arm running_loss: " in said


def test_nothing_to_compare_is_no_success(tmp_path, capfd):
    assert compared(tmp_path, tmp_path, capfd) == (1, "")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (math.nan, math.nan, True),
        (np.array([1.0, math.nan]), np.array([1.0, math.nan]), True),
        (np.array(["a"]), np.array(["a"]), True),
        (np.array([1.0]), np.array([[1.0]]), False),
        (None, np.array([1.0]), False),
        (0.1, 0.1 + 1e-17, False),
        ("holds", "fails", False),
    ],
)
def test_same(one, other, equal):
    assert same(one, other) is equal


def test_a_checkout_has_its_own_word_for_sequential(tmp_path):
    for word, text in (("one", '"auto", "one", "together"'), ("sequential", '"auto", "sequential", "vmapped"')):
        (tmp_path / word / "wd_research").mkdir(parents=True)
        (tmp_path / word / "wd_research" / "cli.py").write_text(text)
        assert block_of(tmp_path / word) == word
