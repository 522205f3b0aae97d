"""Tiles: a run is the members that are wanted, minus those that are there.

A tile is a block of an arm's seeds by a block of its points, trained by one program from the first step to the last. A
member's numbers depend on its seed, its point and the program alone, never on its neighbours, so that tiles that were
trained apart, on other days or machines, are put together as if they had been one. A finished one is a file
`tiles/ARM/s0-8.p75-1a2b3c4d.nc`, called by its seeds, how many points it has, and a hash of what these are.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.reporting.checksums import digest_of
from wd_research.reporting.files import read_text, unwritable, write_first, write_text
from wd_research.reporting.folder import read_results, write_results
from wd_research.results import UNTRAINED
from wd_research.training.mapped import Block
from wd_research.training.member import Seed, draw_order, evaluate_member, init_member, train_segment
from wd_research.training.programs import text_hash
from wd_research.types import Arm, Results

TILES = "tiles"  # the folder in that of a run
MADE, CHECKSUM = "made", "sha256"  # attributes that tiles alone have: what made it, and of all that it says
VERSIONS = ("jax", "jaxlib", "numpy")  # with others random numbers may be others


class Wanted(NamedTuple):
    """Members of an arm: these seeds at the points that have these numbers."""

    arm: Arm
    seeds: range
    points: Sequence[int]

    @property
    def values(self) -> np.ndarray:
        """The hyperparameters of every point, f32[h, k]; what a point is called may change, these may not."""
        columns = [np.asarray(column, np.float32)[list(self.points)] for column in self.arm.points]
        return np.stack(columns, axis=1)

    @property
    def name(self) -> str:
        """What a file is called that holds them."""
        named = json.dumps(self.arm.points._fields).encode() + self.values.tobytes()
        return f"{span(self.seeds)}.p{len(self.points)}-{hashlib.sha256(named).hexdigest()[:8]}"


def span(seeds: range) -> str:
    """`s0-8`: the first seed, and that behind the last."""
    return f"s{seeds.start}-{seeds.stop}"


# What is there


def read_tile(path: Path) -> Results:
    """A finished tile. Raises UserError, naming the file, where it is damaged or not there."""
    try:
        tile = read_results(path)["tile"]
        if tile.attrs[CHECKSUM] == checksum(tile):
            return tile
    except (UserError, KeyError) as error:
        raise damaged(path) from error
    raise damaged(path)


def damaged(path: Path) -> UserError:
    """The sentence that says what to do about a tile that is not as it was written."""
    return UserError(f"{path} is damaged: remove it and give the command again, which trains it anew")


def write_tile(path: Path, results: Results, made: Mapping[str, Any]) -> None:
    """Write a finished tile, whole or not at all, with what made it and its checksum."""
    results = results.assign_attrs({MADE: json.dumps(made)})
    write_results(path, {"tile": results.assign_attrs({CHECKSUM: checksum(results)})})


def checksum(results: Results) -> str:
    """The SHA-256 of all that results say; HDF5's checksums are of numbers alone."""
    found = hashlib.sha256(json.dumps({str(k): str(v) for k, v in results.attrs.items() if k != CHECKSUM}).encode())
    for name, variable in sorted(results.variables.items(), key=lambda named: str(named[0])):
        found.update(f"{name} {variable.dims} {hash_of(variable.to_numpy())}".encode())
    return found.hexdigest()


def made_of(tile: Results) -> dict[str, Any]:
    """What a tile says of how it was made; {} where it says nothing."""
    try:
        made = json.loads(tile.attrs[MADE])
    except (ValueError, LookupError, TypeError):
        return {}
    return made if isinstance(made, dict) else {}


def cost_of(tile: Results) -> dict[str, float]:
    """The seconds that a tile took, by what they went into."""
    return made_of(tile).get("seconds", {})


def is_tile(path: Path) -> bool:
    """Whether a file is called as a finished tile is; what others put there is not ours."""
    return bool(re.fullmatch(r"s\d+-\d+\.p\d+-[0-9a-f]{8}\.nc", path.name))


def places(values: np.ndarray, tile: Results, fields: Sequence[str]) -> np.ndarray:
    """Where each point f32[h, k] stands in a tile; i64[h], -1 where it does not."""
    columns = [tile[name].to_numpy().astype(np.float32) for name in fields]
    known = {point.tobytes(): place for place, point in enumerate(np.stack(columns, axis=1))}
    return np.array([known.get(point.tobytes(), -1) for point in values])


