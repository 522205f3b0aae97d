"""The commands beside the experiments: as a person runs them, in this process where nothing hangs on its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.reproduce import all_experiments
from wd_research.__main__ import COMMANDS, main, questions
from wd_research.decay.units import UNITS

EXAMPLE = "units --from torch-adamw 0.1 --learning-rate 1e-3 --steps 10000"
WHOLE = f"{EXAMPLE} --schedule cosine --batch-size 64 --examples 50000 --width 256"
ELSEWHERE = "--to-batch-size 256 --to-steps 40000 --to-examples 200000 --to-width 1024"


def run(words, columns=100):
    """Exit code, standard output and standard error; output is piped, warnings are errors."""
    code, said, error = 0, io.StringIO(), io.StringIO()
    words = words.split() if isinstance(words, str) else words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["python -m wd_research", *map(str, words)])
        patch.setenv("COLUMNS", str(columns))
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(error):
            try:
                main()
            except SystemExit as stopped:
                code = stopped.code or 0
    return code, said.getvalue(), error.getvalue()


def run_process(*words, **settings):
    """The same by a process of its own."""
    done = subprocess.run([sys.executable, "-W", "error", *words], capture_output=True, text=True, **settings)
    return done.returncode, done.stdout, done.stderr


def numbers(said):
    """The second column: convention -> number, for the lines that have one."""
    rows = (line.split() for line in said.splitlines())
    found = {row[0]: row[1] for row in rows if len(row) > 1 and row[0] in {unit.name for unit in UNITS}}
    return {name: float(cell) for name, cell in found.items() if cell[0].isdigit()}


def test_the_example():
    code, said, error = run_process("-m", "wd_research", *EXAMPLE.split(), env=os.environ | {"COLUMNS": "100"})
    assert (code, error) == (0, "")
    assert (code, said, error) == run(EXAMPLE)
    assert numbers(said) == {
        "torch-adamw": 0.1,
        "timm": 0.1,
        "keras-optimizer": 0.1,
        "big-vision": 1e-4,
        "composer": 1e-4,
        "loshchilov-hutter": 1e-4,
        "lambda-norm": 0.01,
        "time-scale-steps": 10_000,
        "half-life": 6931.13,
        "constant": 1e-4,
        "tensorflow-addons": 1e-4,
    }
    for words in (
        "In the gradient, before the optimizer: no exact conversion, because Adam divides decay in the gradient",
        "needs --batch-size, b / (n x)",
        "these 10000 steps remove 63.21 % of a weight, half of it within 6932",
        "is 10000 steps (1 x the run).",
    ):
        assert words in " ".join(said.split())


def test_under_sgd_every_convention_has_a_number():
    code, said, _ = run(f"{WHOLE} --schedule constant --optimizer sgd")
    assert code == 0
    assert set(numbers(said)) == {unit.name for unit in UNITS}
    assert (numbers(said)["sklearn-mlp"], numbers(said)["l2-per-example"]) == (6.4, 5_000)
    assert "none exact" not in said


def test_rescaling_prints_a_row_per_rule():
    code, said, error = run(f"{WHOLE} {ELSEWHERE}", columns=250)
    assert (code, error) == (0, "")
    sections = [section.splitlines() for section in said.split("\n\n")]
    rows = {section[0].strip(): [line.split()[:3] for line in section[2:]] for section in sections}
    assert rows["Batch size 64 -> 256"] == [["0.4", "0.001", "2500"], ["0.2", "0.001", "2500"]]
    assert rows["Steps 10000 -> 40000"] == [["0.05", "0.001", "40000"]]
    assert rows["Examples 50000 -> 200000"] == [["0.025", "0.001", "40000"], ["0.05", "0.001", "40000"]]
    assert rows["Width 256 -> 1024"] == [["0.4", "0.00025", "10000"], ["0.2", "0.00025", "10000"]]
    assert all(paper in said for paper in ("2505.13738", "1711.05101", "2405.13698", "2510.19093", "2510.15262"))


def test_where_no_rule_speaks_it_says_so():
    code, said, _ = run("units --from torch-coupled 1e-4 --learning-rate .1 --width 64 --to-width 128")
    assert code == 0
    assert said.rstrip().endswith("No rule known here speaks of such a decay.")
    assert "What it does over a run needs --steps." in said


def test_decay_in_the_gradient_under_momentum_removes_no_share_of_its_own():
    code, said, _ = run("units --from torch-coupled 5e-4 --learning-rate .1 --steps 100 --optimizer momentum")
    assert code == 0
    assert "Under momentum it removes no share of its own" in said


@pytest.mark.parametrize("columns", [80, 140])
def test_it_fits_the_terminal_and_nothing_is_cut_off(columns):
    _, said, _ = run(f"{WHOLE} {ELSEWHERE}", columns=columns)
    assert max(map(len, said.splitlines())) <= columns
    assert said.isascii()  # no ellipsis, no boxes: it can be piped anywhere
    for unit in UNITS:
        assert f"\n{unit.name} " in said
        assert f" {unit.formula} " in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("units --from torch-adam 0.1", "did you mean torch-adamw?"),
        ("units --from torch-adamw 0.1", "give the learning rate too"),
        ("units --from torch-adamw -0.1 --learning-rate 1e-3", "-0.1 cannot be: give a finite number above 0"),
        ("units --from torch-adamw nan --learning-rate 1e-3", "nan cannot be"),
        ("units --from torch-adamw 5000 --learning-rate 1e-3", "a step would remove 5 times the weight"),
        ("units --from torch-adamw 0.1 --learning-rate inf", "the learning rate inf cannot be"),
        ("units --from big-vision 0.1 --steps 0", "the number of steps cannot be 0"),
        ("units --from big-vision 0.1 --batch-size 64 --examples 32", "a batch of 64 cannot be drawn from 32"),
        ("units --from big-vision 0.1 --steps 10 --warmup 10", "the warm-up cannot take 10 steps"),
        ("units --from big-vision 0.1 --to-width 64", "a new width says too little alone"),
        (
            "units --from big-vision 0.1 --batch-size 1 --steps 2 --to-batch-size 64",
            "with batch size 64 the run has 0.0312 steps, for as many passes",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(words, says):
    code, said, error = run(words)
    assert (code, said) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize(
    "words", ["units", "units --from l2", "units --from l2 x", "units --form l2 1", "unit --from l2 1"]
)
def test_wrong_words_get_a_hint_and_no_traceback(words):
    code, said, error = run(words)
    assert (code, said) == (2, "")
    assert "--help" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("words", ["", "--help"])
def test_without_words_it_shows_help(words):
    code, said, error = run(words)
    assert (code, error) == (0, "")
    assert "units" in said


def test_it_answers_without_jax():
    script = (
        "import runpy, sys; sys.argv[0] = 'wd_research'; runpy.run_module('wd_research', run_name='__main__');"
        "assert not {'jax', 'optax', 'flax'} & set(sys.modules)"
    )
    code, said, error = run_process("-c", script, *EXAMPLE.split())
    assert (code, error) == (0, "")
    assert "torch-adamw" in said


def test_without_a_word_it_lists_every_experiment_with_its_question_and_every_command():
    _, said, _ = run("")
    found = questions(Path("experiments"))
    assert set(found) == set(all_experiments())
    assert all(question.endswith("?") for question in found.values())
    assert all(name in said for name in (*found, *COMMANDS))
    assert "Which decay generalises best" in said


def test_where_there_are_no_experiments_it_says_so(tmp_path):
    code, said, error = run_process("-m", "wd_research", cwd=tmp_path)
    assert (code, error) == (0, "")
    assert "No experiments here" in said


def run_folder(folder, seeds):
    folder.mkdir()
    record = {
        "question": "Why?", "command": "c", "flags": {"seeds": seeds}, "seeds": seeds, "steps": 2, "members": 3,
        "status": "failed", "versions": {}, "git_commit": None, "device": {"count": 1, "kind": "cpu", "machine": "m"},
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(record))
    return folder


def test_reports_are_made_again_and_compared(tmp_path):
    folders = [run_folder(tmp_path / name, seeds) for name, seeds in (("one", 2), ("two", 4))]
    report(*folders[:1])
    assert not (tmp_path / "comparison.html").exists()
    report(*folders, "--out", tmp_path / "comparison.html")
    pages = [path.read_text() for path in (tmp_path / "comparison.html", *(f / "report.html" for f in folders))]
    assert [page.count("<article>") for page in pages] == [2, 1, 1]


def test_a_run_of_another_version_is_one_sentence_and_nothing_is_written(tmp_path):
    folder = run_folder(tmp_path / "one", 2)
    (folder / "summary.json").write_text(json.dumps({"answer": "a", "best": {"arm": {}}, "claims": [], "diverged": {}}))
    said = report(folder, code=2)
    assert said == f"error: {folder} is of another version: its summary.json has no 'seeds'; run it again\n"
    assert not (folder / "report.html").exists()


def report(*words, code=0):
    ended, _, error = run(["report", *words])
    assert ended == code, error
    return error


def test_a_folder_without_a_run_is_one_sentence_and_nothing_is_written(tmp_path):
    folder = run_folder(tmp_path / "one", 2)
    said = report(folder, tmp_path / "none", "--out", tmp_path / "both.html", code=2)
    assert said == f"error: {tmp_path}/none holds no run: name a folder with a file experiment.json\n"
    assert [path.name for path in folder.iterdir()] == ["experiment.json"]
