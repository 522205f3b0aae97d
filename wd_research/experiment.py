"""An experiment: what is asked, measured and concluded. `run` measures every arm, then concludes, and leaves a folder.

`measure` trains and writes results.nc; `conclude` reads it and judges, draws and answers, as often as one likes.
"""

import html
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console

from wd_research.audit.arms import audit_text
from wd_research.evidence.claims import Claim, judge
from wd_research.evidence.measured import Evidence
from wd_research.evidence.selection import best_point, summarise, winner_of
from wd_research.evidence.statistics import paired_t
from wd_research.flags import UserError, confirming_seeds, counts
from wd_research.names import check_apart, check_arms, check_name
from wd_research.reporting.checksums import seal
from wd_research.reporting.drawing import Figure
from wd_research.reporting.errors import forgiven, formatted, kept
from wd_research.reporting.figures import all_figures, ledger_figure, ledger_leaves, training
from wd_research.reporting.files import UnwritableError, write_text
from wd_research.reporting.folder import (
    CONFIRMING,
    RESULTS,
    claim_folder,
    free_folder,
    write_confirming,
    write_figures,
    write_json,
    write_results,
)
from wd_research.reporting.hparams import write_members
from wd_research.reporting.page import recorded, report, write_record
from wd_research.reporting.progress import progress
from wd_research.reporting.record import read_evidence, read_record, read_run, surroundings
from wd_research.reporting.sentences import sentence
from wd_research.reporting.table import print_answer
from wd_research.reporting.tensorboard import event_files, write_summary
from wd_research.results import diverged, final, hypers, metrics
from wd_research.stages import Announce, Training, confirm, explore, grow
from wd_research.training.checks import check_arm
from wd_research.training.devices import prepare_jax
from wd_research.training.loop import booked
from wd_research.training.plan import Limits
from wd_research.types import Arm, ComputedArm, Observer, check_distinct

if TYPE_CHECKING:
    from pandas import DataFrame


def first_line_of_caller() -> str:
    """The first line of the module that declares an experiment: its question, unless it gives another one."""
    declaring = sys._getframe(2).f_globals  # 0 is here, 1 the dataclass's __init__
    said = declaring.get("__doc__") if "__file__" in declaring else None  # a notebook's docstring is not the author's
    return str(said or "Which point generalises best?").strip().partition("\n")[0]


