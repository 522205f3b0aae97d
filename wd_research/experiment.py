"""The seam: an experiment is declared; run() trains its arms, judges them, and leaves a folder."""

import html
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from wd_research.audits import audit_text
from wd_research.evidence.answer import best_point, diverged, sentence, summarise, winner_of
from wd_research.evidence.claims import Claim, judge
from wd_research.evidence.figures import all_figures, training
from wd_research.evidence.members import write_members
from wd_research.evidence.report import report
from wd_research.evidence.table import print_answer
from wd_research.evidence.tensorboard import runs_of_arm, write_summary
from wd_research.folder import (
    RECORD,
    claim_folder,
    free_folder,
    read_run,
    surroundings,
    write_figures,
    write_json,
    write_results,
    write_text,
)
from wd_research.progress import Advance, progress
from wd_research.training.devices import prepare_jax
from wd_research.training.plan import Cut, Plan, as_fits_here, in_waves, make_plan, words
from wd_research.training.population import all_devices, fetch, place
from wd_research.training.weights import EDGES
from wd_research.types import Arm, Figure, Hypers, Results

if TYPE_CHECKING:
    from pandas import DataFrame

DIMS = ("seed", "point", "step", "edge")
Exact = Callable[[int], Results]  # seeds -> what came out (`labelled`): an arm that is computed, not trained


class Experiment(NamedTuple):
    """A question, and all that it takes to answer it."""

    question: str
    arms: Mapping[str, Arm | Exact]
    seeds: int
    steps: int
    looks: int = 10  # how often training stops to evaluate and write
    claims: tuple[Claim, ...] = ()
    figures: Callable[[Mapping[str, Results]], dict[str, Figure]] = all_figures  # results -> name of the file -> it
    answer: Callable[[Mapping[str, Any]], str] = sentence  # summary -> the answer in one sentence

    @property
    def trained(self) -> dict[str, Arm]:
        """The arms that are trained."""
        return {name: arm for name, arm in self.arms.items() if isinstance(arm, Arm)}

    @property
    def members(self) -> int:
        """How many nets are trained."""
        return sum(self.seeds * len(jax.tree.leaves(arm.points)[0]) for arm in self.trained.values())


class Result(NamedTuple):
    """What came out; in a notebook it shows itself."""

    experiment: Experiment
    folder: Path
    arms: dict[str, Results]  # dims (seed, point, step)
    summary: dict[str, Any]  # as in `summary.json`

    def best(self, arm: str | None = None) -> dict[str, float]:
        """The best point of an arm, by default of the arm that validation data prefer: its numbers by name.

        Raises ValueError when no arm can be tuned.
        """
        if not self.summary["best"]:
            raise ValueError("no arm can be tuned: nothing has validation data and a point without decay")
        return best_point(self.arms[arm or winner_of(self.summary["best"])])

    def table(self) -> "DataFrame":
        """Every point of every arm: its numbers, and every measurement at the end, mean over seeds."""
        import pandas as pd

        ends = {name: results.isel(step=-1).drop_dims("edge", errors="ignore") for name, results in self.arms.items()}
        frames = {
            name: end.mean("seed").to_dataframe().drop(columns=["step", "diverged_at"]) for name, end in ends.items()
        }
        return pd.concat(frames, names=["arm"])

    def figure(self, name: str | None = None) -> Figure:
        """A figure of the run, by default the first. Raises ValueError, naming those there are, for another name."""
        figures = drawn(self.experiment, self.arms, self.summary)
        if name is not None and name not in figures:
            raise ValueError(f"no figure is called {name}: choose among {', '.join(figures)}")
        return figures[name or next(iter(figures))]

    def _repr_html_(self) -> str:
        """The report, for a notebook."""
        page = html.escape(report([read_run(self.folder)]))
        return f'<iframe srcdoc="{page}" width="100%" height="700" style="border: 1px solid #bbb"></iframe>'


