"""The seam: an experiment is declared; run() trains its arms, judges them, and leaves a folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from rich.console import Console

from wd_research.evidence.answer import sentence, summarise
from wd_research.evidence.claims import Claim, judge
from wd_research.evidence.figures import all_figures
from wd_research.evidence.table import print_answer
from wd_research.evidence.tensorboard import ArmRuns, write_summary
from wd_research.folder import RECORD, claim_folder, surroundings, write_figures, write_json, write_results
from wd_research.progress import Advance, progress
from wd_research.training.population import Inputs, Programs, all_devices, compile_programs, fetch, place
from wd_research.types import Arm


class Experiment(NamedTuple):
    """A question, and all that it takes to answer it."""

    question: str
    arms: Mapping[str, Arm]
    seeds: int
    steps: int
    looks: int = 10  # how often training stops to evaluate and write
    claims: tuple[Claim, ...] = ()

    @property
    def members(self) -> int:
        return sum(self.seeds * len(arm.points[0]) for arm in self.arms.values())


class Result(NamedTuple):
    """What came out."""

    folder: Path
    arms: dict[str, xr.Dataset]  # dims (seed, point, step)
    summary: dict[str, Any]  # as in `summary.json`


class Run(NamedTuple):
    """What a run carries along while it lasts."""

    experiment: Experiment
    tensorboard: Path | None  # folder of the event files
    advance: Advance  # progress
    seconds: dict[str, float]  # wall clock by what it went into

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Book the time of a block under `what`."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += perf_counter() - begin


def run(
    experiment: Experiment,
    workdir: Path | str,
    *,
    tensorboard: bool = True,
    flags: Mapping[str, Any] | None = None,
    import_seconds: float = 0.0,
    console: Console | None = None,
) -> Result:
    """Train every arm, judge them, write the folder and print the answer.

    `flags` are recorded, and so is `import_seconds`, the time that went by before. If something ends the run early, the
    status in `experiment.json` says so. Raises ValueError when the folder cannot be written or holds a run already.
    """
    folder, console = claim_folder(Path(workdir)), console or Console()
    seconds = {"import": import_seconds, "compile": 0.0, "train": 0.0, "evaluate": 0.0, "write": 0.0}
    record = {
        "question": experiment.question,
        "flags": dict(flags or {}),
        "arms": list(experiment.arms),
        **{name: getattr(experiment, name) for name in ("seeds", "steps", "looks", "members")},
        **surroundings(),
    }
    write_json(folder / RECORD, {**record, "status": "running"})
    status = "failed"
    try:
        with progress(console, experiment.members * experiment.steps) as advance:
            this = Run(experiment, folder / "tensorboard" if tensorboard else None, advance, seconds)
            arms = train(this)
        summary = judged(this, arms)
        with this.timed("write"):
            write(this, folder, arms, summary)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        write_json(folder / RECORD, {**record, "status": status, "seconds": seconds})
    print_answer(console, summary, folder)
    return Result(folder, arms, summary)


def train(this: Run) -> dict[str, xr.Dataset]:
    """Train the arms one after the other; arms that share their functions share the compiled programs."""
    experiment, mesh, compiled, arms = this.experiment, all_devices(), {}, {}
    # A CPU takes point by point, whose state stays in the cache (docs/benchmarks.md); a GPU takes all together.
    block = 1 if jax.default_backend() == "cpu" else None
    for name, arm in experiment.arms.items():
        with this.timed("compile"):
            inputs = place(arm, experiment.seeds, mesh, block)
            program = (id(arm.task), id(arm.objective), id(arm.optimizer), jax.tree.leaves(inputs.points)[0].shape)
            if program not in compiled:
                this.advance(f"compiling {name}", 0, 0.0)
                lengths = {length for _, length in segments(experiment)}
                compiled[program] = compile_programs(arm, inputs, lengths, mesh, block)
        arms[name] = train_arm(this, name, arm, inputs, compiled[program])
    return arms


def segments(experiment: Experiment) -> list[tuple[int, int]]:
    """The first step and the length of every segment: all of one length, but for the last where they do not divide."""
    length = -(-experiment.steps // experiment.looks)
    return [(start, min(length, experiment.steps - start)) for start in range(0, experiment.steps, length)]


def train_arm(this: Run, name: str, arm: Arm, inputs: Inputs, programs: Programs) -> xr.Dataset:
    """Train one arm to the end, with a look after every segment."""
    looks: list[xr.Dataset] = []
    runs = ArmRuns(this.tensorboard, name) if this.tensorboard else None
    members = programs.init(inputs)
    for start, length in segments(this.experiment):
        begin = perf_counter()
        with this.timed("train"):
            members, metrics = jax.block_until_ready(programs.advance[length](members, inputs, np.int32(start)))
        with this.timed("evaluate"):
            seen = fetch((programs.evaluate(members, inputs), metrics, members.diverged_at), arm)
            looks.append(as_dataset(arm, start + length, *seen))
        if runs:
            with this.timed("write"):
                runs.look(looks[-1])
        this.advance(f"training {name}", length * looks[-1].diverged_at.size, perf_counter() - begin)
    results = xr.concat([look.drop_vars("diverged_at") for look in looks], "step", coords="minimal", compat="override",
                        join="override", data_vars="all", combine_attrs="override")  # fmt: skip
    results = results.assign(diverged_at=looks[-1].diverged_at)
    if runs:
        with this.timed("write"):
            runs.close(results)
    return results


def as_dataset(
    arm: Arm, step: int, parts: Mapping[str, Mapping[str, np.ndarray]], running: Mapping[str, np.ndarray],
    diverged_at: np.ndarray,
) -> xr.Dataset:  # fmt: skip
    """A look as labelled arrays with the dims (seed, point, step).

    `train_accuracy` and so on are of whole parts, `running_loss` and so on means over the segment's batches;
    `diverged_at` (seed, point) is the first step that was not finite, -1 without.
    """
    dims = ("seed", "point", "step")
    evaluated = {
        f"{part}_{name}": (dims, m[..., None]) for part, metrics in parts.items() for name, m in metrics.items()
    }
    means = {f"running_{name}": (dims, metric[..., None]) for name, metric in running.items()}
    hypers = {name: ("point", values) for name, values in arm.points._asdict().items()}
    return xr.Dataset(
        {**evaluated, **means, "diverged_at": (dims[:2], diverged_at)},
        {"seed": np.arange(len(diverged_at)), "step": [step], **hypers},
        {"axis": arm.axis},
    )


def judged(this: Run, arms: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """The content of `summary.json`."""
    experiment, summary = this.experiment, summarise(arms)
    return {
        "question": experiment.question,
        "answer": sentence(summary),
        **summary,
        "claims": [judge(claim, arms) for claim in experiment.claims],
        "speed": {
            "members": experiment.members,
            "member_steps_per_s": experiment.members * experiment.steps / this.seconds["train"],
            "compile_s": this.seconds["compile"],
            "train_s": this.seconds["train"],
        },
    }


def write(this: Run, folder: Path, arms: Mapping[str, xr.Dataset], summary: Mapping[str, Any]) -> None:
    """Leave results, summary, figures and event files in the folder; the numbers before the pictures of them."""
    write_results(folder / "results.nc", arms)
    write_json(folder / "summary.json", summary)
    figures = all_figures(arms)
    write_figures(folder / "figures", figures)
    if this.tensorboard:
        write_summary(this.tensorboard, summary["question"], summary["answer"], figures, this.experiment.steps)