@dataclass(frozen=True)
class Experiment:
    """A question, and all that it takes to answer it.

    The seeds explore every point; what they choose is confirmed on `confirm` fresh seeds, or with `until_decided` on
    more of them, as many at a time, until every claim is decided or there are so many. With confirm=0 choices are
    scored by halves of the exploring seeds. `grow` adds points beyond an edge of a grid on which a best point lies.

    Raises UserError when there is no seed, no step, no evaluation or no arm, when it is made of something else, or when
    names are none that files can hold.
    """

    arms: Mapping[str, Arm | ComputedArm]
    seeds: int
    steps: int
    evaluations: int = 10  # how often training stops to evaluate and write
    confirm: int = 16
    until_decided: int | None = None
    grow: bool = False
    claims: Sequence[Claim] = ()
    figures: Callable[[Evidence], dict[str, Figure]] = all_figures  # what was measured -> name of the file -> it
    answer: Callable[[Mapping[str, Any]], str] = sentence  # summary -> the answer in one sentence
    question: str = field(default_factory=first_line_of_caller)

    def __post_init__(self) -> None:
        counts(seeds=self.seeds, steps=self.steps, evaluations=self.evaluations)
        confirming_seeds(self.confirm, self.until_decided)
        if not isinstance(self.arms, Mapping) or not self.arms:
            raise UserError("there is no arm: give at least one, as {name: arm}")
        check_arms(self.arms)
        for name, arm in self.arms.items():
            if not isinstance(arm, Arm) and not callable(arm):
                raise UserError(f"{name} is a {type(arm).__name__} and no arm: give wd.Arm(...), or a function of the "
                                "number of seeds that computes results")  # fmt: skip
        for arm in self.trained.values():
            check_distinct(arm.points)
        for claim in self.claims:
            if not isinstance(claim, Claim):
                raise UserError(f"{claim!r:.40} is no claim: give wd.Claim(...)")
        check_apart("claim", [claim.id for claim in self.claims])

    @property
    def trained(self) -> dict[str, Arm]:
        """The arms that are trained, not computed."""
        return {name: arm for name, arm in self.arms.items() if isinstance(arm, Arm)}

    @property
    def members(self) -> int:
        """How many nets explore."""
        return sum(self.seeds * arm.size for arm in self.trained.values())

    @property
    def looks(self) -> list[int]:
        """The numbers of confirming seeds after which claims are judged."""
        return list(range(self.confirm, (self.until_decided or self.confirm) + 1, self.confirm)) if self.confirm else []

    @property
    def segments(self) -> list[tuple[int, int]]:
        """The first step and the length of every segment: all of one length, but for the last where they do not divide.

        After each of them there is an evaluation.
        """
        length = -(-self.steps // self.evaluations)
        return [(start, min(length, self.steps - start)) for start in range(0, self.steps, length)]


class Result(NamedTuple):
    """The results of a run with their summary; in a notebook it shows its report."""

    experiment: Experiment
    folder: Path
    arms: Evidence  # name -> exploring results, dims (seed, point, step), and the confirming ones
    summary: dict[str, Any]  # as in `summary.json`

    def best(self, arm: str | None = None) -> dict[str, float]:
        """The best point of an arm, by default of the arm that validation data prefer: its hyperparameters by name.

        Raises ValueError when no arm can be tuned.
        """
        if not self.summary["best"]:
            raise ValueError("no arm can be tuned: nothing has validation data and a point without decay")
        return best_point(self.arms[arm or winner_of(self.summary["best"])])

    def table(self) -> "DataFrame":
        """Every point of every arm: its hyperparameters, and every metric at the end with its 95 % interval.

        `test_accuracy` is the mean over exploring seeds, `test_accuracy_low` and `test_accuracy_high` are the ends of
        the paired t interval, NaN for one seed.
        """
        import pandas as pd

        frames = {}
        for arm, results in self.arms.items():
            columns = {name: results[name].to_numpy() for name in hypers(results)}
            for name in metrics(results):
                estimates = [paired_t(values) for values in final(results, name).T]
                if name.endswith("_accuracy"):
                    estimates = [estimate.within(0, 1) for estimate in estimates]
                for end, column in zip(("", "_low", "_high"), np.transpose(estimates), strict=True):
                    columns[name + end] = column
            frames[arm] = pd.DataFrame(columns, pd.Index(results["point"].to_numpy(), name="point"))
        return pd.concat(frames, names=["arm"])

    def figure(self, name: str | None = None) -> Figure:
        """A figure of the run, by default the first. Raises ValueError, naming those there are, for another name."""
        figures = {**self.experiment.figures(self.arms), **training_figures(self.experiment, self.arms, self.summary)}
        if name is not None and name not in figures:
            raise ValueError(f"no figure is called {name}: choose among {', '.join(figures)}")
        return figures[name or next(iter(figures))]

    def _repr_html_(self) -> str:
        """The report, for a notebook."""
        page = html.escape(report([read_run(self.folder)]))
        return f'<iframe sandbox="" srcdoc="{page}" width="100%" height="700" style="border: 1px solid #bbb"></iframe>'


def run(
    experiment: Experiment,
    workdir: Path | str | None = None,
    *,
    tensorboard: bool = True,
    member_runs: int = 0,
    limits: Limits | None = None,
    observers: Sequence[Observer] = (),
    launch: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Result:
    """Measure every arm, conclude, leave a folder and print the answer.

    Without a `workdir` the first of runs/run, runs/run-2 ... that holds no run is taken. `member_runs` members get
    curves of their own in TensorBoard. `limits` say what memory and which blocks the population may take. `observers`
    are told the position of every arm after every evaluation. What `launch` holds (command, flags, and the seconds that
    starting took) is recorded.

    Raises what `measure` and `conclude` raise.
    """
    folder = Path(workdir).expanduser() if workdir else free_folder(Path("runs"), "run")
    console = console or Console()
    errors: dict[str, Exception] = {}
    with ExitStack() as closing:
        shown = closing.enter_context(progress(console))
        told = [*observers, shown.observe]
        if tensorboard:
            told.append(closing.enter_context(event_files(folder / "tensorboard", experiment.steps)))
        told = [forgiven(observe, errors) for observe in told]
        arms = measure(experiment, folder, limits=limits, observers=told, announce=shown.announce, launch=launch)
        if tensorboard and experiment.trained:
            shown.announce("writing event files of the members")
            with kept(errors, "event files of the members"):
                trained = {name: arms[name] for name in experiment.trained}
                write_members(folder / "members", trained, member_runs, arms.confirming)
        shown.announce("judging and drawing")
    return conclude(experiment, folder, console, errors)


def measure(
    experiment: Experiment,
    folder: Path | str,
    *,
    limits: Limits | None = None,
    observers: Sequence[Observer] = (),
    announce: Announce = lambda what, member_steps=0: None,
    launch: Mapping[str, Any] | None = None,
) -> Evidence:
    """Audit every arm, train it on the exploring seeds and what they choose on fresh ones; nothing is judged for good.

    It writes results.nc and confirming.nc. If something ends it early, the status in `experiment.json` says so, with
    the error. Raises UserError when the folder cannot be written or holds a run already; DecayError, one too, when a
    decay does not fit; and PlanError, one too, when the population does not.
    """
    prepare_jax()
    folder = Path(folder).expanduser()
    launch = dict(launch or {})
    seconds = {**launch.pop("seconds", {}), **dict.fromkeys(("audit", "compile", "train", "evaluate", "write"), 0.0)}
    record = {
        "question": experiment.question,
        "command": "run(experiment)",
        "flags": {},
        "arms": list(experiment.arms),
        **{name: getattr(experiment, name) for name in ("seeds", "steps", "evaluations", "members", "looks", "grow")},
        **surroundings(),
        **launch,
    }
    training = Training(experiment.segments, limits or Limits(), observers, announce, seconds)
    with recorded(claim_folder(folder)):
        seal(folder, {**record, "status": "running"})
        for name, arm in experiment.trained.items():
            check_arm(name, arm)
        announce("auditing", experiment.members * experiment.steps)
        with booked(seconds, "audit"):
            write_text(folder / "audit.txt", audit_text(experiment.trained, experiment.steps))
        plans = training.plans(experiment.trained, experiment.seeds)
        results = explore(experiment.arms, experiment.seeds, plans, training)
        save_results = partial(saved, write_results, folder / RESULTS)
        save_results(results)
        arms = dict(experiment.arms)
        if experiment.grow:
            grown, results = grow(experiment.trained, results, experiment.seeds, training)
            arms |= grown
            save_results(results)
        save = partial(saved, write_confirming, folder / CONFIRMING)
        evidence = confirm(arms, results, experiment.claims, experiment.looks, training, save)
        record["members"] = evidence.members(experiment.trained)
        record["programs"] = len({plan.population.text for plan in plans.values()})
        record["plans"] = {name: plan.record() for name, plan in plans.items()}
        seal(folder, {**record, "status": "measured", "seconds": seconds})
    return evidence


def saved(write: Callable[[Path, Any], None], path: Path, content: Any) -> None:
    """Write what training made; where the folder cannot take it, beside the system's temporary files.

    Raises UnwritableError then, which says where it is.
    """
    try:
        write(path, content)
    except UnwritableError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="wd_research-")) / path.name
        write(elsewhere, content)
        raise UnwritableError(f"{error}; what was trained is in {elsewhere} instead") from error


