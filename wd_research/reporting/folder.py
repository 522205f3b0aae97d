"""The folder of a run: files that other programs rely on, each written whole or not at all."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wd_research.flags import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wd_research.types import Results

RECORD, RESULTS, CONFIRMING = "experiment.json", "results.nc", "confirming.nc"


def claim_folder(workdir: Path) -> Path:
    """Make the folder and see that it can be written and holds no other run.

    Raises UserError, with one sentence, when it cannot.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / ".writable").write_text("")
        (workdir / ".writable").unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"--workdir {workdir} cannot be written: {reason}; name a folder that can") from error
    if (workdir / RECORD).exists():
        raise UserError(f"--workdir {workdir} holds a run already: name another folder, or remove that one")
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


def write_results(path: Path, arms: Mapping[str, "Results"]) -> None:
    """Write the results as netCDF with one group per arm; whole or not at all. `xarray.open_datatree` reads them."""
    import xarray as xr  # here, because the command line needs this file before it needs arrays

    unfinished = path.with_name(f".{path.name}.unfinished")
    xr.DataTree.from_dict({f"/{name}": results for name, results in arms.items()}).to_netcdf(
        unfinished, engine="netcdf4"
    )
    os.replace(unfinished, path)


def write_confirming(path: Path, confirming: Mapping[str, Sequence["Results"]]) -> None:
    """Write the results of the confirming seeds of every arm, round by round; the groups are `ARM/0`, `ARM/1` ..."""
    write_results(path, {f"{name}/{k}": part for name, parts in confirming.items() for k, part in enumerate(parts)})


def read_confirming(path: Path) -> dict[str, list["Results"]]:
    """Read what `write_confirming` wrote; {} where there is nothing."""
    import xarray as xr

    if not path.exists():
        return {}
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return {
            name: [arm.children[str(k)].to_dataset(inherit=False).load() for k in range(len(arm.children))]
            for name, arm in tree.children.items()
        }


def read_results(path: Path) -> dict[str, "Results"]:
    """Read what `write_results` wrote: the results of every arm, in memory.

    Raises UserError, with one sentence, when there is no such file.
    """
    import xarray as xr

    if not path.exists():
        raise UserError(f"{path} does not exist: the run has not measured to its end, so train it first")
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return {name: arm.to_dataset(inherit=False).load() for name, arm in tree.children.items()}


def write_figures(folder: Path, figures: Mapping[str, "Figure"]) -> None:
    """Save every figure as PNG and as SVG, in place of earlier ones."""
    folder.mkdir(exist_ok=True)
    for earlier in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        earlier.unlink()
    for name, figure in figures.items():
        if layout := figure.get_layout_engine():  # laying out takes as long as drawing, and once is enough
            figure.set_dpi(150)  # as it is saved: text is wider at some resolutions than at others
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(folder / f"{name}.png", dpi=150)
        figure.savefig(folder / f"{name}.svg")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text)
    os.replace(unfinished, path)
