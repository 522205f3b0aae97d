"""Jobs: which members of a run are there already, and which tiles are left to train.

Of the members that are wanted those that lie in the folder are read; the rest is cut into tiles, and a program compiled
for each kind of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wd_research.arrays import read_said
from wd_research.reporting.tensorboard import file_name
from wd_research.tiles import (
    TILES,
    Cut,
    Maker,
    Shape,
    Wanted,
    cells,
    check_made,
    is_tile,
    made_of,
    maker,
    missing,
    overlap,
    read_cuts,
    read_tile,
    write_cuts,
)
from wd_research.training.plan import (
    Limits,
    Plan,
    SegmentsOf,
    call_length,
    format_block,
    make_plans,
    plan_as,
    points_at,
)
from wd_research.types import Arm, Results

Announce = Callable[..., None]  # (what begins now, how many member-steps come with it = 0)


class Job(NamedTuple):
    """A tile to train, and how."""

    name: str  # of the arm
    tile: Wanted
    cut: Cut
    number: int  # among all tiles of the arm that are wanted
    chosen: bool  # whether its points are chosen ones
    path: Path  # of the tile when it is finished


class Jobs:
    """What is there of a run, and what is left to train."""

    def __init__(
        self, folder: Path, segments_of: SegmentsOf, limits: Limits, versions: Mapping[str, str], announce: Announce
    ) -> None:  # fmt: skip
        """For the tiles below a folder."""
        self.folder, self.segments_of, self.limits, self.versions = folder / TILES, segments_of, limits, versions
        self.announce, self.makers, self.compiled = announce, {}, {}
        self.known: dict[Path, Results] = {}  # tiles that were read
        self.checked: set[Path] = set()  # checkpoints that may be gone on from
        self.first: dict[str, Cut] = {}  # how each arm was cut at first
        self.plans: dict[tuple[str, Shape], Plan] = {}

    def read(self, name: str, wanted: Wanted) -> dict[str, Results]:
        """The finished tiles that hold members which are wanted, by their names.

        Raises UserError where a tile of the arm, whatever it holds, is damaged or another experiment's.
        """
        folder = self.folder / file_name(name)
        there = {}
        for path in sorted(folder.glob("*.step*.npz")):
            if path not in self.checked and (made := read_said(path)):
                self.check(path, made, name, wanted.arm)
                self.checked.add(path)
        for path in filter(is_tile, sorted(folder.glob("*.nc"))):
            if path not in self.known:
                tile = read_tile(path)
                self.check(path, made_of(tile), name, wanted.arm)
                self.known[path] = tile
            (rows, columns), _ = cells(wanted, self.known[path])
            if len(rows) and len(columns):
                there[path.stem] = self.known[path]
        return there

    def check(self, path: Path, made: Mapping[str, Any], name: str, arm: Arm) -> None:
        """Raise UserError unless what was made so is what training an arm here would make."""
        check_made(path, made, arm, self.maker(name, arm), self.at(arm))

    def at(self, arm: Arm) -> list[int]:
        """The steps after which an arm is evaluated."""
        return [start + length for start, length in self.segments_of(arm)]

    def maker(self, name: str, arm: Arm) -> Maker:
        """What makes the members of an arm, which does not depend on the points."""
        if name not in self.makers:
            self.makers[name] = maker(arm, self.versions)
        return self.makers[name]

    def left(
        self,
        wanted: Mapping[str, Wanted],
        there: Mapping[str, Mapping[str, Results]],
        rooms: Mapping[str, int],
    ) -> tuple[list[Job], dict[tuple[str, Cut], Plan]]:
        """The tiles that are left to train, and the compiled plans of how.

        What an arm trains later goes through its first program, unless there several points advance together.
        """
        cuts, blocks, chosen = {}, {}, bool(rooms)
        for name, members in wanted.items():
            path = self.folder / file_name(name) / f"{members.name}.json"
            cuts[name] = read_cuts(path, members)
            covered = [cells(members, tile)[0] for tile in there[name].values()]
            covered += [overlap(members, cut) for cut in cuts[name]]
            for number, block in enumerate(missing(members, covered)):
                if name in self.first and self.first[name].points_at_once == 1:
                    cuts[name] = write_cuts(path, members, [*cuts[name], *self.first[name].others(block)])
                else:
                    blocks[f"{name} ({number + 1})" if number else name] = name, block, path
        plans = self.planned({key: block for key, (_, block, _) in blocks.items()}, rooms)
        for key, (name, block, path) in blocks.items():
            plan = plans[key]
            room, count = plan.population.points, min(plan.tiles, len(block.points))
            cut = Cut(block.seeds, tuple(block.points), count, room, plan.block, plan.seconds_per_step)
            cuts[name] = write_cuts(path, wanted[name], [*cuts[name], cut])
            self.plans[name, cut.shape] = plan
        self.first = {name: of_arm[0] for name, of_arm in cuts.items() if of_arm} | self.first
        jobs = []
        for name, members in wanted.items():
            tiles = [(tile, cut) for cut in cuts[name] for tile in cut.tiles(members)]
            paths = [self.folder / file_name(name) / f"{tile.name}.nc" for tile, _ in tiles]
            jobs += [
                Job(name, *tiles[k], k, chosen, path) for k, path in enumerate(paths) if path.stem not in there[name]
            ]
        return jobs, {(job.name, job.cut): self.plan_of(job) for job in jobs}

    def plan_of(self, job: Job) -> Plan:
        """The plan of a tile, compiled unless it is there."""
        key = job.name, job.cut.shape
        if key not in self.plans:
            self.announce(f"compiling {job.name}")
            seeds, room, block = job.cut.shape
            length = call_length(self.segments_of(job.tile.arm))
            how = block, job.cut.seconds_per_step, self.compiled
            self.plans[key] = plan_as(filled(job.tile, room), seeds, length, *how)
        return self.plans[key]

    def planned(self, blocks: Mapping[str, Wanted], rooms: Mapping[str, int]) -> dict[str, Plan]:
        """Plan and compile blocks of members."""
        arms = {}
        for key, block in blocks.items():
            room = max(rooms.get(key, 0), len(block.points))
            arms[key] = filled(block, room)
        seeds = {key: len(block.seeds) for key, block in blocks.items()}
        return make_plans(arms, seeds, self.segments_of, self.limits, self.announce, self.compiled)

    def made(self, job: Job, plan: Plan, cost: Mapping[str, float]) -> dict[str, Any]:
        """What a tile says of how it was made: what its numbers depend on, and what they cost."""
        how = {"block": format_block(plan.block), "room": job.cut.room, "seconds": cost}
        return {**self.maker(job.name, job.tile.arm).of(job.tile.arm, job.tile.seeds, self.at(job.tile.arm)), **how}


def filled(block: Wanted, room: int) -> Arm:
    """The arm with the points of a block, and copies of the last until there are so many."""
    return points_at(block.arm, np.pad(block.points, (0, room - len(block.points)), mode="edge"))
