"""Checkpoints: positions of a tile in progress, beside it, from which a run that was killed goes on."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from wd_research.arrays import read_arrays, write_arrays
from wd_research.flags import UserError
from wd_research.reporting.folder import results_from, results_in
from wd_research.types import Position

KEPT = 2  # positions: should the last be damaged there is one before it
RESULTS = "results"


def write_checkpoint(tile: Path, position: Position, made: Mapping[str, Any]) -> None:
    """Write a position of a tile and what has made it, and remove the oldest ones.

    Raises UnwritableError where the disk does.
    """
    arrays = {f"leaf{number}": leaf for number, leaf in enumerate(jax.tree.leaves(position.members))}
    if position.results is not None:
        arrays[RESULTS] = np.frombuffer(results_in({"tile": position.results}), np.uint8)
    write_arrays(tile.with_name(f"{tile.name}.step{position.step:09d}.npz"), made, arrays)
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


def last_position(tile: Path, members: Any, warn: Callable[[str], None]) -> tuple[Position | None, dict[str, Any]]:
    """The last position of a tile that is whole, and what made it; None where there is none.

    `members` are those at its beginning. One that is damaged is named by `warn`, and the one before it is taken.
    """
    for path in reversed(checkpoints(tile)):
        try:
            return read_checkpoint(path, members)
        except (UserError, FileNotFoundError) as error:
            warn(f"{error}; it is passed over")
    return None, {}


def read_checkpoint(path: Path, members: Any) -> tuple[Position, dict[str, Any]]:
    """A position and what made it. Raises UserError, naming the file, where it is damaged or of other members."""
    made, arrays = read_arrays(path)
    stored, leaves = arrays.pop(RESULTS, None), jax.tree.leaves(members)
    if [(leaf.shape, leaf.dtype) for leaf in arrays.values()] != [(leaf.shape, leaf.dtype) for leaf in leaves]:
        raise UserError(f"{path} is of other members")
    try:
        results: Any = None if stored is None else results_from(stored.tobytes())["tile"]
    except (ValueError, LookupError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    step = int(path.stem.rpartition(".step")[2])
    return Position(step, jax.tree.unflatten(jax.tree.structure(members), arrays.values()), results), made
