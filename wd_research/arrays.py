"""Arrays of any type that JAX has, in one file with a head that says what they are.

The file is NumPy's, written whole or not at all, and every array in it has the CRC-32 of the zip format. Orbax, which
keeps large sharded states, restores a flipped bit and another type in silence (docs/reliability.md).
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.reporting.files import memory, open_inside, write_whole

HEAD = "head"


def write_arrays(path: Path, said: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write arrays by their names, and what JSON says of them. Raises UnwritableError where the disk does."""
    kinds, stored = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        keys = str(jax.random.key_impl(array)) if is_key(array) else ""
        plain = np.asarray(jax.random.key_data(array) if keys else array)
        kinds[name] = [str(plain.dtype), plain.shape, keys]
        stored[f"array{number}"] = np.frombuffer(plain.tobytes(), np.uint8)
    head = json.dumps({"said": said, "kinds": kinds}).encode()
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{HEAD: np.frombuffer(head, np.uint8)}, **stored)
    write_whole(path, content.getbuffer())


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of arrays, and the arrays by their names.

    Raises FileNotFoundError where there is no such file, and UserError, naming it, where it is damaged.
    """
    with open_inside(path.parent, path.name, memory()) as content:
        try:
            with np.load(content, allow_pickle=False) as file:
                head = json.loads(file[HEAD].tobytes())
                arrays = {}
                for number, (name, (dtype, shape, keys)) in enumerate(head["kinds"].items()):
                    plain = np.frombuffer(file[f"array{number}"].tobytes(), jnp.dtype(dtype)).reshape(shape)
                    arrays[name] = jax.random.wrap_key_data(jnp.asarray(plain), impl=keys) if keys else plain
                return head["said"], arrays
        except Exception as error:  # whatever a damaged file makes NumPy and zipfile stumble over
            raise UserError(f"{path} is damaged ({error})") from error


def read_said(path: Path) -> dict[str, Any]:
    """What is said of the arrays in a file, which alone is read; {} where that cannot be."""
    try:
        with open_inside(path.parent, path.name, memory()) as content, np.load(content, allow_pickle=False) as file:
            return dict(json.loads(file[HEAD].tobytes())["said"])
    except Exception:  # whatever a damaged file makes NumPy and zipfile stumble over
        return {}


def is_key(array: Any) -> bool:
    """Whether an array is of JAX's random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
