"""The run's folder: a contract with other programs, and nothing in it is ever lost."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from wd_research.types import Kept

PACKAGES = ("wd_research", "jax", "jaxlib", "optax", "flax", "numpy", "scipy", "scikit-learn", "xarray", "tensorboardX")
RECORD = "experiment.json"


def claim_folder(workdir: Path) -> Path:
    """Make the folder and see that it can be written and holds no other run.

    Raises ValueError, with one sentence, when it cannot.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / ".writable").write_text("")
        (workdir / ".writable").unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"--workdir {workdir} cannot be written: {reason}; name a folder that can") from error
    if (workdir / RECORD).exists():
        raise ValueError(f"--workdir {workdir} holds a run already: name another folder, or remove that one")
    return workdir


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or the first of `name-2`, `name-3` ... that holds no run yet."""
    candidate, number = parent / name, 1
    while (candidate / RECORD).exists():
        number += 1
        candidate = parent / f"{name}-{number}"
    return candidate


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False, default=str) + "\n")


def finite(content: Any) -> Any:
    """The content of a JSON file with None for every number that is not finite."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_results(path: Path, arms: Mapping[str, "xr.Dataset"]) -> None:
    """Write the results as netCDF with one group per arm; whole or not at all. `xarray.open_datatree` reads them."""
    import xarray as xr  # here, because the command line needs this file before it needs arrays

    unfinished = path.with_name(f".{path.name}.unfinished")
    xr.DataTree.from_dict({f"/{name}": results for name, results in arms.items()}).to_netcdf(
        unfinished, engine="netcdf4"
    )
    os.replace(unfinished, path)


def write_figures(folder: Path, figures: Mapping[str, "Figure"]) -> None:
    """Save every figure as PNG, to look at, and as SVG, to print."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        if layout := figure.get_layout_engine():  # laying out takes as long as drawing, and once is enough
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(folder / f"{name}.png", dpi=150)
        figure.savefig(folder / f"{name}.svg")


def read_run(folder: Path) -> "Kept":
    """What a run has left so far. Raises ValueError, with one sentence, when the folder holds no run."""
    from wd_research.types import Kept  # here, because the command line needs this file before it needs JAX

    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no run: name a folder with a file {RECORD}") from error
    summary, audit = folder / "summary.json", folder / "audit.txt"
    drawn = {name: folder / "figures" / f"{name}.svg" for name in record.get("figures", ())}
    return Kept(
        folder.resolve().name,
        record,
        json.loads(summary.read_text(), object_hook=_unknown_is_nan) if summary.exists() else {},
        audit.read_text() if audit.exists() else "",
        {name: path.read_bytes() for name, path in drawn.items() if path.exists()},
    )


def _unknown_is_nan(content: dict[str, Any]) -> dict[str, Any]:
    """What was NaN before JSON made it null, in estimates and measurements."""
    numbers = ("mean", "low", "high", "measured", "smallest_effect")
    return {key: math.nan if value is None and key in numbers else value for key, value in content.items()}


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def surroundings() -> dict[str, Any]:
    """With what a run was made: versions, device, precision, git commit."""
    import jax

    config: Any = jax.config
    device = jax.devices()[0]
    return {
        "versions": versions(),
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "machine": f"{platform.system()} {platform.machine()}",
            "matmul_precision": config.jax_default_matmul_precision,
        },
        "git_commit": git_commit(),
    }


def versions() -> dict[str, str]:
    """Of Python and of what is installed of PACKAGES: a checkout runs without being installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_commit() -> str | None:
    """The commit of this code, with "+" where the tree differs from it; None outside a git checkout."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
