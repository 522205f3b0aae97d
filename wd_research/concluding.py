"""Concluding: claims are judged, figures drawn and the question answered from what was measured, again and again."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console

from wd_research.evidence.choices import choose
from wd_research.evidence.claims import judge
from wd_research.evidence.measured import Evidence
from wd_research.evidence.selection import best_point, summarise, winner_of
from wd_research.evidence.statistics import Estimate
from wd_research.experiment import Experiment
from wd_research.flags import UserError
from wd_research.leases import Leases
from wd_research.names import check_name
from wd_research.occupancy import occupied
from wd_research.reporting.courses import ledger_figure, ledger_leaves, training
from wd_research.reporting.drawing import Figure, means
from wd_research.reporting.errors import formatted, kept
from wd_research.reporting.folder import write_figures, write_json
from wd_research.reporting.page import report, write_record
from wd_research.reporting.record import read_evidence, read_record, read_run
from wd_research.reporting.table import print_answer
from wd_research.reporting.tensorboard import file_name, write_summary
from wd_research.results import diverged, final, hypers, metrics
from wd_research.tiles import TILES
from wd_research.training.loop import booked
from wd_research.types import Array, Extras, Numbers, Params, Results
from wd_research.weights import kept_of, member

if TYPE_CHECKING:
    from pandas import DataFrame


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
                estimates = list(map(Estimate._make, means(final(results, name))))
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

    def weights(self, arm: str | None = None, seed: int | None = None) -> tuple[Params, Extras]:
        """The weights and extras that a member had at the end of training, at the chosen point of an arm.

        By default of the arm that validation data prefer, on the first confirming seed, or the first seed of all where
        none confirm. Raises LookupError where they were not kept, and UserError where the file is damaged.
        """
        name, results, seed = self._chosen(arm, seed)
        point = {hyper: float(results[hyper]) for hyper in hypers(self.arms[name])}
        kept, places = kept_of(self.folder / TILES / file_name(name), seed, point)
        return member(kept, self.experiment.trained[name], *places)

    def predict(self, inputs: Numbers, arm: str | None = None, seed: int | None = None) -> Array:
        """What a member's net makes of inputs as its data have them, f32[n, ...]; the member is that of `weights`."""
        name, _, seed = self._chosen(arm, seed)
        task = self.experiment.trained[name].task
        return task.predict(*self.weights(name, seed), task.prepare(task.split(seed), np.asarray(inputs)))

    def _chosen(self, arm: str | None, seed: int | None) -> tuple[str, Results, int]:
        """An arm, its chosen point, and a seed."""
        if arm is None and not self.summary["best"]:
            raise ValueError("no arm can be tuned: nothing has validation data and a point without decay")
        name = arm or winner_of(self.summary["best"])
        if name not in self.experiment.trained:
            raise ValueError(f"no trained arm is called {name}: choose among {', '.join(self.experiment.trained)}")
        if seed is None:
            seed = self.experiment.seeds if self.arms.confirming.get(name) else 0
        return name, self.arms[name].sel(point=choose(self.arms[name]).point), seed

    def _repr_html_(self) -> str:
        """The report, for a notebook."""
        page = html.escape(report([read_run(self.folder)]))
        return f'<iframe sandbox="" srcdoc="{page}" width="100%" height="700" style="border: 1px solid #bbb"></iframe>'


def conclude(
    experiment: Experiment, folder: Path | str, console: Console | None = None,
    errors: Mapping[str, Exception] | None = None,
) -> Result:  # fmt: skip
    """Judge the claims, draw the figures and give the answer from results.nc; it can be repeated, and trains nothing.

    Raises UserError when the folder holds no such results; and, after everything else is written, an ExceptionGroup of
    what claims, figures and the answer raised, each with a note that names it, and of `errors` that came before. They
    stand in the report and in `experiment.json` too.
    """
    folder = Path(folder)
    record = read_record(folder)  # a folder that holds no run gets no lease
    with occupied(folder, Leases()):
        return concluded(experiment, folder, record, console, dict(errors or {}))


def concluded(
    experiment: Experiment, folder: Path, record: dict[str, Any], console: Console | None, errors: dict[str, Exception]
) -> Result:
    """What `conclude` returns, for the one that writes in the folder."""
    seconds, arms = {}, read_evidence(folder)
    check_measured(experiment, arms, record, folder)
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
    taken = sum(arms.members([name]) * experiment.steps_of(arm) for name, arm in experiment.trained.items())
    rate = taken / seconds["train"] if seconds["train"] else None
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