class Run(NamedTuple):
    """What a run carries along while it lasts."""

    experiment: Experiment
    tensorboard: Path | None  # folder of the event files
    member_runs: int  # how many members get curves of their own there
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
    workdir: Path | str | None = None,
    *,
    tensorboard: bool = True,
    member_runs: int = 0,
    cut: Cut | None = None,
    flags: Mapping[str, Any] | None = None,
    command: str = "run(experiment)",
    audit: str | None = None,
    before: Mapping[str, float] | None = None,
    console: Console | None = None,
) -> Result:
    """Audit and train every arm, judge them, write the folder and print the answer.

    Without a `workdir` the first of runs/run, runs/run-2 ... that holds no run is taken. `member_runs` members get
    curves of their own in TensorBoard. `cut` says how the population may be cut. `flags` and `command` are recorded,
    and so are the seconds `before` the run (import, audit); `audit` is the text of an audit that was made already. If
    something ends the run early, the status in `experiment.json` says so. Raises ValueError when the folder cannot be
    written or holds a run already; DecayError, one too, when a decay does not fit; and PlanError when the population
    does not.
    """
    prepare_jax()
    folder, console = claim_folder(Path(workdir or free_folder(Path("runs"), "run"))), console or Console()
    seconds = dict.fromkeys(("import", "audit", "compile", "train", "evaluate", "write"), 0.0) | dict(before or {})
    if audit is None:
        begin = perf_counter()
        audit = audit_text(experiment.trained, experiment.steps)
        seconds["audit"] = perf_counter() - begin
    (folder / "audit.txt").write_text(audit)
    record = {
        "question": experiment.question,
        "command": command,
        "flags": dict(flags or {}),
        "arms": list(experiment.arms),
        **{name: getattr(experiment, name) for name in ("seeds", "steps", "looks", "members")},
        **surroundings(),
    }
    write_json(folder / RECORD, {**record, "status": "running"})
    status = "failed"
    try:
        with progress(console, experiment.members * experiment.steps) as advance:
            this = Run(experiment, folder / "tensorboard" if tensorboard else None, member_runs, advance, seconds)
            arms, plans = train(this, cut or as_fits_here())
        record["programs"] = len({id(plan.programs) for plan in plans.values()})
        record["plans"] = {name: plan.record() for name, plan in plans.items()}
        summary = judged(this, arms)
        with this.timed("write"):
            record["figures"] = write(this, folder, arms, summary)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        write_json(folder / RECORD, {**record, "status": status, "seconds": seconds})
        write_text(folder / "report.html", report([read_run(folder)]))
    print_answer(console, summary, folder)
    return Result(experiment, folder, arms, summary)


def train(this: Run, cut: Cut) -> tuple[dict[str, Results], dict[str, Plan]]:
    """Train, or compute, the arms one after the other."""
    mesh, arms = all_devices(), {}
    with this.timed("compile"):
        plans = make_plans(this.experiment, cut, mesh, this.advance)
    for name, arm in this.experiment.arms.items():
        arms[name] = (
            train_arm(this, name, arm, plans[name], mesh) if isinstance(arm, Arm) else compute_arm(this, name, arm)
        )
    return arms, plans


def make_plans(experiment: Experiment, cut: Cut, mesh: Mesh, advance: Advance) -> dict[str, Plan]:
    """How each arm is trained; arms that share their functions, and the shapes of their inputs, share a plan.

    Raises PlanError when one point per device does not fit.
    """
    programs = {name: program_of(arm) for name, arm in experiment.trained.items()}
    sharing, plans = Counter(programs.values()), {}
    for name, program in programs.items():
        if program not in plans:
            advance(f"compiling {name}", 0, 0.0)
            steps = experiment.steps * sharing[program]
            length = segments(experiment)[0][1]
            plans[program] = make_plan(experiment.trained[name], experiment.seeds, length, steps, mesh, cut)
    return {name: plans[program] for name, program in programs.items()}