def conclude(
    experiment: Experiment, folder: Path | str, console: Console | None = None,
    errors: Mapping[str, Exception] | None = None,
) -> Result:  # fmt: skip
    """Judge the claims, draw the figures and give the answer from results.nc; it can be repeated, and trains nothing.

    Raises UserError when the folder holds no such results; and, after everything else is written, an ExceptionGroup of
    what claims, figures and the answer raised, each with a note that names it, and of `errors` that came before. They
    stand in the report and in `experiment.json` too.
    """
    folder, seconds = Path(folder), {}
    record, arms = read_record(folder), read_evidence(folder)
    check_measured(experiment, arms, record, folder)
    errors = dict(errors or {})
    record.setdefault("measuring_errors", formatted(errors))
    with booked(seconds, "conclude"):
        summary = judged(experiment, arms, record, errors)
        figures = {}
        with kept(errors, "figures"):
            for name, figure in experiment.figures(arms).items():
                with kept(errors, f"figure {name!r:.40}"):
                    check_name("figure", name)
                    figures[name] = figure
        with kept(errors, "figure training"):
            figures |= training_figures(experiment, arms, summary)
        write_json(folder / "summary.json", summary)
        with kept(errors, "drawing"):
            write_figures(folder / "figures", figures)
        if (folder / "tensorboard").exists():
            pictures = {path.stem: path.read_bytes() for name in figures
                        if (path := folder / "figures" / f"{name}.png").exists()}  # fmt: skip
            with kept(errors, "event file of the answer"):
                write_summary(
                    folder / "tensorboard", summary["question"], summary["answer"], pictures, experiment.steps
                )
    failed = {**record["measuring_errors"], **formatted(errors)}
    status = f"failed: {', '.join(failed)}" if failed else "finished"
    record |= {"question": experiment.question, "figures": list(figures), "status": status, "errors": failed}
    record["seconds"] = {**record.get("seconds", {}), **seconds}
    write_record(folder, record)
    if console:
        print_answer(console, summary, folder)
    if errors:
        raise ExceptionGroup(f"{', '.join(errors)} failed; all else is in {folder}", list(errors.values()))
    return Result(experiment, folder, arms, summary)


