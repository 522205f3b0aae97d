"""The folder of a run: what is written is whole, and read again it is what it was."""

import os
import threading
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure
from netCDF4 import Dataset

from tests.evidence.cases import diverged, results
from tests.reporting.folders import flip, names, small_disk
from wd_research.flags import UserError
from wd_research.reporting.files import UnwritableError
from wd_research.reporting.folder import (
    CONFIRMING,
    RECORD,
    RESULTS,
    claim_folder,
    free_folder,
    read_confirming,
    read_results,
    write_confirming,
    write_figures,
    write_json,
    write_results,
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


@pytest.mark.parametrize("name", hypers(ARMS["a"]))
def test_an_arm_that_is_called_as_one_of_its_hyperparameters_is_read_whole(tmp_path, name):
    """It was left in the closed file where xarray's DataTree.load took the group's name for the variable's."""
    write_results(tmp_path / RESULTS, {name: ARMS["a"]})
    write_confirming(tmp_path / CONFIRMING, {name: [ARMS["a"]]})
    assert read_results(tmp_path / RESULTS)[name].identical(ARMS["a"])
    assert read_confirming(tmp_path / CONFIRMING)[name][0].identical(ARMS["a"])


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


def test_results_have_the_permissions_and_the_name_of_any_file(tmp_path):
    write_results(tmp_path / "~", ARMS)  # HDF5's own way of writing would leave it at home
    (tmp_path / "usual").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["usual", "~"]
    assert (tmp_path / "~").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_cannot_be_json_is_not_written(tmp_path):
    write_json(tmp_path / "summary.json", {"new": float("inf")})
    with pytest.raises(TypeError):
        write_json(tmp_path / "summary.json", {"a tuple is no key": {(1, 2): 3}})
    assert (tmp_path / "summary.json").read_text() == '{\n  "new": null\n}\n'


# Checksums of numbers


def arrays(results):
    return {name: values for name, values in results.variables.items() if values.ndim}


@pytest.mark.parametrize("name", [*arrays(ARMS["a"]), "word"])
def test_no_bit_of_a_variable_changes_in_silence(tmp_path, name):
    arm = ARMS["a"].assign(word=("point", np.array([f"point {k}" for k in range(15)], "S8")))
    write_results(tmp_path / RESULTS, {"a": arm})
    content, raw = (tmp_path / RESULTS).read_bytes(), arm[name].to_numpy().tobytes()
    assert content.count(raw) >= 1
    start, rng = 8 * content.index(raw), np.random.default_rng(0)
    for bit in rng.integers(8 * len(raw), size=20):
        flip(tmp_path / RESULTS, start + bit)
        with pytest.raises(UserError, match=r"results\.nc is damaged"):
            read_results(tmp_path / RESULTS)
        flip(tmp_path / RESULTS, start + bit)
    assert read_results(tmp_path / RESULTS)["a"].identical(arm)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6])
def test_a_file_that_is_cut_off_is_one_sentence(tmp_path, share):
    write_results(tmp_path / RESULTS, ARMS)
    os.truncate(tmp_path / RESULTS, int(share * (tmp_path / RESULTS).stat().st_size))
    with pytest.raises(UserError, match=r"results\.nc is damaged"):
        read_results(tmp_path / RESULTS)


def test_a_file_that_promises_more_than_it_has_is_one_sentence(tmp_path):
    with Dataset(tmp_path / RESULTS, "w") as file:
        file.createDimension("point", 2**40)
        file.createGroup("arm").createVariable("point", "f8", ("point",), chunksizes=(1024,))
    with pytest.raises(UserError, match=r"results\.nc is damaged \(it promises 8,796,093,022,208 bytes of numbers"):
        read_results(tmp_path / RESULTS)


# Who may write into a folder


@pytest.mark.parametrize("times", range(20))
def test_of_runs_that_claim_a_folder_at_one_moment_one_wins(tmp_path, times):
    together, said = threading.Barrier(8), []

    def claim():
        together.wait()
        try:
            said.append(claim_folder(tmp_path / "run"))
        except UserError as error:
            said.append(str(error))

    runs = [threading.Thread(target=claim) for _ in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert said.count(tmp_path / "run") == 1
    assert sum("holds a run already" in str(each) for each in said) == 7


def test_claiming_changes_nothing_that_is_there(tmp_path):
    (tmp_path / ".writable").write_text("mine")
    claim_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writable", RECORD]
    assert (tmp_path / ".writable").read_text() == "mine"
    record = (tmp_path / RECORD).read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        claim_folder(tmp_path)
    assert (tmp_path / RECORD).read_bytes() == record


def test_a_link_in_place_of_a_record_is_no_free_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="holds a run already"):
        claim_folder(tmp_path / "run")
    assert free_folder(tmp_path, "run") == tmp_path / "run-2"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("file", "File exists"), ("file/run", "Not a directory"), ("a\0b", "null"), (300 * "x", "File name too long")],
)
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, name, says):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: .*; name a folder that can") as raised:
        claim_folder(tmp_path / name)
    assert says in str(raised.value)


def test_a_folder_that_is_claimed_on_a_full_disk_is_left_free(tmp_path):
    with small_disk(0), pytest.raises(UnwritableError, match="File too large"):
        claim_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Figures


def test_figures_take_the_place_of_earlier_ones_and_of_nothing_else(tmp_path):
    for name in ("old.png", "old.svg", "notes.txt"):
        (tmp_path / name).write_text("")
    write_figures(tmp_path, {"new": Figure()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.png", "new.svg", "notes.txt"]


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "", ".", "..", "a\nb", "a\0b", "x" * 300])
def test_a_figure_does_not_leave_its_folder(tmp_path, name):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").write_text("")
    with pytest.raises(UserError, match="no figure can be called"):
        write_figures(tmp_path / "figures", {name: Figure()})
    assert names(tmp_path) == ["figures", "figures/old.png"]


def test_figures_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.png").write_text("")
    (tmp_path / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="figures is a link"):
        write_figures(tmp_path / "figures", {"new": Figure()})
    assert names(tmp_path / "elsewhere") == ["mine.png"]


@pytest.mark.parametrize("write", [
    lambda folder: write_results(folder / RESULTS, ARMS),
    lambda folder: write_json(folder / "summary.json", {"long": 5000 * "x"}),
    lambda folder: write_figures(folder / "figures", {"accuracy": Figure()}),
], ids=["results", "summary", "figures"])  # fmt: skip
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, write):
    write(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path) if (tmp_path / name).is_file()}
    with small_disk(1000), pytest.raises(UnwritableError, match="could not be written: File too large; make room"):
        write(tmp_path)
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path) if (tmp_path / name).is_file()}
