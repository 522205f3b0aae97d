"""Checkpoints: the position of a tile in progress, written beside it so that a run that is killed goes on from there.

One file of NumPy's per position, whole or not at all, whose every array has the CRC-32 of the zip format. Orbax, which
keeps large sharded states, restores a flipped bit and another type in silence (docs/reliability.md).
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.reporting.files import memory, open_inside, read_inside, write_whole
from wd_research.reporting.folder import results_from, results_in
from wd_research.types import Position

DAMAGE = (UserError, zipfile.BadZipFile, ValueError, LookupError, TypeError, OSError, EOFError, RuntimeError)
KEPT = 2  # positions: should the last be damaged there is one before it


def write_checkpoint(tile: Path, position: Position, made: Mapping[str, Any]) -> None:
    """Write a position of a tile and what has made it, and remove the oldest ones.

    Raises UnwritableError where the disk does.
    """
    leaves = enumerate(jax.tree.leaves(position.members))
    arrays = {f"leaf{number}{kind}": array for number, leaf in leaves for kind, array in raw(leaf).items()}
    if position.results is not None:
        arrays["results"] = of_bytes(results_in({"tile": position.results}))
    arrays["made"] = of_bytes(json.dumps(made).encode())
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(tile.with_name(f"{tile.name}.step{position.step:09d}.npz"), content.getbuffer())
    for earlier in checkpoints(tile)[:-KEPT]:
        with suppress(OSError):
            earlier.unlink()


def checkpoints(tile: Path) -> list[Path]:
    """The positions of a tile that are there, the last one last."""
    return sorted(tile.parent.glob(f"{tile.name}.step*.npz"))


def made_of_checkpoint(path: Path) -> dict[str, Any] | None:
    """What made a position, which alone is read; None where that cannot be."""
    try:
        with open_inside(path.parent, path.name, memory()) as content, np.load(content, allow_pickle=False) as file:
            return json.loads(file["made"].tobytes())
    except DAMAGE:
        return None


def remove_checkpoints(tile: Path) -> None:
    """Remove the positions of a tile that is finished."""
    for path in checkpoints(tile):
        with suppress(OSError):
            path.unlink()


def last_position(tile: Path, members: Any, warn: Callable[[str], None]) -> tuple[Position | None, dict[str, Any]]:
    """The last position of a tile that is whole, and what made it; None where there is none.

    `members` are those at its beginning. One that is damaged is named by `warn`, and the one before it is taken.
    """
    for path in reversed(checkpoints(tile)):
        try:
            return read_checkpoint(path, members)
        except UserError as error:
            warn(str(error))
    return None, {}


def read_checkpoint(path: Path, members: Any) -> tuple[Position, dict[str, Any]]:
    """A position and what made it. Raises UserError, naming the file, where it is damaged or of other members."""
    try:
        with np.load(io.BytesIO(read_inside(path.parent, path.name, memory())), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        leaves, treedef = jax.tree.flatten(members)
        restored = [
            restore(found.pop(f"leaf{number}"), found.pop(f"leaf{number}keys", None), leaf)
            for number, leaf in enumerate(leaves)
        ]
        results: Any = results_from(found["results"].tobytes())["tile"] if "results" in found else None
        made = json.loads(found["made"].tobytes())
        if found.keys() > {"made", "results"}:
            raise ValueError("it is of other members")
    except DAMAGE as error:
        raise UserError(f"{path.name} is damaged ({error}), and is passed over") from error
    return Position(int(path.stem.rpartition(".step")[2]), jax.tree.unflatten(treedef, restored), results), made


def raw(leaf: Any) -> dict[str, np.ndarray]:
    """The bytes of an array, of any type that JAX has, and of what kind the keys are, if it is of keys."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return {"": of_bytes(np.asarray(leaf).tobytes())}
    kind = str(jax.random.key_impl(leaf))
    return {"": of_bytes(np.asarray(jax.random.key_data(leaf)).tobytes()), "keys": of_bytes(kind.encode())}


def of_bytes(content: bytes | memoryview) -> np.ndarray:
    """Bytes as an array, which a file can hold."""
    return np.frombuffer(content, np.uint8)


def restore(stored: np.ndarray, keys: np.ndarray | None, like: Any) -> Any:
    """The array on the host that bytes are of, as large as one on a device. Raises ValueError where they cannot be."""
    if keys is None:
        return np.frombuffer(stored.tobytes(), like.dtype).reshape(like.shape)
    shape = jax.eval_shape(jax.random.key_data, like)
    data = np.frombuffer(stored.tobytes(), shape.dtype).reshape(shape.shape)
    return jax.random.wrap_key_data(jnp.asarray(data), impl=keys.tobytes().decode())
