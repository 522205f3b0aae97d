"""The evidence page: every row stands on it, what is kept outlives its folder, what was interrupted goes on."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.article.rows import ROWS
from scripts import reproduce
from scripts.evidence_page import Measured, keep, write_page
from wd_research.evidence.claims import POINTS
from wd_research.flags import UserError

ROOT = Path(__file__).parent.parent
CLAIM = {
    "id": "A1-made-up", "statement": "Decay raises |it|.", "source": "an article", "measured": 0.05, "low": 0.04,
    "high": 0.06, "expected": [0.0, None], "verdict": "holds", "cell": "noisy", "unit": POINTS._asdict(),
    "stage": "confirming", "seeds": 16, "edges": [], "on_edge": False, "cells": {"noisy": {}},
    "quantifier": "everywhere",
}  # fmt: skip
SEEDS = {"exploring": 8, "confirming": 16}


COMMAND = "python -m experiments.article.data_regimes --workdir /elsewhere --seeds 8"


def leave(folder, status="finished", age=0, claim=CLAIM, **changes):
    """A run's folder as `run` leaves it, as far as the page reads it."""
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "first.png").write_bytes(b"the picture")
    record = {
        "status": status, "figures": ["first", "second"], "programs": 1, "members": 7, "command": COMMAND,
        "seconds": {"train": 90.0, "write": 30.0}, "versions": {"jax": "0.10.2"}, "device": {"kind": "cpu", "count": 2},
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps({**record, **changes}))
    (folder / "summary.json").write_text(json.dumps({"question": "Does it?", "claims": [claim], "seeds": SEEDS}))
    os.utime(folder / "experiment.json", (1e9 - age, 1e9 - age))
    return folder


def page_of(tmp_path, *folders):
    """The page of these runs, whose folders are removed before it is written."""
    for folder in folders:
        keep(folder, tmp_path / "evidence")
        shutil.rmtree(folder)
    write_page(tmp_path / "evidence.md")
    return (tmp_path / "evidence.md").read_text()


def test_the_page_has_every_row_the_claims_in_their_unit_and_the_first_figure(tmp_path):
    page = page_of(tmp_path, leave(tmp_path / "run"))
    table = page.split("\n## ")[1]
    assert re.findall(r"^\| ([ABCD]\w+) \|", table, re.MULTILINE) == list(ROWS)
    assert "| 95.3 -> 97.8 % | **holds**: Decay raises &#124;it&#124;. noisy: +5.00 points [+4.00, +6.00] | " in page
    ran = "`python -m experiments.article.data_regimes --seeds 8`: 7 nets, 8 + 16 seeds, 120 s on 2 x cpu, "
    assert f"{ran}2001-09-09. Of 1 claims 1 hold." in page
    row = "| holds | noisy | +5.00 points [+4.00, +6.00] | above 0 points | 16 confirming | an article |"
    assert f"| Decay raises &#124;it&#124;. {row}" in page
    assert (tmp_path / "evidence" / "data_regimes.png").read_bytes() == b"the picture"
    assert page.count("not run") == len(ROWS) - 1


def test_questions_of_today_have_a_part_of_their_own(tmp_path):
    today = leave(tmp_path / "today", command="python -m experiments.language.when_to_decay")
    page = page_of(tmp_path, today, leave(tmp_path / "other"))
    assert re.findall(r"^# (.*)", page, re.MULTILINE) == ["The evidence"]
    parts = ("Questions of today", "The article and the laws")
    assert [title for title in re.findall(r"^## (.*)", page, re.MULTILINE) if title in parts] == list(parts)
    short = "| Does it? | `language.when_to_decay` | 7 | 2 | 1 hold |"
    assert page.index("| questions of today |") < page.index(short) < page.index("| the article and the laws |")
    assert page.index("# Questions of today") < page.index("experiments.language.when_to_decay`: 7 nets")


@pytest.mark.parametrize(
    ("claim", "says"),
    [({"edges": ["learning_rate"], "on_edge": True}, "| undecided (best learning rate on an edge) | noisy |"),
     (dict.fromkeys(("measured", "low", "high")), "| undecided (some seeds have no finite number) | noisy |")],
)  # fmt: skip
def test_why_a_claim_is_undecided_is_said(tmp_path, claim, says):
    page = page_of(tmp_path, leave(tmp_path / "run", claim={**CLAIM, "verdict": "undecided", **claim}))
    assert says in page


def test_only_a_finished_run_of_an_experiment_is_kept(tmp_path):
    for folder in (leave(tmp_path / "one", "interrupted"), leave(tmp_path / "two", command="python mine.py")):
        with pytest.raises(UserError, match="no finished run of an experiment"):
            keep(folder, tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


def test_what_was_kept_last_counts(tmp_path):
    assert "9 nets" in page_of(tmp_path, leave(tmp_path / "one"), leave(tmp_path / "two", members=9))


def test_the_newest_run_goes_on_where_it_was_interrupted(tmp_path):
    leave(tmp_path / "data_regimes", age=9, status="interrupted")
    leave(tmp_path / "data_regimes-of-others", status="interrupted")
    assert reproduce.interrupted(tmp_path, "data_regimes") == tmp_path / "data_regimes"
    leave(tmp_path / "data_regimes-2", age=5)
    assert reproduce.interrupted(tmp_path, "data_regimes") is None
    assert reproduce.interrupted(tmp_path, "choosing") is None


@pytest.mark.parametrize("at_once", [1, 2])
def test_after_one_that_fails_no_other_begins(at_once):
    begun = []

    def act(item):
        begun.append(item)
        if item == 2:
            sys.exit("it failed")
        return item

    done = []
    with pytest.raises(SystemExit, match="it failed"):
        done.extend(reproduce.in_order(act, range(1_000), at_once))
    assert done == [0, 1]
    assert len(begun) < (4 if at_once == 1 else 1_000)


def test_flags_in_little_are_those_of_the_command_line():
    flags = {"steps": 20, "learning_rates": (0.1, 1)}
    assert reproduce.arguments(flags) == ["--steps", "20", "--learning-rates", "0.1", "1"]


def test_what_is_kept_in_the_repository_is_of_experiments_that_are_there():
    modules = reproduce.all_experiments()
    kept = [Measured(**json.loads(file.read_text())) for file in (ROOT / "docs" / "evidence").glob("*.json")]
    assert {run.module for run in kept} <= set(modules)


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
