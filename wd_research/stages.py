"""Stages of a run: explore the whole grid, grow it where an optimum lies on its edge, confirm what was chosen.

Seeds 0 ... s-1 explore. What they choose is trained on fresh seeds, from s on, of which no choice has seen anything:
their intervals are plain paired t intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.choices import choose
from wd_research.evidence.claims import Claim, everywhere, judge
from wd_research.evidence.measured import Arms, Evidence, Wanted, points_wanted
from wd_research.evidence.selection import can_be_tuned, measures_of, of_arm
from wd_research.reporting.errors import kept
from wd_research.results import has_value, joined, judged_by
from wd_research.training.loop import Seconds, booked, train_arm
from wd_research.training.plan import Limits, Plan, Segments, make_plans, points_of, size_of
from wd_research.types import Arm, ComputedArm, Observer, Position, Results

GROWTHS = 3  # how often a grid grows
BEYOND = 2  # values beyond an edge at a time
Announce = Callable[..., None]  # (what begins now, how many member-steps come with it = 0)


class Training(NamedTuple):
    """How the arms of a run are trained, whichever seeds and points."""

    segments: Segments
    limits: Limits
    observers: Sequence[Observer]
    announce: Announce
    seconds: Seconds

    @property
    def steps(self) -> int:
        """Steps of training."""
        return sum(length for _, length in self.segments)

    def plans(self, arms: Mapping[str, Arm], seeds: int) -> dict[str, Plan]:
        """Compile the arms for so many seeds."""
        with booked(self.seconds, "compile"):
            return make_plans(arms, seeds, self.segments, self.limits, self.announce)

    def train(
        self, name: str, arm: Arm, plan: Plan, first: int = 0, points: Sequence[int] | None = None, stage: str = ""
    ) -> Results:
        """Train an arm on the plan's seeds, from `first` on; observers are told of it as `NAMESTAGE`."""
        self.announce(f"training {name}{stage}")
        return train_arm(f"{name}{stage}", arm, plan, self.segments, self.observers, self.seconds, first, points)

    def compute(
        self, name: str, arm: ComputedArm, seeds: int, first: int = 0, points: Sequence[int] | None = None,
        stage: str = "",
    ) -> Results:  # fmt: skip
        """Compute an arm that needs no training, from a seed on; observers are told of it as `NAMESTAGE`."""
        self.announce(f"computing {name}{stage}")
        with booked(self.seconds, "evaluate"):
            results = arm(seeds).isel(seed=slice(first, None), point=slice(None) if points is None else points)
        with booked(self.seconds, "write"):
            for observe in self.observers:
                observe(f"{name}{stage}", Position(self.steps, None, results, results.sizes["point"]))
        return results


def explore(
    arms: Mapping[str, Arm | ComputedArm], seeds: int, plans: Mapping[str, Plan], training: Training
) -> dict[str, Results]:
    """Train every arm on the exploring seeds, the whole of its grid."""
    results = {}
    # What is computed comes first: if it fails, no training is lost to it.
    for name, arm in sorted(arms.items(), key=lambda named: isinstance(named[1], Arm)):
        if isinstance(arm, Arm):
            results[name] = training.train(name, arm, plans[name])
        else:
            results[name] = training.compute(name, arm, seeds)
    return {name: results[name] for name in arms}


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
        fresh = {name: range(arms[name].size, arm.size) for name, arm in grown.items()}
        new = {name: points_of(arm, arms[name].size, len(fresh[name])) for name, arm in grown.items()}
        training.announce("growing grids", sum(seeds * arm.size for arm in new.values()) * training.steps)
        plans = training.plans(new, seeds)
        for name, arm in grown.items():
            more = training.train(name, arm, plans[name], points=fresh[name], stage=f", growth {growth}")
            declared = results[name].attrs.get("declared", arms[name].size)
            together = joined([results[name], more], "point").assign_attrs(declared=declared)
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
    evidence, confirming, plans = Evidence(results), {}, {}
    seeds, first = next(iter(results.values())).sizes["seed"], 0
    wanted = wanted_by(evidence, [*measures_of(evidence), *(claim.measure for claim in claims)])
    for look in looks if wanted else ():
        trained = {name: points for name, points in wanted.items() if isinstance(arms[name], Arm)}
        members = (look - first) * sum(map(len, trained.values()))
        training.announce("confirming", members * training.steps)
        plans = plans or training.plans(padded(arms, trained), look - first)
        for name, points in wanted.items():
            arm = arms[name]
            if isinstance(arm, Arm):
                fresh = training.train(name, arm, plans[name], seeds + first, points, ", confirming")
            else:
                fresh = training.compute(name, arm, seeds + look, seeds + first, points, ", confirming")
            confirming.setdefault(name, []).append(fresh)
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
    wanted: Wanted = {}
    for measure in measures:
        with kept({}, "a choice"):  # what it raises, it raises again where it is judged
            for name, points in points_wanted(evidence, [measure]).items():
                wanted.setdefault(name, set()).update(points)
    return {name: sorted(wanted[name]) for name in evidence if name in wanted}


def padded(arms: Mapping[str, Arm | ComputedArm], wanted: Mapping[str, Sequence[int]]) -> dict[str, Arm]:
    """The arms with as many points as any that is of the same size has chosen, so that they can share a program."""
    trained = {name: arm for name in wanted if isinstance(arm := arms[name], Arm)}
    sizes = {name: size_of(arm) for name, arm in trained.items()}
    most = {size: max(len(wanted[name]) for name in trained if sizes[name] == size) for size in sizes.values()}
    return {name: points_of(arm, 0, most[sizes[name]]) for name, arm in trained.items()}


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
