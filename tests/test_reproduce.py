"""The evidence page: every row stands on it, the newest finished run counts, and a wrong name gets one sentence."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.article.rows import ROWS
from scripts import reproduce
from wd_research.evidence.claims import POINTS

ROOT = Path(__file__).parent.parent
CLAIM = {
    "id": "A1-made-up", "statement": "Decay raises |it|.", "source": "an article", "measured": 0.05, "low": 0.04,
    "high": 0.06, "expected": [0.0, None], "verdict": "holds", "cell": "noisy", "unit": POINTS._asdict(),
    "stage": "confirming", "seeds": 16, "edges": [], "on_edge": False, "cells": {"noisy": {}},
    "quantifier": "everywhere",
}  # fmt: skip
SEEDS = {"exploring": 8, "confirming": 16}


def leave(folder, status="finished", age=0, claim=CLAIM, **changes):
    """A run's folder as `run` leaves it, as far as the page reads it."""
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "first.png").write_bytes(b"the picture")
    record = {
        "status": status, "figures": ["first", "second"], "programs": 1, "members": 7,
        "seconds": {"train": 90.0, "write": 30.0}, "versions": {"jax": "0.10.2"}, "device": {"kind": "cpu", "count": 2},
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps({**record, **changes}))
    (folder / "summary.json").write_text(json.dumps({"question": "Does it?", "claims": [claim], "seeds": SEEDS}))
    os.utime(folder / "experiment.json", (1e9 - age, 1e9 - age))


def test_the_page_has_every_row_the_claims_in_their_unit_and_the_first_figure(tmp_path):
    leave(tmp_path / "data_regimes")
    run = reproduce.last_run("experiments.article.data_regimes", tmp_path)
    reproduce.write_page(tmp_path / "evidence.md", [run])
    page = (tmp_path / "evidence.md").read_text()
    table = page.split("\n## ")[1]
    assert re.findall(r"^\| ([ABCD]\w+) \|", table, re.MULTILINE) == list(ROWS)
    assert "| 95.3 -> 97.8 % | **holds**: Decay raises &#124;it&#124;. noisy: +5.00 points [+4.00, +6.00] | " in page
    assert (
        "`python -m experiments.article.data_regimes`: 7 nets, 1 programs, 8 + 16 seeds, 120 s. Of 1 claims 1 hold."
        in page
    )
    assert (
        "| Decay raises &#124;it&#124;. | holds | noisy | +5.00 points [+4.00, +6.00] | above 0 points | 16 confirming "
        "| an article |" in page
    )
    assert (tmp_path / "evidence" / "data_regimes.png").read_bytes() == b"the picture"
    assert page.count("not run") == len(ROWS) - 1


def test_an_optimum_on_an_edge_is_said(tmp_path):
    on_edge = {"verdict": "undecided", "edges": ["learning_rate"], "on_edge": True}
    leave(tmp_path / "data_regimes", claim={**CLAIM, **on_edge})
    reproduce.write_page(tmp_path / "evidence.md", [reproduce.last_run("experiments.article.data_regimes", tmp_path)])
    page = (tmp_path / "evidence.md").read_text()
    assert "| undecided (best learning rate on an edge) | noisy |" in page


def test_what_is_not_finite_is_on_the_page_too(tmp_path):
    leave(
        tmp_path / "data_regimes", claim={**CLAIM, "verdict": "undecided", **dict.fromkeys(("measured", "low", "high"))}
    )
    reproduce.write_page(tmp_path / "evidence.md", [reproduce.last_run("experiments.article.data_regimes", tmp_path)])
    said = "| undecided (some seeds have no finite number) | noisy | no number |"
    assert said in (tmp_path / "evidence.md").read_text()


def test_the_newest_finished_run_counts(tmp_path):
    leave(tmp_path / "data_regimes", age=9, members=1)
    leave(tmp_path / "data_regimes-2", age=5, members=2)
    leave(tmp_path / "data_regimes-3", status="interrupted", members=3)
    leave(tmp_path / "data_regimes-of-others", members=4)
    run = reproduce.last_run("experiments.article.data_regimes", tmp_path)
    assert run is not None
    assert run.record["members"] == 2
    assert reproduce.last_run("experiments.article.choosing", tmp_path) is None


def test_every_experiment_is_found_and_nothing_else():
    found = reproduce.all_experiments()
    files = [path for path in (ROOT / "experiments").rglob("*.py") if "\ndef experiment(" in path.read_text()]
    assert sorted(name.rpartition(".")[2] for name in found) == sorted(path.stem for path in files)


def test_a_wrong_name_gets_one_sentence():
    done = subprocess.run([sys.executable, "scripts/reproduce.py", "worlde"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1].endswith("choosing, one_name") or "no experiment is called worlde" in done.stderr
    )


@pytest.mark.slow
def test_one_experiment_is_run_and_put_on_the_page():
    subprocess.run([sys.executable, "scripts/reproduce.py", "--quick", "choosing"], cwd=ROOT, check=True)
    assert "experiments.article.choosing" in (ROOT / "runs" / "evidence-quick" / "evidence.md").read_text()
