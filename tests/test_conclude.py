"""Conclusions: what fails after training costs no results, names itself, and is concluded again when repaired."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import wd_research as wd
from wd_research.evidence.claims import judge
from wd_research.evidence.measured import Evidence

ROOT = Path(__file__).parent.parent
BROKEN = "claim broken"


class Ridge(NamedTuple):
    decay: np.ndarray


def ridge(seeds):
    """An arm that is computed: (decay - 1)^2, and a seed's noise."""
    decays = np.array([0.0, 1.0, 2.0], np.float32)
    noise = 0.01 * np.random.default_rng(0).normal(size=(seeds, 1))
    return wd.labelled(Ridge(decays), "decay", 1, {"risk": (decays - 1.0) ** 2 + noise})


def risk(arms):
    return {"ridge": wd.final(arms["ridge"], "risk")[:, 1]}


def missing(*_):
    """What every broken function does."""
    return {}["missing"]


def claim(name, measure=risk):
    return wd.Claim(name, f"{name}.", "here", measure, (-0.5, 0.5), wd.everywhere)


def empty_figure(arms):
    return {"empty": wd.panel_grid(1, 1, 2, 2)[0]}


def experiment(*, seeds: int = 3, broken: str = "") -> wd.Experiment:
    """An experiment of which a part is broken, if it is named; the default is whole."""
    measured = {"broken": missing if broken == BROKEN else risk}
    return wd.Experiment(
        arms={"ridge": ridge},
        seeds=seeds,
        steps=1,
        claims=[claim("first"), *(claim(name, measure) for name, measure in measured.items()), claim("last")],
        figures=missing if broken == "figures" else empty_figure,
        answer=missing if broken == "answer" else lambda summary: "So it is.",
        question="Which?",
    )


def record_of(folder):
    return json.loads((folder / "experiment.json").read_text())


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def by_command_line(function, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, words)])
        return wd.main(function)


