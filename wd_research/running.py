"""A run: an experiment is measured and concluded, and leaves a folder."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from wd_research.concluding import Result, concluded
from wd_research.experiment import Experiment
from wd_research.leases import Leases
from wd_research.measuring import measure
from wd_research.occupancy import occupied
from wd_research.reporting.errors import forgiven, kept
from wd_research.reporting.folder import new_folder
from wd_research.reporting.hparams import write_members
from wd_research.reporting.progress import progress
from wd_research.reporting.record import read_record
from wd_research.reporting.tensorboard import event_files
from wd_research.scheduling import How
from wd_research.training.hosts import together
from wd_research.types import Observer


def run(
    experiment: Experiment,
    workdir: Path | str | None = None,
    how: How = How(),  # noqa: B008 - it cannot be changed
    *,
    tensorboard: bool = True,
    member_runs: int = 0,
    observers: Sequence[Observer] = (),
    launch: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Result:
    """Measure every arm, conclude, leave a folder and print the answer.

    Without a `workdir` the first of runs/run, runs/run-2 ... that holds no run is taken; in one that holds members of
    this experiment those that are missing are trained. `how` says what a population may take, how often a position is
    written, whose weights are kept, and whether other processes train along. `member_runs` members get curves of their
    own in TensorBoard. `observers` are told the position of every arm after every evaluation, those of earlier
    processes among them. What `launch` holds (command, flags, and the seconds that starting took) is recorded.

    Raises what `measure` and `conclude` raise.
    """
    folder = Path(workdir).expanduser() if workdir else new_folder(Path("runs"), "run")
    console, leases = console or Console(), Leases()
    errors: dict[str, Exception] = {}
    with ExitStack() as closing:
        closing.enter_context(together(experiment.trained))
        shown = closing.enter_context(progress(console))
        told = [*observers]
        if tensorboard:
            told.append(closing.enter_context(event_files(folder / "tensorboard")))
        told = [forgiven(observe, errors) for observe in told]
        arms = measure(experiment, folder, how, observers=told, announce=shown.announce, advance=shown.advance,
                       launch=launch, leases=leases)  # fmt: skip
        if tensorboard and experiment.trained:
            shown.announce("writing event files of the members")
            with kept(errors, "event files of the members"):
                trained = {name: arms[name] for name in experiment.trained}
                write_members(folder / "members", trained, member_runs, arms.confirming)
        shown.announce("judging and drawing")
    with occupied(folder, leases, join=True):  # others that trained along conclude as well
        return concluded(experiment, folder, read_record(folder), console, errors)
