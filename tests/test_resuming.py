"""Runs that are ended, in real processes: what they leave is gone on from, and comes to what would have been."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wd_research.reporting.folder import read_confirming, read_results

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
import wd_research as wd
from tests.training import cases
from wd_research.training import loop

loop.PIECE = 0.02  # seconds: many positions in a short run


def experiment(*, steps: int = 8000, seeds: int = 2) -> wd.Experiment:
    arms = {"net": cases.arm(), "norm": cases.arm("batch norm")}
    return wd.Experiment(arms, seeds, steps, evaluations=4, confirm=2, question="Which?", figures=lambda arms: {})


if __name__ == "__main__":
    wd.main(experiment)
"""
FAST = ("--checkpoint-every", "0.05")


def started(folder, *words):
    """A process that runs the experiment."""
    (folder / "net.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, "-W", "error", "net.py", *map(str, words)], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)  # fmt: skip


def finished(folder, *words):
    """What it printed, once it has come to its end."""
    run = started(folder, *words)
    said, error = run.communicate()
    assert (run.returncode, error) == (0, "")
    return said


def ended(folder, number, at, after, *words):
    """The exit code and the errors of a run that got a signal some seconds after it had printed a line with `at`."""
    run = started(folder, *words)
    assert run.stdout
    for line in run.stdout:
        if at in line:
            break
    time.sleep(after)
    run.send_signal(number)
    _, error = run.communicate()
    return run.returncode, error


def measured(folder):
    return {**read_results(folder / "results.nc"),
            **{f"{name}, {k}": part for name, parts in read_confirming(folder / "confirming.nc").items()
               for k, part in enumerate(parts)}}  # fmt: skip


def assert_as(folder, undisturbed):
    """Bit for bit."""
    found, wanted = measured(folder), measured(undisturbed)
    assert found.keys() == wanted.keys()
    for name, results in wanted.items():
        assert results.identical(found[name]), name


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_saves_the_position_and_the_command_that_is_said_goes_on_from_it(
    tmp_path, interruptible, undisturbed, number
):
    tiles = tmp_path / "runs" / "net" / "tiles" / "net"
    run = started(tmp_path, "--block", "sequential", "--no-tensorboard", *FAST)
    while run.poll() is None and not [*tiles.glob("*.step*.npz")]:
        time.sleep(0.01)
    run.send_signal(number)
    _, error = run.communicate()
    assert run.returncode == 128 + number
    (sentence,) = error.splitlines()
    assert sentence.startswith("error: interrupted; what was trained so far is in runs/net, and this goes on from it: ")
    assert [*tiles.glob("*.step*.npz")]
    command = sentence.partition("goes on from it: ")[2].partition(";")[0]
    python, script, *words = shlex.split(command)
    assert (python, script) == ("python", "net.py")
    assert re.search(r"training net from step \d+ on", finished(tmp_path, *words))
    assert_as(tmp_path / "runs" / "net", undisturbed)
    assert not [*tiles.glob("*.step*.npz"), *tiles.glob("*.claim")]


def kill_at_random(folder, rng, times):
    """Kill a run again and again, at moments from its first to its last; how often it was."""
    kills = 0
    for _ in range(times):
        at, most = rng.choice([("auditing", 6.0), ("training net", 2.0), ("training norm", 2.0), ("confirming", 3.0),
                               ("judging", 1.0)])  # fmt: skip
        code, error = ended(folder, signal.SIGKILL, at, rng.uniform(0, most), "--workdir", "run", *FAST, *SEQUENTIAL)
        assert code in (0, -signal.SIGKILL), error
        kills += code != 0
        if code == 0:  # it came to its end before; another one begins
            yield kills
            kills = 0
    finished(folder, "--workdir", "run", *SEQUENTIAL)
    yield kills


SEQUENTIAL = ("--block", "sequential")


@pytest.mark.slow
def test_what_is_killed_goes_on_to_the_same_end(tmp_path, undisturbed):
    code, _ = ended(tmp_path, signal.SIGKILL, "training norm", 0.3, "--workdir", "run", *FAST, *SEQUENTIAL)
    assert code == -signal.SIGKILL
    finished(tmp_path, "--workdir", "run", *SEQUENTIAL)
    assert_as(tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_change_nothing(tmp_path, undisturbed, seed):
    """Five a case; the run that is left in the folder is that of one process."""
    kills = sum(kill_at_random(tmp_path, random.Random(seed), 5))
    assert kills
    assert_as(tmp_path / "run", undisturbed)
    assert not list(tmp_path.rglob("*.claim"))


@pytest.mark.slow
def test_processes_that_join_share_the_tiles_and_one_concludes(tmp_path, undisturbed):
    words = ("--join", "run", "--tiles", "4", *SEQUENTIAL)
    (tmp_path / "run").mkdir()
    runs = [started(tmp_path, *words) for _ in range(3)]
    runs[0].kill()  # with or without a claim
    said = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0, 0], said
    assert sum("Which?" in out for out, _ in said[1:]) >= 1
    tiles = list((tmp_path / "run" / "tiles" / "net").glob("*.nc"))
    assert len(tiles) >= 2
    finished(tmp_path, "--workdir", "run", *SEQUENTIAL)
    close = measured(tmp_path / "run"), measured(undisturbed)
    assert close[0].keys() == close[1].keys()
    assert not list(tmp_path.rglob("*.claim"))


def test_a_process_that_is_killed_with_its_claim_open_holds_up_nobody(tmp_path, undisturbed):
    code, _ = ended(tmp_path, signal.SIGKILL, "training net", 0.05, "--join", "run", *SEQUENTIAL)
    assert code == -signal.SIGKILL
    assert list(tmp_path.rglob("*.claim"))
    finished(tmp_path, "--join", "run", *SEQUENTIAL)
    assert_as(tmp_path / "run", undisturbed)


def test_of_two_runs_in_one_folder_one_trains_and_the_other_says_so(tmp_path, undisturbed):
    runs = [started(tmp_path, "--workdir", "run", *SEQUENTIAL) for _ in range(2)]
    said = [run.communicate()[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert sorted(codes) == [0, 2], said
    assert "holds a run that still goes on, process" in said[codes.index(2)]
    assert_as(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_runs_without_a_folder_take_one_each(tmp_path):
    runs = [started(tmp_path, "--steps", "4", "--confirm", "0") for _ in range(3)]
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["net", "net-2", "net-3"]


@pytest.mark.slow
def test_a_full_disk_for_checkpoints_costs_no_training(tmp_path, undisturbed):
    """A folder in the place of every checkpoint's name would be too kind: the disk itself takes no more of them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import wd_research.scheduling as s, errno\n"
        "from wd_research.reporting.files import unwritable\n"
        "def full(tile, position, cost):\n"
        "    raise unwritable(tile, OSError(errno.ENOSPC, 'No space left on device'))\n"
        "s.write_checkpoint = full\n"
    )
    (tmp_path / "net.py").write_text("import sitecustomize\n" + SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "net.py", "--workdir", "run", *FAST, *SEQUENTIAL], cwd=tmp_path, text=True,
                          capture_output=True, env=environment)  # fmt: skip
    assert done.returncode == 0
    assert "could not be written: No space left on device" in done.stderr
    assert "training goes on without this checkpoint" in done.stderr
    assert_as(tmp_path / "run", undisturbed)
