"""Weights: what members were at the end of training, kept beside their tiles.

A file `tiles/ARM/TILE.weights.npz` has every array of the weights and of the extras with the axes [seed, point] in
front, and the name of each; of NumPy's, whole or not at all, with the CRC-32 of the zip format for every array.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.reporting.files import memory, read_inside, write_whole
from wd_research.results import describe_point
from wd_research.tiles import read_tile
from wd_research.types import Arm, Extras, Params, Results

KEEP = ("best", "all", "none")


class Kept(NamedTuple):
    """The weights of some members: leaves with the axes [seed, point] in front, by their names."""

    points: Sequence[int]  # places in the tile
    params: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray]


def write_weights(tile: Path, points: Sequence[int], params: Params, extras: Extras) -> None:
    """Write the weights of a tile's points, which stand at these places in it; the leaves have [seed, point] in front.

    Raises UnwritableError where the disk does.
    """
    arrays, described = {}, []
    for kind, tree in (("params", params), ("extras", extras)):
        for name, leaf in named_leaves(tree):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # noise, which nothing outside training needs
                continue
            array = np.ascontiguousarray(np.asarray(leaf)[:, list(points)])
            arrays[f"leaf{len(described)}"] = np.frombuffer(array.tobytes(), np.uint8)
            described.append([kind, name, str(array.dtype), array.shape])
    head = json.dumps({"points": list(points), "leaves": described})
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, head=np.frombuffer(head.encode(), np.uint8), **arrays)
    write_whole(weights_of(tile), content.getbuffer())


def weights_of(tile: Path) -> Path:
    """The file of the weights of a tile, which may not be there."""
    return tile.with_name(f"{tile.name}.weights.npz")


def named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of a tree with their names, such as `Dense_0/kernel`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def read_weights(path: Path) -> Kept:
    """What `write_weights` wrote. Raises UserError, naming the file, where it is damaged, FileNotFoundError without."""
    content = read_inside(path.parent, path.name, memory())
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            trees: dict[str, dict[str, np.ndarray]] = {"params": {}, "extras": {}}
            for number, (kind, name, dtype, shape) in enumerate(head["leaves"]):
                trees[kind][name] = np.frombuffer(file[f"leaf{number}"].tobytes(), jnp.dtype(dtype)).reshape(shape)
        return Kept(head["points"], **trees)
    except (ValueError, KeyError, TypeError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}): remove it; the members train anew without their tile") from error


def member(kept: Kept, arm: Arm, seed: int, point: int) -> tuple[Params, Extras]:
    """The weights and extras of one member, at these places, as the arm's task has them.

    Raises UserError where the task has other leaves.
    """
    trees = []
    for tree, leaves in zip(jax.eval_shape(arm.task.init, jax.random.key(0)), (kept.params, kept.extras), strict=True):
        found = {}
        for name, like in named_leaves(tree):
            leaf = leaves.get(name)
            if leaf is None or leaf.shape[2:] != like.shape:
                raise UserError(f"the weights that were kept have no {name} of shape {like.shape}: the task is another")
            found[name] = jnp.asarray(leaf[seed, point])
        trees.append(jax.tree.unflatten(jax.tree.structure(tree), found.values()))
    return tuple(trees)


def kept_of(folder: Path, seed: int, point: Mapping[str, float]) -> tuple[Kept, tuple[int, int]]:
    """Among the tiles of an arm the weights that hold a seed at a point, and where it stands there.

    Raises LookupError where none were kept, and UserError, naming the file, where it is damaged.
    """
    for path in sorted(folder.glob("*.nc")):
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
