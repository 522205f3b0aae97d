"""docs/extending.md is true: every file in it runs as it stands, and shows what its heading says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", GUIDE, re.MULTILINE | re.DOTALL))
KINDS = ("penalty", "rule", "hyperparameter", "net", "task", "probe", "claim", "experiment")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_runs_as_it_stands_and_answers(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    words = [name, "--steps", "6", "--seeds", "2", "--workdir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["question"] == re.match(r'"""(.*?\?)"""\n', FILES[name])[1]  # the docstring begins with it
    assert summary["answer"] in done.stdout.replace("\n", " ")
    assert all(claim["statement"] for claim in summary["claims"])
    assert bool(summary["claims"]) == ("Claim(" in FILES[name])


def test_all_kinds_are_there_each_with_a_whole_file():
    sections = dict(re.findall(r"^## A new (\w+)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
    assert tuple(sections) == KINDS
    for kind, section in sections.items():
        assert re.search(r"^`\w+\.py`:\n\n```python\n", section, re.MULTILINE), kind
    assert len(FILES) == GUIDE.count("```python") == len(KINDS) + 1  # a task is made in two ways


def test_the_files_are_short_and_end_alike():
    for name, text in FILES.items():
        lines = text.splitlines()
        assert lines[-2:] == ['if __name__ == "__main__":', "    wd.main(experiment)"], name
        assert len([line for line in lines if line]) < 50, name
        assert max(map(len, lines)) <= 120, name


def test_the_linked_files_exist():
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
    for name in re.findall(r"`((?:wd_research|decay|experiments)/[\w/]*(?:\.py)?)`", GUIDE):
        assert any((ROOT / home / name).exists() for home in ("", "wd_research")), name
    for name in re.findall(r"\.venv/bin/python (\w+\.py)", GUIDE):
        assert name in FILES, name
