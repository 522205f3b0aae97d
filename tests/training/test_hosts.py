"""Processes whose devices train one population together: real processes, over loopback."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_resuming import FAST, ROOT, SCRIPT, assert_as
from wd_research.arrays import read_arrays
from wd_research.flags import UserError
from wd_research.training.hosts import address_of

SHORT = ("--steps", "3000", "--workdir", "run", "--keep", "all", "--block", "sequential", "--no-tensorboard", *FAST)


def started(folder: Path, processes: int, devices: int, *words: str) -> list[subprocess.Popen]:
    """Processes of one run, which is a single one's where there is one; what they print goes into files."""
    (folder / "net.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "JAX_NUM_CPU_DEVICES": str(devices)}
    runs = []
    for number in range(processes):
        where = ("--distributed", f"{number}/{processes}@127.0.0.1:{port}") if processes > 1 else ()
        with open(folder / f"said.{number}", "w") as said:
            runs.append(
                subprocess.Popen(
                    [sys.executable, "net.py", *SHORT, *where, *words], cwd=folder, env=here, stdout=said, stderr=said
                )
            )
    return runs


def finished(folder: Path, processes: int, devices: int) -> None:
    """Wait until a run has come to its end."""
    runs = started(folder, processes, devices)
    assert [run.wait() for run in runs] == [0] * processes, said(folder)


def said(folder: Path) -> str:
    """What all processes have printed."""
    return "\n".join(path.read_text() for path in sorted(folder.glob("said.*")))


def until_a_position_is_there(folder: Path, runs: list[subprocess.Popen]) -> None:
    """Wait until a checkpoint has been written."""
    while not [*folder.glob("run/tiles/*/*.step*.npz")]:
        assert runs[0].poll() is None, said(folder)
        time.sleep(0.01)


def assert_same_weights(folder: Path, other: Path) -> None:
    """Bit for bit, all that were kept."""
    kept = sorted(path.relative_to(folder) for path in folder.glob("tiles/*/*.weights.npz"))
    assert kept == sorted(path.relative_to(other) for path in other.glob("tiles/*/*.weights.npz"))
    assert kept
    for path in kept:
        (_, weights), (_, others) = read_arrays(folder / path), read_arrays(other / path)
        assert list(weights) == list(others)
        assert [leaf.tobytes() for leaf in weights.values()] == [leaf.tobytes() for leaf in others.values()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process with four devices."""
    folder = tmp_path_factory.mktemp("alone")
    finished(folder, 1, 4)
    return folder / "run"


def test_two_processes_come_to_what_one_does_though_one_of_them_was_told_to_end_on_the_way(
    tmp_path, interruptible, alone
):
    runs = started(tmp_path, 2, 2)
    until_a_position_is_there(tmp_path, runs)
    runs[1].send_signal(signal.SIGTERM)
    assert [run.wait() for run in runs] == [143, 143], said(tmp_path)
    assert "this goes on from it" in (tmp_path / "said.0").read_text()
    finished(tmp_path, 2, 2)
    assert re.search(r"training net from step \d+ on", said(tmp_path))
    assert_as(tmp_path / "run", alone)
    assert_same_weights(tmp_path / "run", alone)


@pytest.mark.slow
def test_four_processes_come_to_what_one_does(tmp_path, alone):
    finished(tmp_path, 4, 1)
    assert_as(tmp_path / "run", alone)
    assert_same_weights(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_where_one_is_killed_the_others_end_and_the_run_goes_on_from_its_last_position(tmp_path, alone, number):
    runs = started(tmp_path, 2, 2)
    until_a_position_is_there(tmp_path, runs)
    runs[number].kill()
    assert 0 not in [run.wait() for run in runs], said(tmp_path)
    finished(tmp_path, 1, 4)
    assert_as(tmp_path / "run", alone)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (text, f"--distributed {text} names no process: give auto, or i/n@HOST:PORT, such as 0/4@10.0.0.1:1234")
        for text in ("", "0/4", "4/4@host:1", "-1/4@host:1", "0/0@host:1", "1@host:1", "0/2@host", "0/2@:1", "a/b@c:d",
                     "0/2@host:port")
    ],
)  # fmt: skip
def test_who_a_process_is_has_to_be_said_in_full(where, sentence):
    with pytest.raises(UserError) as raised:
        address_of(where)
    assert str(raised.value) == sentence
