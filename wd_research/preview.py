"""Previews: what decay would do in a run and what the run would take, before it is started."""

from pathlib import Path

from wd_research.audit.arms import auditing
from wd_research.experiment import Experiment
from wd_research.jobs import Jobs
from wd_research.racing import FIRST
from wd_research.reporting.record import versions
from wd_research.stages import BEYOND, GROWTHS, explored
from wd_research.tiles import cells, missing
from wd_research.training.devices import prepare_jax
from wd_research.training.plan import Limits, format_block, make_plans


def audited(experiment: Experiment) -> str:
    """The audit of the experiment's arms, before any run. Raises DecayError when a decay does not fit."""
    prepare_jax()
    return auditing(experiment.trained, experiment.steps_of)()


def plan_text(experiment: Experiment, limits: Limits, folder: Path | None = None) -> str:
    """What a run would take: memory, time, compilations, tiles and blocks, after compiling and timing a few steps.

    Of a run that goes on in a folder it says how much is there. Raises UserError where that is another experiment's.
    """
    prepare_jax()
    seeds = dict.fromkeys(experiment.trained, experiment.seeds)
    plans = make_plans(experiment.trained, seeds, experiment.segments_of, limits._replace(timed=True), print)
    seconds = {
        name: plan.seconds_per_step * plan.tiles * experiment.steps_of(experiment.arms[name])
        for name, plan in plans.items()
    }
    distinct = {plan.population.text: plan for plan in plans.values()}.values()
    lines = [
        f"{name}: {plan.population.memory / 1e9:.2g} GB, {plan.tiles} tile(s) of {plan.population.points} points at "
        f"{experiment.seeds} seeds, {format_block(plan.block)}, {seconds[name]:.1f} s of training"
        for name, plan in plans.items()
    ]
    total = (
        f"{len(distinct)} program(s), compiled in {sum(plan.compile_seconds for plan in distinct):.1f} s; "
        f"{experiment.members:,} members, {sum(seconds.values()):.1f} s of training; evaluating and writing come on top"
    )
    return "\n".join([*lines, total, *there(experiment, limits, folder), *then(experiment)]) + "\n"


def there(experiment: Experiment, limits: Limits, folder: Path | None) -> list[str]:
    """How many of the exploring members are trained already in a folder; nothing is said where none is."""
    if folder is None or not folder.is_dir():
        return []
    jobs, trained = Jobs(folder, experiment.segments_of, limits, versions(), print), 0
    for name, wanted in explored(experiment.arms, experiment.seeds).items():
        left = missing(wanted, [cells(wanted, tile)[0] for tile in jobs.read(name, wanted).values()])
        trained += len(wanted.seeds) * len(wanted.points) - sum(len(b.seeds) * len(b.points) for b in left)
    return [f"{trained:,} of the {experiment.members:,} members are trained already, in {folder}"] if trained else []


def then(experiment: Experiment) -> list[str]:
    """What trains after that: points beyond the edges of the grids, and on fresh seeds what is chosen."""
    said = []
    if experiment.race:
        said += [f"so much at most: of {experiment.seeds} seeds the first {FIRST} see every point, the others what may "
                 "still be chosen"]  # fmt: skip
    if experiment.grow:
        said += [f"then, where a best point lies on an edge, {BEYOND} values beyond it, up to {GROWTHS} times"]
    if experiment.confirm:
        most = experiment.looks[-1]
        until = f", and {experiment.confirm} more at a time, up to {most}, until every claim is decided"
        said += [
            f"then a few points of every arm, those that the {experiment.seeds} exploring seeds choose, on "
            f"{experiment.confirm} fresh confirming seeds{until if most > experiment.confirm else ''}"
        ]
    return said or ["then nothing: choices are scored by halves of the exploring seeds"]
