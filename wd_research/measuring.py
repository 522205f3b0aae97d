"""Measuring: every arm is audited, trained on exploring seeds and, at what they choose, on fresh ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wd_research.audit.arms import auditing
from wd_research.evidence.choices import choose
from wd_research.evidence.measured import Evidence
from wd_research.evidence.selection import can_be_tuned
from wd_research.experiment import Experiment
from wd_research.jobs import Announce
from wd_research.leases import Leases
from wd_research.occupancy import begun, occupied
from wd_research.racing import race
from wd_research.reporting.checksums import seal
from wd_research.reporting.errors import formatted, kept
from wd_research.reporting.files import write_text
from wd_research.reporting.folder import AUDIT, CONFIRMING, RESULTS, rescued, write_confirming, write_results
from wd_research.reporting.record import surroundings, versions
from wd_research.results import has_value
from wd_research.scheduling import How, Training, warn
from wd_research.stages import confirm, explore, explored, grow
from wd_research.training.checks import check_arm
from wd_research.training.devices import prepare_jax
from wd_research.training.loop import booked
from wd_research.types import Arm, Hypers, Observer, Results

RECORDED = "seeds", "steps", "evaluations", "members", "looks", "grow", "race"
Save = Callable[[Any], None]  # what was measured so far -> written


def measure(
    experiment: Experiment,
    folder: Path | str,
    how: How = How(),  # noqa: B008 - it cannot be changed
    *,
    observers: Sequence[Observer] = (),
    announce: Announce = lambda what, member_steps=0: None,
    advance: Callable[[int], None] = lambda member_steps: None,
    launch: Mapping[str, Any] | None = None,
    leases: Leases | None = None,
) -> Evidence:
    """Audit every arm, train it on the exploring seeds and what they choose on fresh ones; nothing is judged for good.

    It writes results.nc and confirming.nc. In a folder that holds members of the same experiment, from a run that was
    ended early, had fewer seeds or points, or still goes on elsewhere, those that are missing are trained alone. If
    something ends it early, the status in `experiment.json` says so, with the error.

    Raises UserError when the folder cannot be written, holds another experiment, or is another process's; DecayError,
    one too, when a decay does not fit; PlanError, one too, when the population does not; and IncompleteError where what
    is left is for other processes.
    """
    prepare_jax()
    folder, launch, leases = Path(folder).expanduser(), dict(launch or {}), leases or Leases()
    for name, arm in experiment.trained.items():
        check_arm(name, arm)
    train_in = partial(
        Training, folder, experiment.segments_of, versions=versions(), leases=leases, announce=announce, advance=advance
    )
    if how.share or how.join:
        measured(experiment, train_in(how), nowhere, nowhere)
    training = train_in(how._replace(share=None), observers=observers)
    training.seconds |= launch.pop("seconds", {})
    record = {**asked(experiment), **launch}
    with occupied(folder, leases, bool(how.share or how.join), announce), begun(folder, record):
        for name, wanted in explored(experiment.arms, experiment.seeds).items():
            training.jobs.read(name, wanted)  # another experiment's tiles are refused before anything is written
        announce("auditing")
        with booked(training.seconds, "audit"):
            audit = auditing(experiment.trained, experiment.steps_of) if how.audit else unaudited
            write_text(folder / AUDIT, audit())
        save = partial(replace_results, folder, record)
        evidence = measured(experiment, training, save, partial(rescued, write_confirming, folder / CONFIRMING))
        announce("auditing the best decay")
        with booked(training.seconds, "audit"), kept(errors := {}, "the audit at the best decay"):
            write_text(folder / AUDIT, audit(chosen_points(experiment.trained, evidence)))
        for said in formatted(errors).values():  # what is measured stands, and so does the audit before it
            warn(f"{AUDIT} is of the middle of the grid, because the audit at the best decay failed:\n{said}")
        plans = training.plans
        record |= {
            "members": evidence.members(experiment.trained),
            "programs": len({plan.population.text for plan in plans.values()}),
            "plans": {name: plan.record() for name, plan in plans.items()},
        }
        seal(folder, {**record, "status": "measured", "seconds": training.all_seconds})
    return evidence


def asked(experiment: Experiment) -> dict[str, Any]:
    """What `experiment.json` records before anything is trained; a launch from the command line says more."""
    settings = {name: getattr(experiment, name) for name in RECORDED}
    said = {"question": experiment.question, "command": "run(experiment)", "flags": {}, "arms": list(experiment.arms)}
    return {**said, **settings, **surroundings()}


def measured(experiment: Experiment, training: Training, save: Save, save_confirming: Save) -> Evidence:
    """What exploring and confirming seeds measured; each stage is saved as it ends."""
    if experiment.race:
        results = race(experiment.arms, experiment.seeds, training, experiment.claims)
    else:
        results = explore(experiment.arms, experiment.seeds, training)
    save(results)
    arms = dict(experiment.arms)
    if experiment.grow:
        grown, results = grow(experiment.trained, results, experiment.seeds, training)
        arms |= grown
        save(results)
    return confirm(arms, results, experiment.claims, experiment.looks, training, save_confirming)


def unaudited(chosen: Any = None) -> str:
    """What `audit.txt` says of a run that was not audited."""
    del chosen
    return "not audited\n"


def chosen_points(arms: Mapping[str, Arm], results: Mapping[str, Results]) -> dict[str, Hypers]:
    """What the exploring seeds find best of each arm that has validation data, among its points with decay."""
    chosen = {}
    for name, arm in arms.items():
        decays = ~has_value(results[name], 0)
        if can_be_tuned(results[name]) and decays.any() and (choice := choose(results[name], decays)).has_score:
            point = results[name].isel(point=choice.point)
            chosen[name] = type(arm.points)(*(point[field].to_numpy() for field in arm.points._fields))
    return chosen


def replace_results(folder: Path, record: Mapping[str, Any], results: Mapping[str, Results]) -> None:
    """Write the exploring results, and the record of the run that measures them.

    Confirming results of an earlier run with fewer seeds or points are none any more.
    """
    (folder / CONFIRMING).unlink(missing_ok=True)
    rescued(write_results, folder / RESULTS, results)
    seal(folder, {**record, "status": "running"})


def nowhere(content: Any) -> None:
    """Write nothing: another process does."""
