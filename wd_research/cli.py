"""The command line of an experiment: its keyword arguments as flags, and errors that a person can read."""

import functools
import inspect
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from wd_research.folder import claim_folder, free_folder

if TYPE_CHECKING:
    from wd_research.experiment import Experiment
    from wd_research.training.plan import Cut


@dataclass(frozen=True)
class RunFlags:
    """What every run has."""

    workdir: Path | None = None
    """Folder of the run; by default the first of runs/NAME, runs/NAME-2 ... that holds no run."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    audit: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print which leaves decay, where and by how much, and stop."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what the run would take (memory, time, programs to compile, waves), and stop."""
    member_runs: int = 0
    """How many members, spread over the points, get curves of their own in TensorBoard."""
    memory: float | None = None
    """Gigabytes that training may take on all devices together: a population that needs more is trained in waves."""
    block: Literal["auto", "one", "together"] = "auto"
    """Whether a device trains its points one by one or together; by itself the quicker, tried before long runs."""


def main(experiment: Callable[..., "Experiment"]) -> None:
    """Run an experiment function by the flags on the command line.

    Exit code 0 when it has answered; 2, with one sentence, for bad input, before anything is compiled; 130 when it was
    interrupted.
    """
    module = inspect.getmodule(experiment)
    name = module.__spec__.name if module and module.__spec__ else Path(sys.argv[0]).stem
    short = name.rpartition(".")[2]
    flags: dict[str, Any] = {}

    @functools.wraps(experiment)
    def recorded(**keywords: Any) -> "Experiment":
        flags.update(keywords)
        return experiment(**keywords)

    def command(
        experiment: Annotated[Any, tyro.conf.arg(constructor=recorded, name="")],
        run: tyro.conf.OmitArgPrefixes[RunFlags],
    ) -> Any:
        return experiment, run

    try:
        declared, run_flags = tyro.cli(command, prog=f"python -m {name}", description=module and module.__doc__)
        check_run_flags(run_flags)
        folder = (
            None
            if run_flags.audit or run_flags.plan
            else claim_folder(run_flags.workdir or free_folder(Path("runs"), short))
        )
    except ValueError as error:
        stop(str(error))

    from wd_research.experiment import plan_text, run
    from wd_research.training.devices import prepare_jax
    from wd_research.training.plan import PlanError

    prepare_jax()
    cut = cut_of(run_flags)
    before = {"import": seconds_since_start()}
    try:
        audit = audited(declared)
        before["audit"] = seconds_since_start() - before["import"]
        if folder is None:
            print(audit if run_flags.audit else plan_text(declared, cut), end="")
        else:
            run(declared, folder, tensorboard=run_flags.tensorboard, member_runs=run_flags.member_runs, cut=cut,
                flags=flags, command=shlex.join(["python", "-m", name, *sys.argv[1:]]), audit=audit,
                before=before)  # fmt: skip
    except PlanError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop(f"interrupted; what was written so far is in {folder}" if folder else "interrupted", code=130)


def check_run_flags(flags: RunFlags) -> None:
    """Raise ValueError, with one sentence, where a flag of the run cannot be."""
    if flags.memory is not None and not flags.memory > 0:
        raise ValueError(f"--memory {flags.memory:g} is no room: give gigabytes above 0")
    if flags.member_runs < 0:
        raise ValueError(f"--member-runs {flags.member_runs} cannot be: give 0 or more")


def cut_of(flags: RunFlags) -> "Cut":
    """How the population may be cut: as fits here, unless the flags say otherwise."""
    from wd_research.training.plan import as_fits_here

    cut = as_fits_here()
    if flags.block != "auto":
        cut = cut._replace(blocks=(1,) if flags.block == "one" else (None,))
    return cut if flags.memory is None else cut._replace(memory=flags.memory * 1e9)


def audited(experiment: "Experiment") -> str:
    """The audit of the experiment's arms; exits with one sentence where a mask matches nothing."""
    from wd_research.audits import audit_text
    from wd_research.decay.masks import DecayError

    try:
        return audit_text(experiment.trained, experiment.steps)
    except DecayError as error:
        stop(str(error))


def seconds_since_start() -> float:
    """The age of this process: how long it took to import and to read the flags."""
    import psutil

    return time.time() - psutil.Process().create_time()


def stop(sentence: str, code: int = 2) -> NoReturn:
    """Say why and exit."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)