def cells(wanted: Wanted, tile: Results) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The members that are wanted and in a tile: their indices in the one, and in the other."""
    at = places(wanted.values, tile, wanted.arm.points._fields)
    seeds = {int(seed): place for place, seed in enumerate(tile["seed"].to_numpy())}
    of_seeds = np.array([seeds.get(seed, -1) for seed in wanted.seeds])
    rows, columns = np.flatnonzero(of_seeds >= 0), np.flatnonzero(at >= 0)
    return (rows, columns), (of_seeds[rows], at[columns])


def overlap(wanted: Wanted, block: "Wanted | Cut") -> tuple[np.ndarray, np.ndarray]:
    """The indices of the members that are wanted and in a block of them."""
    seeds = [place for place, seed in enumerate(wanted.seeds) if seed in block.seeds]
    return np.array(seeds, int), np.flatnonzero(np.isin(wanted.points, block.points))


def missing(wanted: Wanted, there: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Wanted]:
    """What is left of the members that are wanted, as blocks of seeds by points; `there` are indices in them."""
    lacks = np.ones((len(wanted.seeds), len(wanted.points)), bool)
    for rows, columns in there:
        lacks[np.ix_(rows, columns)] = False
    alike: dict[bytes, list[int]] = {}  # points that lack the same seeds
    for place, number in enumerate(wanted.points):
        alike.setdefault(lacks[:, place].tobytes(), []).append(number)
    blocks = []
    for which, points in alike.items():
        ends = np.flatnonzero(np.diff(np.pad(np.frombuffer(which, bool).astype(int), 1)))
        blocks += [
            wanted._replace(seeds=wanted.seeds[first:last], points=points)
            for first, last in zip(ends[::2], ends[1::2], strict=True)
        ]
    return blocks


def united(wanted: Wanted, tiles: Iterable[Results], steps: int | None = None) -> Results:
    """The members that are wanted, from tiles; up to an evaluation, by default all of them.

    Members that no tile holds are `UNTRAINED`, and their metrics NaN.
    """
    tiles = [tile.isel(step=slice(steps)).drop_attrs(deep=False).assign_attrs(own_attributes(tile)) for tile in tiles]
    of_tiles = [(tile, *cells(wanted, tile)) for tile in tiles]
    first = tiles[0]
    whole = {}
    for name, variable in first.data_vars.items():
        shape = len(wanted.seeds), len(wanted.points), *variable.shape[2:]
        nothing = np.nan if variable.dtype.kind == "f" else UNTRAINED
        together = np.full(shape, nothing, variable.dtype)
        for tile, here, there in of_tiles:
            together[np.ix_(*here)] = tile[name].to_numpy()[np.ix_(*there)]
        whole[name] = variable.dims, together
    points = zip(wanted.arm.points._fields, wanted.values.T, strict=True)
    coordinates = {"seed": np.array(wanted.seeds), "point": np.array(wanted.points), "step": first["step"].to_numpy()}
    edge = {"edge": first["edge"].to_numpy()} if "edge" in first.coords else {}
    return type(first)(whole, {**coordinates, **edge, **{name: ("point", column) for name, column in points}},
                       first.attrs)  # fmt: skip


def own_attributes(tile: Results) -> dict[str, Any]:
    """The attributes that results have, without what is a tile's alone."""
    return {name: value for name, value in tile.attrs.items() if name not in (MADE, CHECKSUM)}


# How the rest is cut


class Shape(NamedTuple):
    """What a program is compiled for."""

    seeds: int
    room: int  # points
    points_at_once: Block


