"""The command line of an experiment: its keyword arguments as flags, and bad input answered in one sentence."""

import functools
import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from wd_research.flags import UserError, flag
from wd_research.parsing import in_one_sentence
from wd_research.reporting.folder import new_folder
from wd_research.reporting.record import read_record
from wd_research.signals import ending, heeded, held

if TYPE_CHECKING:
    from wd_research.experiment import Experiment
    from wd_research.scheduling import Share

RENAMED = {  # what flags were called, and are called now
    "--flipped": "--label-noise",
    "--looks": "--evaluations",
    "--block one": "--block sequential",
    "--block together": "--block vmapped",
}


@dataclass(frozen=True)
class RunFlags:
    """What every run has."""

    workdir: Path | None = None
    """Folder of the run; by default the first of runs/NAME, runs/NAME-2 ... that holds no run. What is trained there
    already, by a run that was interrupted or had fewer seeds or points, is not trained again."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    audit: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print which leaves decay, where and by how much, and stop."""
    no_audit: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train without that audit."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what the run would take (memory, time, programs to compile, tiles), and stop."""
    conclude: Path | None = None
    """Judge, draw and answer again from the results in this folder of a run, with its flags; train nothing."""
    member_runs: int = 0
    """How many members, spread over the points, get curves of their own in TensorBoard."""
    confirm: int | None = None
    """Fresh seeds on which what the others chose is trained and scored; 0 scores by halves of the others. [default: 16,
    unless the experiment says otherwise]"""
    until_decided: int | None = None
    """Add as many fresh seeds again and again until every claim is decided, or there are so many."""
    grow: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add points beyond an edge of the grid on which a best point lies, two values at a time, at most three times."""
    race: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train every point on the first four seeds, and on the others only what may still be chosen."""
    checkpoint_every: float = 60.0
    """Seconds after which a position is written that a killed run goes on from, when it is started again in its
    folder."""
    keep: Literal["best", "all", "none"] = "best"
    """Whose final weights are kept beside the results: those of chosen points, of all, or of none."""
    join: Path | None = None
    """Train in this folder together with other processes, on any machines that share it; the last one concludes."""
    shard: str | None = None
    """Train every n-th tile from the i-th on, as 0/4, and stop; once all are there --join concludes."""
    distributed: str | None = None
    """Train every tile on the devices of several processes, each started by this command: auto where JAX finds them
    (Slurm, Kubernetes, Cloud TPU), else i/n@HOST:PORT for the i-th of n; process 0 listens there, and alone writes."""
    tiles: int = 1
    """Cut the run into at least so many tiles, for other processes to share."""
    memory: float | None = None
    """Gigabytes that training may take on all devices together: what needs more is trained tile by tile."""
    block: Literal["auto", "sequential", "vmapped"] = "auto"
    """Whether a device trains its points sequentially or vmapped; auto: vmapped on a GPU, and on a CPU sequentially or
    a few at a time, whichever is faster, tried before long runs."""


def main(experiment: Callable[..., "Experiment"]) -> None:
    """Run an experiment function by the flags on the command line.

    Exit code 0 when it has answered; 2, with one sentence, for bad input, before anything is compiled; 1, with a
    traceback, for a bug; 130 when it was interrupted, 143 or 129 when it was told to end (SIGTERM, SIGHUP).
    """
    module = inspect.getmodule(experiment)
    name = module.__spec__.name if module and module.__spec__ else Path(sys.argv[0]).stem
    given: dict[str, Any] = {}

    @functools.wraps(experiment)
    def recorded(**flags: Any) -> Callable[[], "Experiment"]:
        given.update(flags)
        return partial(experiment, **flags)

    def command(
        experiment: Annotated[Any, tyro.conf.arg(constructor=recorded, name="")],
        run: tyro.conf.OmitArgPrefixes[RunFlags],
    ) -> Any:
        return experiment, run

    with ended_by_signals(), heeded():
        check_parameters(inspect.signature(experiment).parameters)
        check_renamed(sys.argv[1:], inspect.signature(experiment).parameters)
        with in_one_sentence():
            declare, flags = tyro.cli(command, prog=f"python -m {name}", description=module and module.__doc__)
        check_run_flags(flags)
        with held():
            import_module("wd_research.running")  # all that takes long to import
        if flags.distributed:
            from wd_research.training.devices import prepare_jax
            from wd_research.training.hosts import join_processes

            prepare_jax()
            join_processes(flags.distributed)
        declared = declare()
        staged = {"confirm": flags.confirm, "until_decided": flags.until_decided}
        staged |= {"grow": flags.grow or None, "race": flags.race or None}
        declared = replace(declared, **{name: value for name, value in staged.items() if value is not None})
        if flags.conclude:
            flags = replace(flags, conclude=flags.conclude.expanduser())
            declared = declared_in(flags.conclude, command, experiment, given)
        act(declared, flags, name, given)