def program_of(arm: Arm) -> tuple[Any, ...]:
    """What an arm's compiled programs depend on: its functions and the shapes of its inputs, not their numbers."""
    task = arm.task
    of_task = (task.init, task.order, task.gather, task.parts, task.loss, task.evaluate)
    inputs = arm.points, task.data, task.split(0)
    types = tuple((np.shape(leaf), np.result_type(leaf)) for leaf in jax.tree.leaves(inputs))
    return *of_task, arm.objective, arm.optimizer, jax.tree.structure(inputs), types


def plan_text(experiment: Experiment, cut: Cut) -> str:
    """What a run would take: memory, time, compilations, waves and blocks, after compiling and timing a few steps."""
    plans = make_plans(experiment, cut, all_devices(), lambda *_: None)
    seconds = sum(plan.seconds_per_step * plan.waves * experiment.steps for plan in plans.values())
    distinct = {id(plan.programs): plan for plan in plans.values()}.values()
    lines = [
        f"{name}: {plan.memory / 1e9:.2g} GB, {plan.waves} wave(s) of {plan.height} points at {experiment.seeds} "
        f"seeds, {words(plan.block)}, {plan.seconds_per_step * plan.waves * experiment.steps:.1f} s of training"
        for name, plan in plans.items()
    ]
    total = (
        f"{len(distinct)} program(s), compiled in {sum(plan.compile_seconds for plan in distinct):.1f} s; "
        f"{experiment.members:,} members, {seconds:.0f} s of training; evaluating and writing come on top"
    )
    return "\n".join([*lines, total]) + "\n"


def compute_arm(this: Run, name: str, arm: Exact) -> Results:
    """Compute an arm that needs no training."""
    this.advance(f"computing {name}", 0, 0.0)
    with this.timed("evaluate"):
        results = arm(this.experiment.seeds)
    if this.tensorboard:
        with this.timed("write"):
            runs = runs_of_arm(this.tensorboard, name, results)
            runs.look(results)
            runs.close(results)
    return results