def check_measured(experiment: Experiment, arms: Evidence, record: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError unless the results are of this experiment: its arms, seeds, steps and points."""
    points = {name: arms[name].sizes["point"] for name in experiment.trained if name in arms}
    for name, there, here in (
        ("arms", list(arms), list(experiment.arms)),
        ("seeds", record["seeds"], experiment.seeds),
        ("steps", record["steps"], experiment.steps),
        ("points", points, {name: max(arm.size, points.get(name, 0)) for name, arm in experiment.trained.items()}),
    ):
        if there != here:
            raise UserError(f"{folder} was measured with the {name} {there}, and this experiment has {here}: name a "
                            "folder of this experiment, with its flags")  # fmt: skip


def judged(
    experiment: Experiment, arms: Evidence, record: Mapping[str, Any], errors: dict[str, Exception]
) -> dict[str, Any]:
    """The content of `summary.json`."""
    seeds = {"exploring": experiment.seeds, "confirming": arms.seeds, "looks": arms.looks, "alpha": arms.alpha}
    summary: dict[str, Any] = {"seeds": seeds, "best": {}, "comparisons": {}, "claims": []}
    with kept(errors, "summary"):
        summary |= summarise(arms)
    for claim in experiment.claims:
        with kept(errors, f"claim {claim.id}"):
            summary["claims"].append(judge(claim, arms))
    answer = "No answer: what gives it failed."
    with kept(errors, "answer"):
        answer = experiment.answer(summary)
    seconds = {"compile": 0.0, "train": 0.0, **record.get("seconds", {})}
    members = arms.members(experiment.trained)
    rate = members * experiment.steps / seconds["train"] if seconds["train"] else None
    return {
        "question": experiment.question,
        "answer": answer,
        **summary,
        "diverged": {name: points for name, results in arms.items() if (points := diverged(results))},
        "speed": {
            "members": members,
            "member_steps_per_s": rate,
            "compile_s": seconds["compile"],
            "train_s": seconds["train"],
        },
    }


def training_figures(experiment: Experiment, arms: Evidence, summary: Mapping[str, Any]) -> dict[str, Figure]:
    """The training, and the ledger if there is one, of the arm that validation data prefer; {} if none can be tuned."""
    tuned = {name: entry for name, entry in summary["best"].items() if name in experiment.trained}
    if not tuned:
        return {}
    name = winner_of(tuned)
    ledger = {"ledger": ledger_figure(name, arms[name])} if ledger_leaves(arms[name]) else {}
    return {"training": training(name, arms), **ledger}
