"""Launching through submitit's local executor: real jobs, real processes, a real end of their time."""

import os
import subprocess
import sys

import pytest

from tests.test_resuming import ROOT, SCRIPT, assert_as, finished
from wd_research.flags import UserError
from wd_research.launching import command

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def launched(folder, *words):
    (folder / "net.py").write_text(SCRIPT)
    return subprocess.run([sys.executable, "-W", "error", "-m", "wd_research", "launch", *words], cwd=folder, text=True,
                          capture_output=True, env={**ENVIRONMENT, "PYTHONPATH": f"{folder}:{ROOT}"})  # fmt: skip


def test_jobs_share_a_run_and_one_concludes(tmp_path):
    done = launched(tmp_path, "net", "run", "--on", "local", "--jobs", "2", "--", "--steps", "200", "--block",
                    "sequential")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 job(s)" in done.stdout
    assert "logs are in run/jobs" in done.stdout
    assert len(list((tmp_path / "run" / "tiles" / "net").glob("s0-2*.nc"))) == 1  # of two arms, two tiles
    finished(tmp_path, "--steps", "200", "--block", "sequential", "--workdir", "whole")
    assert_as(tmp_path / "run", tmp_path / "whole")


INTERRUPTED = """
import signal, time
from pathlib import Path
import psutil
from wd_research.launching import launch

(job,) = launch("net", Path("run"), 1, "local", "--steps 20000 --block sequential --no-tensorboard")
while "training net" not in (Path(job.paths.stdout).read_text() if Path(job.paths.stdout).exists() else ""):
    time.sleep(0.05)
time.sleep(0.2)
(task,) = [process for process in psutil.Process(job._process.pid).children(recursive=True)
           if "submitit.core._submit" in process.cmdline()]
task.send_signal(signal.SIGUSR2)  # what Slurm sends before a job's time is up
job.result()
print(Path(job.paths.stdout).read_text())
"""


@pytest.mark.slow
def test_a_job_whose_time_is_up_saves_its_position_and_the_next_goes_on_from_it(tmp_path, interruptible):
    (tmp_path / "net.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=tmp_path, text=True, capture_output=True,
                          env={**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ROOT}"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from step" in done.stdout
    finished(tmp_path, "--steps", "20000", "--block", "sequential", "--workdir", "whole")
    assert_as(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nothing.here", "run"), "no experiment is called nothing.here"),
        (("net", "run", "--jobs", "0"), "--jobs 0"),
        (("net", "run", "--minutes", "-1"), "--minutes -1"),
        (("net", "run", "--", "--workdir", "x"), "leave it out, every process joins the folder that is named"),
        (("net", "run", "--flags='"), "close every quote"),
    ],
)
def test_what_cannot_be_launched_is_one_sentence(words, sentence, tmp_path):
    done = launched(tmp_path, "--on", "local", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_without_submitit_it_says_what_to_install(monkeypatch, tmp_path):
    from wd_research.launching import launch

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"launching needs submitit: pip install 'wd_research\[slurm\]'"):
        launch("net", tmp_path, 1, "local")


def test_every_process_has_the_same_words(tmp_path):
    words = command("net", tmp_path, 3, "--seeds 2")
    assert words[1:] == ["-u", "-m", "net", "--join", str(tmp_path), "--tiles", "3", "--seeds", "2"]
