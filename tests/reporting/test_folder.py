"""The folder of a run: what is written is whole, and read again it is what it was."""

from typing import NamedTuple

import numpy as np
import pytest

from tests.evidence.cases import diverged, results
from wd_research.flags import UserError
from wd_research.reporting.folder import (
    CONFIRMING,
    RESULTS,
    read_confirming,
    read_results,
    write_confirming,
    write_json,
    write_results,
    write_text,
)
from wd_research.results import hypers, labelled


class Ridge(NamedTuple):
    """Hyperparameters whose order is not that of the alphabet."""

    width: np.ndarray
    decay: np.ndarray
    angle: np.ndarray


RIDGE = labelled(Ridge(*np.float32([[3, 2], [0, 1], [5, 4]])), "decay", 7, {"risk": np.array([[0.1, np.nan]] * 3)})
ARMS = {"z, the last": diverged(results(evaluations=3), 4), "a": results(axis="strength", seed=1), "ridge": RIDGE}


def test_results_are_read_as_they_were_written(tmp_path):
    write_results(tmp_path / RESULTS, ARMS)
    again = read_results(tmp_path / RESULTS)
    assert list(again) == list(ARMS)
    for name, arm in ARMS.items():
        assert again[name].identical(arm)
        assert hypers(again[name]) == hypers(arm)
        assert list(again[name].data_vars) == list(arm.data_vars)
        assert {key: values.dtype for key, values in again[name].variables.items()} == {
            key: values.dtype for key, values in arm.variables.items()
        }
    assert hypers(again["ridge"]) == ["width", "decay", "angle"]
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS]


def test_confirming_results_are_read_as_they_were_written_round_by_round(tmp_path):
    rounds = [ARMS["a"].isel(point=[2, 7], seed=seeds) for seeds in (slice(0, 3), slice(3, 8))]
    write_confirming(tmp_path / CONFIRMING, {"z, the last": rounds, "a": rounds[:1]})
    again = read_confirming(tmp_path / CONFIRMING)
    assert {name: len(parts) for name, parts in again.items()} == {"z, the last": 2, "a": 1}
    assert all(one.identical(other) for one, other in zip(again["z, the last"], rounds, strict=True))
    assert read_confirming(tmp_path / "nothing.nc") == {}


def test_results_that_are_not_there_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"results\.nc does not exist: the run has not measured to its end"):
        read_results(tmp_path / RESULTS)


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "report.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(TypeError):
        write_json(tmp_path / "report.html", {"a tuple is no key": {(1, 2): 3}})
    assert (tmp_path / "report.html").read_text() == "new"
