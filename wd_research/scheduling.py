"""Scheduling: who trains which tile, from where on, and who is told of it.

Every tile that is left, and that no other process holds, is trained from its last checkpoint on.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wd_research.checkpoints import last_position, remove_checkpoints, write_checkpoint
from wd_research.evidence.choices import choose
from wd_research.evidence.selection import can_be_tuned
from wd_research.jobs import Announce, Job, Jobs
from wd_research.leases import Leases
from wd_research.reporting.files import UnwritableError
from wd_research.reporting.folder import rescued
from wd_research.signals import held
from wd_research.tiles import Cut, Wanted, cost_of, read_tile, united, write_tile
from wd_research.training.loop import PIECE, Pace, Seconds, booked, train_tile
from wd_research.training.plan import Limits, Plan, SegmentsOf
from wd_research.types import ComputedArm, Observer, Position, Results
from wd_research.weights import write_weights

COSTS = ("train", "evaluate")
WAITING = 1.0  # seconds between two looks at tiles that other processes train


class IncompleteError(Exception):
    """A share of a run is trained, and what is left is for others."""


class Share(NamedTuple):
    """Which of the tiles this process takes: every `of`-th, from `number` on."""

    number: int = 0
    of: int = 1


class How(NamedTuple):
    """How a run trains, whatever its experiment is."""

    limits: Limits = Limits()
    checkpoint_every: float = 60.0  # seconds after which a position is written that a killed run goes on from
    keep: str = "best"  # whose weights: "best" of chosen points, "all", or "none"
    share: Share | None = None  # of the tiles, which alone are trained
    join: bool = False  # other processes, which may train in the folder at the same time
    audit: bool = True  # what decay does, before the run and at the best decay


def warn(sentence: str) -> None:
    """Say on standard error what went wrong and costs no training."""
    with suppress(OSError, ValueError, AttributeError):
        print(f"warning: {sentence}", file=sys.stderr, flush=True)


class Training:
    """How the members of a run are trained, whichever they are; what is trained stays in a folder of tiles."""

    def __init__(
        self, folder: Path, segments_of: SegmentsOf, how: How, versions: Mapping[str, str], *,
        leases: Leases | None = None, observers: Sequence[Observer] = (),
        announce: Announce = lambda what, member_steps=0: None,
        advance: Callable[[int], None] = lambda member_steps: None,
    ) -> None:  # fmt: skip
        """For tiles below a folder; observers are told of every evaluation, `advance` of every piece."""
        self.jobs = Jobs(folder, segments_of, how.limits, versions, announce)
        self.segments_of, self.how, self.leases = segments_of, how, leases or Leases()
        self.observers, self.announce, self.advance = observers, announce, advance
        self.seconds: Seconds = dict.fromkeys(("audit", "compile", "train", "evaluate", "write"), 0.0)
        self.plans: dict[str, Plan] = {}  # of the arms on exploring seeds
        self.costs: dict[tuple[str, str], Seconds] = {}  # of every tile that was used, whoever trained it

    def train(
        self, wanted: Mapping[str, Wanted], stage: str = "", rooms: Mapping[str, int] | None = None
    ) -> dict[str, Results]:
        """The results of the members that are wanted of every arm; observers are told of them as `NAMESTAGE`.

        A program is compiled for `rooms` points, by default for as many as are wanted. Raises UserError where the
        folder holds members of another experiment, and IncompleteError where others are to train what is left.
        """
        there = {name: self.jobs.read(name, members) for name, members in wanted.items()}
        with booked(self.seconds, "compile"):
            jobs, plans = self.jobs.left(wanted, there, rooms or {})
        if not stage:
            self.plans |= {job.name: plans[job.name, job.cut] for job in jobs}
        share = Share() if stage else self.how.share or Share()  # what explores is shared; who comes last goes on
        mine = [job for job in jobs if job.number % share.of == share.number]
        for name, members in wanted.items():
            of_arm = [job for job in mine if job.name == name]
            left = sum(len(job.tile.seeds) * len(job.tile.points) for job in of_arm)
            if left:
                self.announce(f"training {name}{stage}", left * self.jobs.at(members.arm)[-1])
            tell = Telling(self, f"{name}{stage}", members)
            last = len(of_arm) == sum(job.name == name for job in jobs)
            for tile, results in self.finished(of_arm, plans, there[name], tell if last else None):
                there[name][tile] = results
            if last:
                tell(there[name].values())
            self.costs |= {(name, tile): cost_of(results) for tile, results in there[name].items()}
        if len(mine) < len(jobs):
            raise IncompleteError(f"this share is trained, {len(mine)} of {len(jobs)} tiles; once all others are, "
                                  "--join confirms and concludes")  # fmt: skip
        return {name: united(members, there[name].values()) for name, members in wanted.items()}

    @property
    def all_seconds(self) -> Seconds:
        """What went into what: training and evaluating in all processes, the rest in this one."""
        return self.seconds | {name: sum(cost.get(name, 0.0) for cost in self.costs.values()) for name in COSTS}

    def finished(
        self, jobs: Sequence[Job], plans: Mapping[tuple[str, Cut], Plan], there: Mapping[str, Results],
        tell: "Telling | None",
    ) -> Iterator[tuple[str, Results]]:  # fmt: skip
        """Train every tile that no other process trains, wait for the others, and yield each as it is finished.

        With `tell` they are all the rest of an arm, and are told of.
        """
        there, left, before = dict(there), list(jobs), len(there)
        while left:
            taken = []
            for job in left:
                with self.leases.taken(job.path.with_suffix(".claim")) as mine:
                    if mine and not job.path.exists():
                        last = len(there) == before + len(jobs) - 1
                        told = tell.beside(there) if tell and last and self.observers else None
                        self.train_one(job, plans[job.name, job.cut], told)
                if not job.path.exists():
                    taken.append(job)
                    continue
                there[job.path.stem] = self.jobs.known[job.path] = read_tile(job.path)
                yield job.path.stem, there[job.path.stem]
            if len(taken) == len(left):
                self.announce(f"waiting for {len(left)} tile(s) that other processes train")
                time.sleep(WAITING)
            left = taken

    def train_one(self, job: Job, plan: Plan, tell: Callable[[Position], None] | None) -> None:
        """Train a tile to its end and write it, and tell of its evaluations."""
        tile, stem, segments = job.tile, job.path.with_suffix(""), self.segments_of(job.tile.arm)
        population, shape = plan.population, (len(tile.seeds), len(tile.points))
        since, made = last_position(stem, population.of_tile(*shape), warn)
        if since:
            since = since._replace(members=population.filled(since.members))
        cost = made.get("seconds", {})
        before = {name: self.seconds[name] - cost.get(name, 0.0) for name in COSTS}
        if since:
            done = since.step * len(tile.seeds) * len(tile.points)
            self.announce(f"training {job.name} from step {since.step} on", -done)
        step, saved, position = since.step if since else 0, time.monotonic(), since
        pace = Pace(max(1, int(PIECE / plan.seconds_per_step)) if plan.seconds_per_step else 1)
        with held() as signalled:
            for position in train_tile(plan.population, tile.arm, tile.points, segments, self.seconds,
                                       tile.seeds, pace, since):  # fmt: skip
                self.advance((position.step - step) * len(tile.seeds) * len(tile.points))
                step = position.step
                if position.evaluated and tell:
                    tell(of_tile(position, tile, plan))
                if step < sum(segments[-1]) and (signalled() or time.monotonic() - saved >= self.how.checkpoint_every):
                    self.save(stem, of_tile(position, tile, plan), self.jobs.made(job, plan, self.cost(before)))
                    saved = time.monotonic()
                    if signalled():
                        break
            else:
                assert position is not None, "a tile has at least one step"
                with booked(self.seconds, "write"):
                    self.keep_weights(job, of_tile(position, tile, plan))
                    made = self.jobs.made(job, plan, self.cost(before))
                    rescued(partial(write_tile, made=made), job.path, position.results)
                remove_checkpoints(stem)

    def keep_weights(self, job: Job, position: Position) -> None:
        """Keep the weights of a tile's best point, of all its points, or of none; where that fails it is said."""
        points = range(len(job.tile.points))
        if self.how.keep == "best" and not job.chosen:
            points = index_of_best(position.results)
        if self.how.keep != "none" and points:
            state = position.members.state
            try:
                write_weights(job.path.with_suffix(""), points, state.params, state.extras)
            except UnwritableError as error:
                warn(f"{error}; the run goes on without these weights")

    def cost(self, before: Seconds) -> Seconds:
        """The seconds since, by what they went into."""
        return {name: round(self.seconds[name] - before[name], 3) for name in COSTS}

    def save(self, stem: Path, position: Position, made: Mapping[str, Any]) -> None:
        """Write a checkpoint; where that fails it is said, and training goes on."""
        try:
            with booked(self.seconds, "write"):
                write_checkpoint(stem, position, made)
        except UnwritableError as error:
            warn(f"{error}; training goes on without this checkpoint")

    def compute(
        self, name: str, arm: ComputedArm, seeds: range, points: Sequence[int] | None = None, stage: str = ""
    ) -> Results:
        """Compute an arm that needs no training; observers are told of it as `NAMESTAGE`."""
        self.announce(f"computing {name}{stage}")
        with booked(self.seconds, "evaluate"):
            results = arm(seeds.stop).isel(
                seed=slice(seeds.start, None), point=slice(None) if points is None else points
            )
        with booked(self.seconds, "write"):
            for observe in self.observers:
                observe(f"{name}{stage}", Position(int(results["step"][-1]), None, results))
        return results