def refused(capsys, function, *words):
    """What the command line says before it exits with 2."""
    with pytest.raises(SystemExit) as stopped:
        by_command_line(function, *words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


# What fails after training


@pytest.mark.parametrize("part", [BROKEN, "figures", "answer"])
def test_what_fails_costs_nothing_else_and_names_itself(tmp_path, part):
    with pytest.raises(ExceptionGroup, match=part) as raised:
        wd.run(experiment(broken=part), tmp_path, console=Console(file=io.StringIO()))
    (error,) = raised.value.exceptions
    assert isinstance(error, KeyError)
    assert error.__notes__ == [f"raised by: {part}"]
    record, summary = record_of(tmp_path), summary_of(tmp_path)
    assert record["status"] == f"failed: {part}"
    assert "Traceback" in record["errors"][part]
    assert 'return {}["missing"]' in record["errors"][part]
    assert [claim["id"] for claim in summary["claims"]] == [
        name for name in ("first", "broken", "last") if part != f"claim {name}"
    ]
    assert (summary["answer"] == "So it is.") == (part != "answer")
    assert (tmp_path / "figures" / "empty.png").exists() == (part != "figures")
    report = (tmp_path / "report.html").read_text()
    assert part in report
    assert "KeyError" in report
    with xr.open_datatree(tmp_path / "results.nc") as tree:
        assert dict(tree["ridge"].sizes) == {"seed": 3, "point": 3, "step": 1}


def test_results_are_on_disk_before_anything_is_judged(tmp_path):
    seen = []

    def measure(arms):
        seen.append((tmp_path / "results.nc").exists())
        return missing()

    declared = wd.Experiment({"ridge": ridge}, seeds=3, steps=1, claims=[claim("broken", measure)])
    with pytest.raises(ExceptionGroup):
        wd.run(declared, tmp_path, console=Console(file=io.StringIO()))
    assert set(seen) == {True}


def test_an_observer_that_fails_costs_no_training(tmp_path):
    def watch(name, position):
        missing()

    with pytest.raises(ExceptionGroup, match="watch"):
        wd.run(experiment(), tmp_path, observers=[watch], console=Console(file=io.StringIO()))
    assert len(summary_of(tmp_path)["claims"]) == 3


MODULE = '''"""Which?"""
import numpy as np
import wd_research as wd
from tests import test_conclude

def experiment(*, broken: str = "") -> wd.Experiment:
    """One that fails when it is declared, or later."""
    return np.zeros(3) + np.zeros(2) if broken == "declaration" else test_conclude.experiment(broken=broken)

if __name__ == "__main__":
    wd.main(experiment)
'''


@pytest.mark.parametrize(
    ("part", "says"), [(BROKEN, "KeyError: 'missing'"), ("declaration", "operands could not be broadcast together")]
)
def test_a_bug_keeps_its_traceback_and_the_exit_code_is_1(tmp_path, part, says):
    (tmp_path / "which.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "which", "--broken", part, "--workdir", tmp_path / "run"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert says in done.stderr
    assert (tmp_path / "run" / "results.nc").exists() == (part == BROKEN)


def test_an_interrupt_is_recorded_with_what_there_is(tmp_path):
    def interrupt(name, position):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wd.run(experiment(), tmp_path, observers=[interrupt], console=Console(file=io.StringIO()))
    record = record_of(tmp_path)
    assert record["status"] == "interrupted"
    assert "KeyboardInterrupt" in record["errors"]["interrupted"]
    assert (tmp_path / "report.html").exists()


# Concluding again


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The folder of a run whose second claim failed, by the command line."""
    folder = tmp_path_factory.mktemp("failed") / "run"
    with pytest.raises(ExceptionGroup):
        by_command_line(experiment, "--broken", BROKEN, "--workdir", folder)
    return folder


def test_a_repaired_claim_is_judged_from_what_was_measured(tmp_path, failed, monkeypatch):
    folder = shutil.copytree(failed, tmp_path / "run")
    results = (folder / "results.nc").read_bytes()
    monkeypatch.setattr(sys.modules[__name__], "missing", risk)
    monkeypatch.setattr("wd_research.running.measure", None)
    by_command_line(experiment, "--conclude", folder)
    assert (folder / "results.nc").read_bytes() == results
    record, summary = record_of(folder), summary_of(folder)
    assert record["status"] == "finished"
    assert record["errors"] == {}
    assert [row["id"] for row in summary["claims"]] == ["first", "broken", "last"]
    assert summary["claims"][0] == json.loads(json.dumps(judge(claim("first"), Evidence({"ridge": ridge(3)}))))
    assert "KeyError" not in (folder / "report.html").read_text()


def test_what_was_whole_is_concluded_to_the_same_summary(tmp_path):
    first = wd.run(experiment(), tmp_path, console=Console(file=io.StringIO())).summary
    written = (tmp_path / "summary.json").read_bytes()
    assert wd.conclude(experiment(), tmp_path).summary == first
    assert (tmp_path / "summary.json").read_bytes() == written


def test_concluding_takes_the_flags_of_the_run_and_no_other(capsys, failed):
    assert refused(capsys, experiment, "--conclude", failed, "--seeds", 4) == (
        "error: --conclude takes the flags of that run: leave out --seeds\n"
    )
    said = refused(capsys, experiment, "--conclude", failed, "--block", "vmapped")
    assert said.startswith("error: --conclude takes no other flag of a run")


def test_concluding_wants_a_folder_of_this_experiment_with_results(capsys, tmp_path, failed):
    def with_other_arms(*, seeds: int = 3, broken: str = "") -> wd.Experiment:
        return wd.Experiment({"lasso": ridge}, seeds=seeds, steps=1)

    def with_other_flags(*, width: int = 3) -> wd.Experiment:
        return wd.Experiment({"ridge": ridge}, seeds=width, steps=1)

    said = refused(capsys, with_other_arms, "--conclude", failed)
    assert "was measured with the arms ['ridge'], and this experiment has ['lasso']" in said
    assert "which this experiment has not" in refused(capsys, with_other_flags, "--conclude", failed)
    assert "holds no run" in refused(capsys, experiment, "--conclude", tmp_path)
    (tmp_path / "experiment.json").write_text('{"flags": {}, "status": "interrupted"}')
    assert "has not measured to its end" in refused(capsys, experiment, "--conclude", tmp_path)


# What cannot be declared


@pytest.mark.parametrize("name", ["gain", "step", "seed", "point"])
def test_a_hyperparameter_has_no_name_of_the_results(name):
    points = namedtuple("Hypers", (name, "decay"))(np.ones(2), np.arange(2.0))
    task = wd.Task(*[None] * 6)
    with pytest.raises(wd.UserError, match=f"no hyperparameter can be called {name}"):
        wd.Arm(task, lambda hypers: None, points, axis="decay")
