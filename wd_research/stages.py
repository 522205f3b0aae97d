"""Stages of a run: explore the whole grid, grow it where an optimum lies on its edge, confirm what was chosen.

Seeds 0 ... s-1 explore. What they choose is trained on fresh seeds, from s on, of which no choice has seen anything:
their intervals are plain paired t intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from wd_research.evidence.choices import choose
from wd_research.evidence.claims import Claim, everywhere, judge
from wd_research.evidence.measured import Arms, Evidence, WantedPoints, points_wanted
from wd_research.evidence.selection import can_be_tuned, measures_of, of_arm
from wd_research.reporting.errors import kept
from wd_research.results import has_value, joined, judged_by
from wd_research.scheduling import Training
from wd_research.tiles import Wanted
from wd_research.training.plan import size_of
from wd_research.types import Arm, ComputedArm, Results

GROWTHS = 3  # how often a grid grows
BEYOND = 2  # values beyond an edge at a time


def explore(arms: Mapping[str, Arm | ComputedArm], seeds: int, training: Training) -> dict[str, Results]:
    """Train every arm on the exploring seeds, the whole of its grid."""
    exploring = range(seeds)
    # What is computed comes first: if it fails, no training is lost to it.
    computed = {name: training.compute(name, arm, exploring) for name, arm in arms.items() if not isinstance(arm, Arm)}
    trained = training.train(explored(arms, seeds))
    return {name: (trained | computed)[name] for name in arms}


def explored(arms: Mapping[str, Arm | ComputedArm], seeds: int) -> dict[str, Wanted]:
    """The members that explore."""
    return {name: Wanted(arm, range(seeds), range(arm.size)) for name, arm in arms.items() if isinstance(arm, Arm)}


# Growth


def grow(
    arms: Mapping[str, Arm], results: Mapping[str, Results], seeds: int, training: Training
) -> tuple[dict[str, Arm], dict[str, Results]]:
    """The arms, and their results, with points beyond the edges on which a best point lies, with decay or without.

    Each grid grows by two values beyond an edge at a time, at most three times.
    """
    arms, results = dict(arms), dict(results)
    for growth in range(1, GROWTHS + 1):
        grown = {name: arm for name, arm in arms.items() if can_be_tuned(results[name])}
        grown = {name: beyond_edges(arm, results[name]) for name, arm in grown.items()}
        grown = {name: arm for name, arm in grown.items() if arm.size > arms[name].size}
        if not grown:
            break
        training.announce("growing grids")
        wanted = {name: Wanted(arm, range(seeds), range(arms[name].size, arm.size)) for name, arm in grown.items()}
        more = training.train(wanted, f", growth {growth}")
        for name, arm in grown.items():
            declared = results[name].attrs.get("declared", arms[name].size)
            together = joined([results[name], more[name]], "point").assign_attrs(declared=declared)
            arms[name], results[name] = arm, together
    return arms, results


def beyond_edges(arm: Arm, results: Results) -> Arm:
    """The arm with points beyond every edge on which its best point, or its best point without decay, lies."""
    columns = {name: np.asarray(values, np.float32) for name, values in arm.points._asdict().items()}
    for among in (None, has_value(results, 0)):
        choice = choose(results, among)
        for name in choice.edges:
            columns = beyond(columns, name, columns[name][choice.point])
    return replace(arm, points=type(arm.points)(**columns))


def beyond(columns: dict[str, np.ndarray], name: str, edge: np.float32) -> dict[str, np.ndarray]:
    """The points with two more values of a hyperparameter beyond an edge, in the step of the grid's last two values.

    They are combined with whatever the others have at the edge. Nothing is added where the edge is none any more.
    """
    grid = np.unique(columns[name][columns[name] > 0])
    if edge not in (grid[0], grid[-1]):
        return columns
    up = edge == grid[-1]
    ratio = 10.0 if len(grid) < 2 else grid[-1] / grid[-2] if up else grid[0] / grid[1]
    at_edge = columns[name] == edge
    for value in (float(f"{edge * ratio**k:.3g}") for k in range(1, BEYOND + 1)):
        added = {other: column[: len(at_edge)][at_edge] for other, column in columns.items()}
        added[name] = np.full(at_edge.sum(), value, np.float32)
        columns = {other: np.concatenate([column, added[other]]) for other, column in columns.items()}
    return columns


# Confirmation


def confirm(
    arms: Mapping[str, Arm | ComputedArm], results: Mapping[str, Results], claims: Sequence[Claim],
    looks: Sequence[int], training: Training, save: Callable[[Mapping[str, Sequence[Results]]], None],
) -> Evidence:  # fmt: skip
    """Train what is chosen on fresh seeds, in rounds up to each of `looks`, as long as a claim is undecided.

    `save` is called with all confirming results after every round. What a claim raises is left for its judgement.
    """
    evidence, confirming, rooms = Evidence(results), {}, {}
    seeds, first = next(iter(results.values())).sizes["seed"], 0
    wanted = wanted_by(evidence, [*measures_of(evidence), *(claim.measure for claim in claims)])
    for look in looks if wanted else ():
        fresh, stage, trained = range(seeds + first, seeds + look), ", confirming", {}
        for name, points in wanted.items():
            if isinstance(arm := arms[name], Arm):
                trained[name] = Wanted(arm, fresh, points)
            else:
                confirming.setdefault(name, []).append(training.compute(name, arm, fresh, points, stage))
        training.announce("confirming")
        rooms = rooms or common_rooms(trained)
        for name, found in training.train(trained, stage, rooms).items():
            confirming.setdefault(name, []).append(found)
        save(confirming)
        evidence, first = Evidence(results, confirming, looks), look
        if look == looks[-1]:
            break
        wanted = wanted_by(evidence, [claim.measure for claim in undecided(evidence, claims)])
        if not wanted:
            break
    return evidence


def wanted_by(evidence: Evidence, measures: Sequence[Any]) -> dict[str, list[int]]:
    """The points that measures score after a choice, arm by arm."""
    wanted: WantedPoints = {}
    for measure in measures:
        with kept({}, "a choice"):  # what it raises, it raises again where it is judged
            for name, points in points_wanted(evidence, [measure]).items():
                wanted.setdefault(name, set()).update(points)
    return {name: sorted(wanted[name]) for name in evidence if name in wanted}


def common_rooms(wanted: Mapping[str, Wanted]) -> dict[str, int]:
    """For each arm the most points that any which is of the same size has chosen, so that they can share a program."""
    sizes = {name: size_of(members.arm) for name, members in wanted.items()}
    return {
        name: max(len(wanted[other].points) for other in wanted if sizes[other] == size) for name, size in sizes.items()
    }


def undecided(evidence: Evidence, claims: Sequence[Claim]) -> list[Claim]:
    """The claims that more seeds can decide; where a run makes none, that decay helps each arm."""
    left = []
    for claim in claims or gains_claimed(evidence):
        with kept({}, claim.id):
            row = judge(claim, evidence)
            left += [claim] if row["verdict"] == "undecided" and not row["on_edge"] else []
    return left


def gains_claimed(arms: Arms) -> list[Claim]:
    """For each arm that can be tuned the claim that it gains over none."""

    def gain(name: str, by: str, arms: Arms) -> dict[str, Any]:
        return {"gain": of_arm(name, by, False, arms)["gain"]}

    return [
        Claim(name, "Decay helps.", "", partial(gain, name, judged_by(results)), (0.0, np.inf), everywhere)
        for name, results in arms.items()
        if can_be_tuned(results)
    ]