def of_tile(position: Position, tile: Wanted, plan: Plan) -> Position:
    """A position whose members, [s, h], this host can read, and are those of a tile alone."""
    members = plan.population.on_host(position.members)
    return position._replace(members=plan.population.cut(members, len(tile.seeds), len(tile.points)))


def index_of_best(results: Results) -> list[int]:
    """Where the point stands that validation data choose; nowhere without validation data."""
    if not can_be_tuned(results):
        return []
    return np.flatnonzero(results["point"].to_numpy() == choose(results).point).tolist()


class Telling:
    """Tells observers of every evaluation of an arm once, as soon as all members that are wanted have come to it."""

    def __init__(self, training: Training, name: str, wanted: Wanted) -> None:
        """Nothing is told yet."""
        self.training, self.name, self.wanted, self.told = training, name, wanted, 0

    def __call__(self, tiles: Iterable[Results], members: Any = None) -> None:
        """Tell of what tiles, which hold all members together, have that was not told; `members` train, if any do."""
        if not self.training.observers:
            return
        tiles = list(tiles)
        reached = min(tile.sizes["step"] for tile in tiles)
        with booked(self.training.seconds, "write"):
            for count in range(self.told + 1, reached + 1):
                results = united(self.wanted, tiles, count)
                step = int(results["step"][-1])
                position = Position(step, members if count == reached else None, results)
                for observe in self.training.observers:
                    observe(self.name, position)
        self.told = max(self.told, reached)

    def beside(self, others: Mapping[str, Results]) -> Callable[[Position], None]:
        """Tell of the position of a tile, beside all the rest of the arm."""
        return lambda position: self([*others.values(), position.results], position.members)