@contextmanager
def ended_by_signals() -> Generator[None]:
    """End the process with one sentence and the code that says why, for bad input and for signals.

    Where nobody reads what is printed any more, as behind `| head -1`, that is no error of the run.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        stop(str(error))
    except KeyboardInterrupt as interrupt:
        ending()
        stop("interrupted", code=getattr(interrupt, "code", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def act(experiment: "Experiment", flags: RunFlags, name: str, given: Mapping[str, Any]) -> None:
    """Do what the flags ask for: print the audit or the plan, conclude, or run."""
    from rich.console import Console

    from wd_research.concluding import conclude
    from wd_research.occupancy import has_trained
    from wd_research.preview import audited, plan_text
    from wd_research.running import run
    from wd_research.scheduling import How, IncompleteError
    from wd_research.training.plan import Limits

    memory, share = None if flags.memory is None else flags.memory * 1e9, share_of(flags.shard)
    tiles = max(flags.tiles, share.of if share else 1)
    blocks = {"auto": (), "sequential": (1,), "vmapped": (None,)}[flags.block]
    limits = Limits(memory, blocks, -(-tiles // max(1, len(experiment.trained))))
    given_folder = flags.join or flags.workdir
    how = How(limits, flags.checkpoint_every, flags.keep, share, bool(flags.join), not flags.no_audit)
    if flags.audit:
        print(audited(experiment), end="")
    elif flags.plan:
        print(plan_text(experiment, limits, given_folder and given_folder.expanduser()), end="")
    elif flags.conclude:
        conclude(experiment, flags.conclude, Console())
    else:
        launch = {
            "command": shlex.join(["python", "-m", name, *sys.argv[1:]]),
            "flags": given,
            "seconds": {"import": seconds_since_start()},
        }
        folder = given_folder.expanduser() if given_folder else new_folder(Path("runs"), name.rpartition(".")[2])
        again = given_command() + ("" if given_folder else f" --workdir {shlex.quote(str(folder))}")
        try:
            run(experiment, folder, how, tensorboard=flags.tensorboard, member_runs=flags.member_runs, launch=launch)
        except IncompleteError as others:
            print(others)
        except KeyboardInterrupt as interrupt:
            said = f"what was trained so far is in {folder}, and this goes on from it: {again}"
            said = said if has_trained(folder) else "nothing was trained yet"
            stop(f"interrupted; {said}", code=getattr(interrupt, "code", 130))


def given_command() -> str:
    """The command of this process, as one gives it again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = ["-m", spec.name] if spec else [sys.argv[0]]
    return shlex.join(["python", *started, *sys.argv[1:]])


def check_parameters(parameters: Collection[str]) -> None:
    """Raise UserError where a parameter of the experiment would have the name of a flag that every run has."""
    taken = [*(each.name for each in fields(RunFlags)), "no_tensorboard", "help"]
    for name in parameters:
        if name in taken:
            raise UserError(f"the experiment's parameter {name} cannot be a flag, for every run has the flag "
                            f"{flag(name)} already: give it another name, such as my_{name}")  # fmt: skip


def check_renamed(arguments: list[str], parameters: Collection[str] = ()) -> None:
    """Raise UserError, with the new name, where an argument has an old one that no parameter of the experiment has."""
    line = " ".join(argument.replace("=", " ", 1) for argument in arguments) + " "
    own = {flag(name) for name in parameters}
    for old, new in RENAMED.items():
        if old not in own and f"{old} " in line:
            raise UserError(f"{old} is called {new} now")


def check_run_flags(flags: RunFlags) -> None:
    """Raise UserError, with one sentence, where a flag of the run cannot be."""
    if flags.memory is not None and not flags.memory > 0:
        raise UserError(f"--memory {flags.memory:g} is no room: give gigabytes above 0")
    if flags.member_runs < 0:
        raise UserError(f"--member-runs {flags.member_runs} cannot be: give 0 or more")
    if not flags.checkpoint_every > 0:
        raise UserError(f"--checkpoint-every {flags.checkpoint_every:g} cannot be: give seconds above 0")
    if flags.tiles < 1:
        raise UserError(f"--tiles {flags.tiles} cannot be: give 1 or more")
    if flags.join and flags.workdir:
        raise UserError("--join names the folder: leave out --workdir")
    if flags.shard and not flags.join and not flags.workdir:
        raise UserError("--shard trains a part of the run in a folder that all parts share: name it by --workdir")
    share_of(flags.shard)
    if flags.distributed and (flags.audit or flags.plan):
        raise UserError("--distributed is for training: leave it out to see the audit or the plan")
    if flags.conclude and flags != RunFlags(conclude=flags.conclude):
        raise UserError("--conclude takes no other flag of a run: leave them out, nothing is trained")


def share_of(shard: str | None) -> "Share | None":
    """The share that `1/4` says. Raises UserError, with one sentence, where it says none."""
    from wd_research.scheduling import Share

    if shard is None:
        return None
    number, _, of = shard.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise UserError(f"--shard {shard} is no share: give i/n, with i from 0 to n - 1, such as 0/4")
    return Share(int(number), int(of))


def declared_in(
    folder: Path, command: Callable[..., Any], experiment: Callable[..., "Experiment"], given: dict[str, Any]
) -> "Experiment":
    """The experiment as the run in a folder declared it: its command line is read again, so flags keep their types.

    A run from Python has recorded no flags, and those that are `given` here count. Raises UserError when other flags
    are given than those of the run, or the experiment has no such flags.
    """
    record, here, parameters = read_record(folder), dict(given), inspect.signature(experiment).parameters
    if unknown := sorted(set(record.get("flags", {})) - set(parameters)):
        raise UserError(
            f"{folder} is a run with {flag(unknown[0])}, which this experiment has not: name one of its own"
        )
    try:
        words = shlex.split(record.get("command", ""))
    except ValueError as error:
        raise UserError(f"{folder} records a command that is none ({error}): conclude it from Python") from error
    if words[:2] != ["python", "-m"]:
        return experiment(**here)
    declare, _ = tyro.cli(command, args=words[3:])
    declared = declare()
    for name, value in here.items():
        if value not in (parameters[name].default, given[name]):
            raise UserError(f"--conclude takes the flags of that run: leave out {flag(name)}")
    return declared


def seconds_since_start() -> float:
    """The age of this process: how long it took to import and to read the flags."""
    import psutil

    return time.time() - psutil.Process().create_time()


def stop(sentence: str, code: int = 2) -> NoReturn:
    """Say why and exit."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)
