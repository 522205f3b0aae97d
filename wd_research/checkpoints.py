"""Checkpoints: the position of a tile in progress, written beside it so that a run that is killed goes on from there.

One file of NumPy's per position, whole or not at all, whose every array has the CRC-32 of the zip format. Orbax, which
keeps large sharded states, restores a flipped bit and another type in silence (docs/reliability.md).
"""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.reporting.files import memory, read_inside, write_whole
from wd_research.reporting.folder import results_from, results_in
from wd_research.types import Position

KEPT = 2  # positions: should the last be damaged there is one before it
Seconds = dict[str, float]  # what a tile has cost so far, by what it went into


def write_checkpoint(tile: Path, position: Position, cost: Seconds) -> None:
    """Write a position of a tile and its cost so far, and remove the oldest ones.

    Raises UnwritableError where the disk does.
    """
    arrays = {f"leaf{number}": raw(leaf) for number, leaf in enumerate(jax.tree.leaves(position.members))}
    if position.results is not None:
        arrays["results"] = np.frombuffer(results_in({"tile": position.results}), np.uint8)
    arrays["cost"] = np.frombuffer(json.dumps(cost).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(tile.with_name(f"{tile.name}.step{position.step:09d}.npz"), content.getbuffer())
    for earlier in checkpoints(tile)[:-KEPT]:
        with suppress(OSError):
            earlier.unlink()


def checkpoints(tile: Path) -> list[Path]:
    """The positions of a tile that are there, the last one last."""
    return sorted(tile.parent.glob(f"{tile.name}.step*.npz"))


def remove_checkpoints(tile: Path) -> None:
    """Remove the positions of a tile that is finished."""
    for path in checkpoints(tile):
        with suppress(OSError):
            path.unlink()


def last_position(tile: Path, members: Any, warn: Callable[[str], None]) -> tuple[Position | None, Seconds]:
    """The last position of a tile that is whole, and its cost until then; None where there is none.

    `members` are those at its beginning. One that is damaged is named by `warn`, and the one before it is taken.
    """
    for path in reversed(checkpoints(tile)):
        try:
            return read_checkpoint(path, members)
        except UserError as error:
            warn(str(error))
    return None, {}


def read_checkpoint(path: Path, members: Any) -> tuple[Position, Seconds]:
    """A position and its cost. Raises UserError, naming the file, where it is damaged or of other members."""
    try:
        with np.load(io.BytesIO(read_inside(path.parent, path.name, memory())), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        leaves, treedef = jax.tree.flatten(members)
        restored = [restore(found[f"leaf{number}"], leaf) for number, leaf in enumerate(leaves)]
        results: Any = results_from(found["results"].tobytes())["tile"] if "results" in found else None
        cost = json.loads(found["cost"].tobytes())
        if len(found) != len(leaves) + 1 + (results is not None):
            raise ValueError("it is of other members")
    except (ValueError, KeyError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, UserError) as error:
        raise UserError(f"{path.name} is damaged ({error}), and is passed over") from error
    return Position(int(path.stem.rpartition(".step")[2]), jax.tree.unflatten(treedef, restored), results), cost


def raw(leaf: Any) -> np.ndarray:
    """The bytes of an array, of any type that JAX has."""
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.frombuffer(np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes(), np.uint8)


def restore(stored: np.ndarray, like: Any) -> Any:
    """The array on the host that bytes are of, as large as one on a device. Raises ValueError where they cannot be."""
    key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
    shape = jax.eval_shape(jax.random.key_data, like) if key else like
    array = np.frombuffer(stored.tobytes(), shape.dtype).reshape(shape.shape)
    return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like)) if key else array