def segments(experiment: Experiment) -> list[tuple[int, int]]:
    """The first step and the length of every segment: all of one length, but for the last where they do not divide."""
    length = -(-experiment.steps // experiment.looks)
    return [(start, min(length, experiment.steps - start)) for start in range(0, experiment.steps, length)]


def train_arm(this: Run, name: str, arm: Arm, plan: Plan, mesh: Mesh) -> Results:
    """Train one arm to the end, wave after wave."""
    waves = [train_wave(this, name, wave, plan, mesh) for wave in in_waves(arm, plan.height)]
    if len(waves) > 1:  # each to its end, before the next takes its memory
        waves = [list(wave) for wave in waves]
    points, looks, runs = len(jax.tree.leaves(arm.points)[0]), [], None
    for parts in zip(*waves, strict=True):
        look = joined(parts, "point").isel(point=slice(points))
        looks.append(look)
        if this.tensorboard:
            with this.timed("write"):
                runs = runs or runs_of_arm(this.tensorboard, name, look)
                runs.look(look)
    results = joined([look.drop_vars("diverged_at") for look in looks], "step")
    results = results.assign(diverged_at=looks[-1].diverged_at)
    if runs:
        with this.timed("write"):
            runs.close(results)
    return results


def joined(parts: Sequence[Results], dim: str) -> Results:
    """Results side by side."""
    import xarray as xr

    return xr.concat(parts, dim, coords="minimal", compat="override", join="override", data_vars="all",
                     combine_attrs="override")  # fmt: skip


def train_wave(this: Run, name: str, wave: Arm, plan: Plan, mesh: Mesh) -> Iterator[Results]:
    """Train one wave, with a look after every segment."""
    with this.timed("compile"):
        inputs = place(wave, this.experiment.seeds, mesh, plan.block)
        members = plan.programs.init(inputs)
    for start, length in segments(this.experiment):
        begin = perf_counter()
        with this.timed("train"):
            advanced = plan.programs.advance(members, inputs, np.int32(start), np.int32(length))
            members, metrics = jax.block_until_ready(advanced)
        with this.timed("evaluate"):
            seen = fetch((plan.programs.evaluate(members, inputs), metrics, members.diverged_at), wave)
            look = as_dataset(wave, start + length, *seen)
        this.advance(f"training {name}", length * look.diverged_at.size, perf_counter() - begin)
        yield look


def as_dataset(
    arm: Arm, step: int, parts: Mapping[str, Mapping[str, np.ndarray]], running: Mapping[str, np.ndarray],
    diverged_at: np.ndarray,
) -> Results:  # fmt: skip
    """A look as labelled arrays with the dims (seed, point, step).

    `train_accuracy` and so on are of whole parts, `running_loss` and so on means over the segment's batches;
    `weights_norm` and `weights_below`, the share of the weights below each edge, are of all weights; `diverged_at`
    (seed, point) is the first step that was not finite, -1 without.
    """
    evaluated = {f"{part}_{name}": metric for part, metrics in parts.items() for name, metric in metrics.items()}
    means = {f"running_{name}": metric for name, metric in running.items()}
    return labelled(arm.points, arm.axis, step, {**evaluated, **means}, diverged_at)


def labelled(
    points: Hypers, axis: str, step: int, metrics: Mapping[str, np.ndarray], diverged_at: np.ndarray | None = None
) -> Results:
    """What was measured at a step as a dataset, from metrics f64[s, h] and points whose leaves are f32[h].

    The dims are (seed, point, step), the points' numbers are coordinates of `point`. A metric f64[s, h, e] is one at
    every edge of `training.weights.EDGES`, with the dim `edge` behind.
    """
    import xarray as xr

    shape = next(iter(metrics.values())).shape
    diverged_at = np.full(shape, -1) if diverged_at is None else diverged_at
    return xr.Dataset(
        {
            **{name: (DIMS[: metric.ndim + 1], metric[:, :, None]) for name, metric in metrics.items()},
            "diverged_at": (("seed", "point"), diverged_at),
        },
        {
            "seed": np.arange(shape[0]),
            "step": [step],
            **({"edge": EDGES} if any(metric.ndim == 3 for metric in metrics.values()) else {}),
            **{name: ("point", np.asarray(values)) for name, values in points._asdict().items()},
        },
        {"axis": axis},
    )


def judged(this: Run, arms: Mapping[str, Results]) -> dict[str, Any]:
    """The content of `summary.json`."""
    experiment = this.experiment
    summary = {**summarise(arms), "claims": [judge(claim, arms) for claim in experiment.claims]}
    rate = experiment.members * experiment.steps / this.seconds["train"] if experiment.members else None
    return {
        "question": experiment.question,
        "answer": experiment.answer(summary),
        **summary,
        "diverged": {name: points for name, results in arms.items() if (points := diverged(results))},
        "speed": {
            "members": experiment.members,
            "member_steps_per_s": rate,
            "compile_s": this.seconds["compile"],
            "train_s": this.seconds["train"],
        },
    }


def write(this: Run, folder: Path, arms: Mapping[str, Results], summary: Mapping[str, Any]) -> list[str]:
    """Leave results, summary, figures and event files in the folder; the numbers before the pictures of them.

    Returns the names of the figures.
    """
    write_results(folder / "results.nc", arms)
    write_json(folder / "summary.json", summary)
    figures = drawn(this.experiment, arms, summary)
    write_figures(folder / "figures", figures)
    if this.tensorboard:
        pictures = {name: (folder / "figures" / f"{name}.png").read_bytes() for name in figures}
        write_summary(this.tensorboard, summary["question"], summary["answer"], pictures, this.experiment.steps)
        if this.experiment.trained:
            write_members(folder / "members", {name: arms[name] for name in this.experiment.trained}, this.member_runs)
    return list(figures)


def drawn(experiment: Experiment, arms: Mapping[str, Results], summary: Mapping[str, Any]) -> dict[str, Figure]:
    """The experiment's own figures, and how the trained arm that validation data prefer came about."""
    figures = experiment.figures(arms)
    trained = {name: entry for name, entry in summary["best"].items() if name in experiment.trained}
    if trained:
        name = winner_of(trained)
        figures = {**figures, "training": training(name, arms[name])}
    return figures
