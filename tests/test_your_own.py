"""The guide is true: its blocks run as they stand, in a folder of their own, and its first file is short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "your_own.md").read_text()
DATA, FIRST, *OTHERS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "data.py").write_text(DATA)
    run(folder, "data.py")
    (folder / "my_experiment.py").write_text(FIRST)
    return folder


def test_every_file_that_a_block_reads_is_made_on_the_page():
    read = set(re.findall(r'from_\w+\("([\w.]+)"', "".join([FIRST, *OTHERS])))
    assert read == set(re.findall(r'savez\("([\w.]+)"', DATA))


def run(folder, *words):
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_install_to_the_answer_takes_few_lines():
    commands = re.search(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    assert commands
    assert len([line for line in (commands[1] + FIRST).splitlines() if line.strip()]) < 40


@pytest.mark.slow
def test_the_first_file_runs_from_the_shell_and_is_audited(folder):
    assert "generalises best" in run(folder, "my_experiment.py", "--steps", "20", "--seeds", "2")
    assert (folder / "runs" / "my_experiment" / "report.html").exists()
    assert "Dense_0.kernel" in run(folder, "my_experiment.py", "--audit").replace("/", ".")


@pytest.mark.slow
def test_the_first_file_runs_where_the_package_is_a_dependency(folder):
    """Installed from a wheel, beside nothing of the checkout."""
    installed = folder / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(ROOT)]
    subprocess.run(pip, check=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}
    home = "import wd_research; print(wd_research.__file__)"
    words = ["my_experiment.py", "--steps", "20", "--seeds", "2", "--workdir", "installed"]
    for command in (["-c", home], words):
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert str(installed) in done.stdout or "generalises best" in done.stdout
    assert "<h2>Results</h2>" in (folder / "installed" / "report.html").read_text()


@pytest.mark.slow
def test_the_other_blocks_run_as_they_stand(folder):
    """One after the other in one process, which imports JAX once."""
    for number, block in enumerate(OTHERS):
        (folder / f"block{number}.py").write_text(block)
    script = "import runpy\nfor number in range({}): runpy.run_path(f'block{{number}}.py'); print('ran', number)"
    said = run(folder, "-c", script.format(len(OTHERS)))
    answers = re.split(r"ran \d+\n", said)[:-1]
    assert len(answers) == len(OTHERS)
    assert [answer.count("'decay': ") for answer in answers] == [1, 1, 2, 2]


def test_the_linked_files_and_loaders_exist():
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        assert (ROOT / "docs" / target.partition("#")[0]).exists(), target
    loading = (ROOT / "wd_research" / "training" / "loading.py").read_text()
    for name in re.findall(r"\| `(\w+)\(", GUIDE):
        assert f"def {name}(" in loading, name
