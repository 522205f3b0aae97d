"""Flags that cannot be read end a command with one sentence and exit code 2, whatever the parser would have framed."""

import sys

import pytest

import wd_research as wd
from wd_research.__main__ import main as commands
from wd_research.cli import main
from wd_research.parsing import in_one_sentence, sentence_of


def experiment(*, seeds: int = 8, rates: tuple[float, ...] = (0.1, 1.0)) -> wd.Experiment:
    """Never declared: its flags are wrong."""
    raise AssertionError(f"{seeds} {rates}")


BAD = {
    ("--seeds", "2.5"): "--seeds '2.5' is no whole number: see --help",
    ("--seeds",): "--seeds needs a value: see --help",
    ("--sedes", "3"): "--sedes, 3: there is no such flag; did you mean --seeds INT? see --help",
    ("--rates", "a", "b"): "--rates cannot be read from 'a', 'b': see --help",
    ("--seeds", "3", "4"): "4: there is no such command, and no flag that takes it: see --help",
    ("--block", "fast"): "invalid choice 'fast' for argument '--block'. Expected one of ('auto', 'sequential', "
                         "'vmapped'): see --help",
    ("--checkpoint-every", "soon"): "--checkpoint-every 'soon' is no number: see --help",
}  # fmt: skip


@pytest.mark.parametrize(("words", "says"), BAD.items(), ids=map(" ".join, BAD))
def test_flags_that_cannot_be_read_are_one_sentence(monkeypatch, capsys, words, says):
    monkeypatch.setattr(sys, "argv", ["mine.py", *words])
    with pytest.raises(SystemExit) as ended:
        main(experiment)
    assert ended.value.code == 2
    assert tuple(capsys.readouterr()) == ("", f"error: {says}\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["units", "--from", "torch-adamw", "0.1", "--steps", "many"], "--steps 'many' is no whole number"),
        (["unit"], "unit"),
        (["advise"], "--learning-rate, --batch-size, --examples must be given: see --help"),
    ],
)
def test_so_are_those_of_the_other_commands(monkeypatch, capsys, words, says):
    monkeypatch.setattr(sys, "argv", ["wd_research", *words])
    with pytest.raises(SystemExit) as ended:
        commands()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert says in said
    assert said.count("\n") == 1


def test_help_is_still_framed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mine.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        main(experiment)
    assert not ended.value.code
    assert "--seeds INT" in capsys.readouterr().out


@pytest.mark.parametrize(("ends", "error"), [(lambda: sys.exit(2), SystemExit), (lambda: 1 // 0, ZeroDivisionError)])
def test_what_is_no_frame_is_kept(capsys, ends, error):
    def fail():
        with in_one_sentence():
            print("a warning", file=sys.stderr)
            ends()

    with pytest.raises(error):
        fail()
    with in_one_sentence():
        print("another", file=sys.stderr)
    assert capsys.readouterr().err == "a warning\nanother\n"


BOX = """╭─ Unrecognized options ─────────────────────╮
│ Unrecognized options: --sedes, 3           │
│ ────────────────────────────────────────── │
│ Perhaps you meant:                         │
│     --seeds INT                            │
│ ────────────────────────────────────────── │
│ For full helptext, run python -m x --help  │
╰────────────────────────────────────────────╯
"""


@pytest.mark.parametrize(
    ("framed", "sentence"),
    [(BOX, "--sedes, 3: there is no such flag; did you mean --seeds INT? see --help"), ("", ""), ("nothing", "")],
)
def test_boxes_are_read_too(framed, sentence):
    assert sentence_of(framed) == sentence


@pytest.mark.parametrize(
    ("command", "says"),
    [("load", "Folder of a run must be given"), ("launch", "The experiment, such as"),
     ("convert", "convert")],
)  # fmt: skip
def test_what_a_command_needs_is_said(monkeypatch, capsys, command, says):
    monkeypatch.setattr(sys, "argv", ["wd_research", command])
    with pytest.raises(SystemExit) as ended:
        commands()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert (said.startswith("error: "), said.count("\n")) == (True, 1)
