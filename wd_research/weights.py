"""Weights: what members were at the end of training, kept beside their tiles.

A file `tiles/ARM/TILE.weights.npz` has every array of the weights and of the extras, by its name, with the axes [seed,
point] in front.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.arrays import is_key, read_arrays, write_arrays
from wd_research.flags import UserError
from wd_research.results import describe_point
from wd_research.tiles import is_tile, read_tile
from wd_research.types import Arm, Extras, Params, Results


class Kept(NamedTuple):
    """The weights of some members: leaves with the axes [seed, point] in front, by their names."""

    points: Sequence[int]  # places in the tile
    leaves: Mapping[str, Any]  # `params/Dense_0/kernel`, `extras/...`


def write_weights(tile: Path, points: Sequence[int], params: Params, extras: Extras) -> None:
    """Write the weights of a tile's points, which stand at these places in it; the leaves have [seed, point] in front.

    Raises UnwritableError where the disk does.
    """
    places = list(points)
    leaves = {
        name: leaf[:, np.array(places)] if is_key(leaf) else np.asarray(leaf)[:, places]
        for name, leaf in named_leaves(params, extras)
    }
    write_arrays(weights_of(tile), {"points": places}, leaves)


def weights_of(tile: Path) -> Path:
    """The file of the weights of a tile, which may not be there."""
    return tile.with_name(f"{tile.name}.weights.npz")


def named_leaves(params: Params, extras: Extras) -> Iterator[tuple[str, Any]]:
    """The leaves of weights and extras with their names, such as `params/Dense_0/kernel`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path({"params": params, "extras": extras}):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def read_weights(path: Path) -> Kept:
    """What `write_weights` wrote. Raises UserError, naming the file, where it is damaged, FileNotFoundError without."""
    said, leaves = read_arrays(path)
    return Kept(said["points"], leaves)


def member(kept: Kept, arm: Arm, seed: int, point: int) -> tuple[Params, Extras]:
    """The weights and extras of one member, at these places, as the arm's task has them.

    Raises UserError where the task has other leaves.
    """
    drawn = dict(zip(("params", "extras"), jax.eval_shape(arm.task.init, jax.random.key(0)), strict=True))
    found = []
    for name, like in named_leaves(**drawn):
        leaf = kept.leaves.get(name)
        if leaf is None or leaf.shape[2:] != like.shape:
            raise UserError(f"the weights that were kept have no {name} of shape {like.shape}: the task is another")
        found.append(jnp.asarray(leaf[seed, point]))
    trees = jax.tree.unflatten(jax.tree.structure(drawn), found)
    return trees["params"], trees["extras"]


def kept_of(folder: Path, seed: int, point: Mapping[str, float]) -> tuple[Kept, tuple[int, int]]:
    """Among the tiles of an arm the weights that hold a seed at a point, and where it stands there.

    Raises LookupError where none were kept, and UserError, naming the file, where it is damaged.
    """
    for path in filter(is_tile, sorted(folder.glob("*.nc"))):
        with suppress(FileNotFoundError):
            kept = read_weights(weights_of(path.with_suffix("")))
            if places := places_of(read_tile(path), kept, seed, point):
                return kept, places
    raise LookupError(f"the weights of {folder.name} at {describe_point(point)} of seed {seed} were not kept: give "
                      "--keep all, or a seed that confirms")  # fmt: skip


def places_of(tile: Results, kept: Kept, seed: int, point: Mapping[str, float]) -> tuple[int, int] | None:
    """Where the member with a seed and hyperparameters stands among the weights that a tile has kept, if it does."""
    seeds = np.flatnonzero(tile["seed"].to_numpy() == seed)
    same = np.all([tile[name].to_numpy().astype(np.float32) == np.float32(value) for name, value in point.items()],
                  axis=0)  # fmt: skip
    points = [place for place, number in enumerate(kept.points) if same[number]]
    return (int(seeds[0]), points[0]) if len(seeds) and points else None
