"""The README is true: its example runs as it stands, its commands too, and what it shows is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\.venv/bin/python (-m experiments\.decay_values[^#\n]*)", README, re.MULTILINE)


def run(words, folder=None):
    extra = ["--workdir", str(folder)] if folder else []
    done = subprocess.run(
        [sys.executable, "-W", "error", *words, *extra], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_experiment_runs_as_it_stands(tmp_path):
    example = re.search(r'```python\n(""".*?)```', README, re.DOTALL)
    assert example
    (tmp_path / "places.py").write_text(example[1])
    said = run([str(tmp_path / "places.py"), "--steps", "6", "--seeds", "2"], tmp_path / "run")
    assert "generalises best" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, tmp_path):
    run(shlex.split(command), None if "--help" in command else tmp_path / "run")


def test_there_were_commands_to_run_and_the_linked_files_exist():
    assert len(COMMANDS) == 2
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"^(?:  )?([\w/]+\.py) ", README, re.MULTILINE):
        assert (ROOT / name).exists() or (ROOT / "wd_research" / name).exists(), name
