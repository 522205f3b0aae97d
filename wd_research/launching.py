"""Launching: the processes of one run, under Slurm or on this machine, through submitit."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wd_research.flags import UserError, counts

if TYPE_CHECKING:
    from submitit import Job


class Joining:
    """A process that joins a run; submitit calls it in a job, and `checkpoint` before the job's time is up."""

    def __init__(self, words: Sequence[str]) -> None:
        """By the words of its command."""
        self.words, self.process = list(words), None

    def __call__(self) -> None:
        """Run to the end. Raises CalledProcessError where it fails."""
        self.process: Any = subprocess.Popen(self.words)
        if code := self.process.wait():
            raise subprocess.CalledProcessError(code, self.words)

    def checkpoint(self) -> Any:
        """End the process, which saves its position, and ask for another job like this one."""
        from submitit.helpers import DelayedSubmission

        if self.process:
            self.process.send_signal(signal.SIGINT)  # submitit lets what a job starts ignore SIGTERM
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # this interrupts a wait, which has the lock
        return DelayedSubmission(Joining(self.words))


def command(module: str, folder: Path, jobs: int, flags: str) -> list[str]:
    """The words of each process: all of them are alike. Raises UserError where the flags cannot be."""
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise UserError(f"--flags {flags!r} cannot be read ({error}): close every quote") from error
    own = ("--workdir", "--join", "--shard", "--tiles")
    for word in words:
        if word.partition("=")[0] in own:
            raise UserError(f"--flags has {word}: leave it out, every process joins the folder that is named")
    return [sys.executable, "-u", "-m", module, "--join", str(folder), "--tiles", str(jobs), *words]


def launch(
    module: str, folder: Path, jobs: int, on: str, flags: str = "", minutes: int = 240,
    options: Mapping[str, Any] | None = None,
) -> "list[Job[None]]":  # fmt: skip
    """Start so many processes that share a run, each in a job of its own, and return the jobs.

    `on` is an executor of submitit: "slurm", or "local" for processes of this machine. `options` are that executor's,
    such as gpus_per_node or slurm_partition. A job whose time is up ends its process, which saves its position, and is
    queued again. Raises UserError where submitit is missing or an argument cannot be.
    """
    counts(jobs=jobs, minutes=minutes)
    words = command(module, folder, jobs, flags)
    try:
        import submitit
    except ImportError as error:
        raise UserError("launching needs submitit: pip install 'wd_research[slurm]'") from error
    executor = submitit.AutoExecutor(folder / "jobs", cluster=on)
    executor.update_parameters(timeout_min=minutes, **(options or {}))
    with executor.batch():
        return [executor.submit(Joining(words)) for _ in range(jobs)]