class Cut(NamedTuple):
    """How a block of members is cut into tiles, which is kept: cut otherwise it would train to other bits."""

    seeds: range
    points: tuple[int, ...]
    parts: int  # how many tiles
    room: int  # points that a tile's program is compiled for
    points_at_once: Block
    seconds_per_step: float
    most_seeds: int = 0  # that the program is compiled for; 0: as many as these

    @property
    def shape(self) -> Shape:
        """What the program of its tiles is compiled for."""
        return Shape(self.most_seeds or len(self.seeds), self.room, self.points_at_once)

    def others(self, block: Wanted) -> "list[Cut]":
        """How a block of other members is cut, so that the same program trains it."""
        points, parts = tuple(block.points), -(-len(block.points) // self.room)
        most = self.shape.seeds
        pieces = [block.seeds[first : first + most] for first in range(0, len(block.seeds), most)]
        return [self._replace(seeds=seeds, points=points, parts=parts, most_seeds=most) for seeds in pieces]

    def tiles(self, wanted: Wanted) -> list[Wanted]:
        """The tiles, whose numbers of points differ by one at most."""
        parts = np.array_split(np.array(self.points), self.parts)
        return [wanted._replace(seeds=self.seeds, points=tuple(part.tolist())) for part in parts]


def write_cuts(path: Path, wanted: Wanted, cuts: Sequence[Cut]) -> list[Cut]:
    """Keep how members that are wanted are cut, and return it; of processes that do so at once the first counts."""
    numbers = {number: place for place, number in enumerate(wanted.points)}
    kept = [
        {**cut._asdict(), "seeds": [cut.seeds.start, cut.seeds.stop],
         "points": [numbers[number] for number in cut.points]}
        for cut in cuts
    ]  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    write = write_first if len(cuts) == 1 else write_text
    write(path, json.dumps({"cuts": kept, CHECKSUM: digest_of({"cuts": kept})}) + "\n")
    return read_cuts(path, wanted)


def read_cuts(path: Path, wanted: Wanted) -> list[Cut]:
    """How members that are wanted were cut; nothing where they were not.

    Raises UserError, naming the file, where it is damaged.
    """
    try:
        content = json.loads(read_text(path.parent, path.name))
        if content[CHECKSUM] != digest_of({"cuts": content["cuts"]}):
            raise ValueError("it is not as it was written")
        kept = content["cuts"]
        points = [tuple(wanted.points[place] for place in cut["points"]) for cut in kept]
        seeds = [range(*cut["seeds"]) for cut in kept]
        return [Cut(**dict[str, Any](cut, seeds=s, points=p)) for cut, s, p in zip(kept, seeds, points, strict=True)]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: remove it; what is not there yet is cut anew") from error


# What made it


class Maker(NamedTuple):
    """What a member's numbers depend on, beside its seed and its point."""

    program: str  # the hash of what one member computes, whatever the population
    data: str
    versions: dict[str, str]
    platform: str

    def of(self, arm: Arm, seeds: Iterable[int], steps: Sequence[int]) -> dict[str, Any]:
        """What a tile says of how it was made."""
        splits = {str(seed): hash_of(arm.task.split(seed)) for seed in seeds}
        return {**self._asdict(), "splits": splits, "steps": list(steps)}


def maker(arm: Arm, versions: Mapping[str, str]) -> Maker:
    """What makes the members of an arm here. Nothing is compiled."""
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], arm.points)
    given = arm.task.data, arm.task.split(0), jax.random.key(0), one, np.int32(0)
    lowered = jax.jit(partial(one_step, arm), keep_unused=True).lower(*given)
    known = {name: versions[name] for name in VERSIONS if name in versions}
    return Maker(text_hash(lowered, alone=False), hash_of(arm.task.data), known, jax.default_backend())


def one_step(arm: Arm, data: Any, split: Any, key: Any, hypers: Any, start: Any) -> Any:
    """A member before its first step, after it, and evaluated: all that is ever computed of one."""
    seed = Seed(data, split, key)
    member = init_member(arm, seed, hypers)
    order = draw_order(arm, key, start, 1)
    after = train_segment(arm, seed, order, start, jnp.int32(1), jnp.bool_(True), member, hypers)
    return member, after, evaluate_member(arm, arm.task.splits(data, split), after.state)


def hash_of(tree: Any) -> str:
    """The SHA-256 of a tree of arrays."""
    found = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        found.update(f"{leaf.dtype}{leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).data if leaf.dtype.kind in "biufc" else leaf.tobytes())
    return found.hexdigest()


def check_made(path: Path, made: Mapping[str, Any], arm: Arm, here: Maker, steps: Sequence[int]) -> None:
    """Raise UserError, saying what differs and what to do, unless what says that it was made so is what training an arm
    here would make.
    """
    try:
        there = Maker(*(made[name] for name in Maker._fields))
        splits, trained = {int(seed): said for seed, said in made["splits"].items()}, list(made["steps"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not say what made it: remove it, or name another folder") from error
    out = "name another folder, or give what that run was given"
    if trained != list(steps):
        raise UserError(
            f"{path} was trained for {trained[-1]} steps with {len(trained)} evaluations, and this run has {steps[-1]} "
            f"with {len(steps)}: schedules depend on the length, so that is another run; name another folder"
        )
    if there.versions != here.versions:
        raise UserError(f"{path} was made with {there.versions}, and here is {here.versions}: {out}")
    if there.platform != here.platform:
        raise UserError(f"{path} was made on a {there.platform}, and here is a {here.platform}: {out}")
    if there.data != here.data:
        raise UserError(f"{path} was trained on other data: {out}")
    if other := [seed for seed, said in splits.items() if said != hash_of(arm.task.split(seed))]:
        raise UserError(f"{path} was trained on another split of seed {other[0]}: {out}")
    if there.program != here.program:
        raise UserError(f"{path} was made by another program: its net, loss, optimizer or observer is another one now, "
                        f"or a package that they come from; {out}")  # fmt: skip
