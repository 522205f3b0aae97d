"""Whoever reads a number can tell, in every place, which seeds it is of and what its unit is."""

import io

import pytest
from matplotlib.text import Text
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.reporting.cases import CURVE, HELPS, arm, evidence, regression, summary
from wd_research.reporting.figures import all_figures
from wd_research.reporting.hparams import write_members
from wd_research.reporting.page import report
from wd_research.reporting.record import RunRecord
from wd_research.reporting.sentences import by_verdicts, sentence
from wd_research.reporting.table import print_answer
from wd_research.reporting.tensorboard import event_files, write_summary
from wd_research.types import Position

SPEED = {"members": 0}


def run(arms, looks, claims):
    measured = evidence(arms, looks=looks)
    found = summary(measured, claims)
    return measured, {**found, "question": "Which?", "answer": sentence(found), "speed": SPEED, "diverged": {}}


CONFIRMED = run({"arm": arm()}, (16,), [HELPS, CURVE])
BY_HALVES = run({"arm": arm(seeds=8)}, (), [HELPS, CURVE])
REGRESSION = run({"arm": regression()}, (16,), [])


def terminal(measured, found, folder):
    console = Console(file=io.StringIO(), width=80)
    print_answer(console, found, folder)
    return console.file.getvalue()


def page(measured, found, folder):
    device = {"count": 1, "kind": "cpu", "machine": "Linux"}
    record = {"question": "Which?", "command": "python", "flags": {}, "seeds": 8, "looks": [], "steps": 2, "members": 9,
              "status": "finished", "versions": {}, "git_commit": None, "device": device}  # fmt: skip
    return report([RunRecord("run", record, found, "", {}, measured)])


def figures(measured, found, folder):
    return " ".join(text.get_text() for text in next(iter(all_figures(measured).values())).findobj(Text))


def event_texts(measured, found, folder):
    with event_files(folder) as observe:
        for name, tiles in {"arm": [measured["arm"]], "arm, confirming": measured.confirming.get("arm", [])}.items():
            for tile in tiles:
                observe(name, Position(200, None, tile))
    write_summary(folder, found["question"], found["answer"], {}, 200)
    said = []
    for run in sorted({file.parent for file in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(run)).Reload()
        said += [events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]
                 if "text_summary" in tag]  # fmt: skip
    return " ".join(said)


def members(measured, found, folder):
    write_members(folder, measured, 0, measured.confirming)
    return " ".join(file.read_bytes().decode("latin1") for file in folder.rglob("*/events.out.tfevents.*"))


def answer(measured, found, folder):
    return found["answer"]


def verdicts(measured, found, folder):
    return by_verdicts(found)


def summary_itself(measured, found, folder):
    return str(found)


PLACES = (terminal, page, figures, event_texts, members, answer, verdicts, summary_itself)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_names_the_seeds(place, tmp_path):
    said = place(*CONFIRMED, tmp_path)
    assert "exploring" in said
    assert "confirming" in said


@pytest.mark.parametrize("place", [terminal, figures, answer, verdicts])
def test_where_nothing_was_confirmed_the_numbers_are_by_halves(place, tmp_path):
    said = place(*BY_HALVES, tmp_path)
    assert "hal" in said
    assert "exploring seeds" in said
    assert "confirming" not in said


@pytest.mark.parametrize("place", [terminal, page, figures, event_texts, answer])
def test_a_regression_nowhere_says_nats(place, tmp_path):
    said = place(*REGRESSION, tmp_path)
    assert "loss" in said
    assert "nats" not in said
