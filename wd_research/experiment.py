"""The seam: an experiment is declared; run() trains its arms, judges them, and leaves a folder."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from rich.console import Console

from wd_research.arms import Run, make_plans, train, trained
from wd_research.audits import audit_text
from wd_research.evidence.answer import best_point, diverged, sentence, summarise, winner_of
from wd_research.evidence.claims import Claim, judge
from wd_research.evidence.figures import all_figures, training
from wd_research.evidence.members import write_members
from wd_research.evidence.report import report
from wd_research.evidence.table import print_answer
from wd_research.evidence.tensorboard import write_summary
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
from wd_research.progress import progress
from wd_research.training.devices import prepare_jax
from wd_research.training.plan import Cut, as_fits_here, words
from wd_research.training.population import all_devices
from wd_research.types import Arm, Exact, Figure, Results

if TYPE_CHECKING:
    from pandas import DataFrame


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
        return trained(self.arms)

    @property
    def members(self) -> int:
        """How many nets are trained."""
        return sum(self.seeds * len(jax.tree.leaves(arm.points)[0]) for arm in self.trained.values())

    @property
    def segments(self) -> list[tuple[int, int]]:
        """The first step and the length of every segment: all of one length, but for the last where they do not divide.

        After each of them there is a look.
        """
        length = -(-self.steps // self.looks)
        return [(start, min(length, self.steps - start)) for start in range(0, self.steps, length)]


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
            events = folder / "tensorboard" if tensorboard else None
            this = Run(experiment.seeds, experiment.segments, events, advance, seconds)
            arms, plans = train(this, experiment.arms, cut or as_fits_here())
        record["programs"] = len({id(plan.programs) for plan in plans.values()})
        record["plans"] = {name: plan.record() for name, plan in plans.items()}
        summary = judged(experiment, arms, seconds)
        with this.timed("write"):
            record["figures"] = write(experiment, folder, arms, summary, events, member_runs)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        write_json(folder / RECORD, {**record, "status": status, "seconds": seconds})
        write_text(folder / "report.html", report([read_run(folder)]))
    print_answer(console, summary, folder)
    return Result(experiment, folder, arms, summary)


def judged(experiment: Experiment, arms: Mapping[str, Results], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The content of `summary.json`."""
    summary = {**summarise(arms), "claims": [judge(claim, arms) for claim in experiment.claims]}
    rate = experiment.members * experiment.steps / seconds["train"] if experiment.members else None
    return {
        "question": experiment.question,
        "answer": experiment.answer(summary),
        **summary,
        "diverged": {name: points for name, results in arms.items() if (points := diverged(results))},
        "speed": {
            "members": experiment.members,
            "member_steps_per_s": rate,
            "compile_s": seconds["compile"],
            "train_s": seconds["train"],
        },
    }


def write(
    experiment: Experiment, folder: Path, arms: Mapping[str, Results], summary: Mapping[str, Any],
    events: Path | None, member_runs: int,
) -> list[str]:  # fmt: skip
    """Leave results, summary, figures and event files in the folder; the numbers before the pictures of them.

    Returns the names of the figures.
    """
    write_results(folder / "results.nc", arms)
    write_json(folder / "summary.json", summary)
    figures = drawn(experiment, arms, summary)
    write_figures(folder / "figures", figures)
    if events:
        pictures = {name: (folder / "figures" / f"{name}.png").read_bytes() for name in figures}
        write_summary(events, summary["question"], summary["answer"], pictures, experiment.steps)
        if experiment.trained:
            write_members(folder / "members", {name: arms[name] for name in experiment.trained}, member_runs)
    return list(figures)


def drawn(experiment: Experiment, arms: Mapping[str, Results], summary: Mapping[str, Any]) -> dict[str, Figure]:
    """The experiment's own figures, and how the trained arm that validation data prefer came about."""
    figures = experiment.figures(arms)
    trained = {name: entry for name, entry in summary["best"].items() if name in experiment.trained}
    if trained:
        name = winner_of(trained)
        figures = {**figures, "training": training(name, arms[name])}
    return figures


def plan_text(experiment: Experiment, cut: Cut) -> str:
    """What a run would take: memory, time, compilations, waves and blocks, after compiling and timing a few steps."""
    plans = make_plans(
        experiment.trained, experiment.seeds, experiment.segments, all_devices(), cut, advance=lambda *_: None
    )
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
