"""The folder of a run: files that other programs rely on, each written whole or not at all."""

import errno
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wd_research.flags import UserError
from wd_research.reporting.files import (
    UnwritableError,
    memory,
    plain,
    read_inside,
    unwritable,
    write_text,
    write_whole,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import DataTree

    from wd_research.types import Results

RECORD, RESULTS, CONFIRMING = "experiment.json", "results.nc", "confirming.nc"
SUMMARY, AUDIT = "summary.json", "audit.txt"
ROOM = 2**30  # bytes that a small file may become: what others compressed
CLAIMED = "claimed"  # the status of a run that has a folder, and nothing in it


def make_folder(workdir: Path) -> None:
    """Make the folder of a run. Raises UserError, with one sentence, when it cannot be made or written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        code = errno.EROFS if os.statvfs(workdir).f_flag & os.ST_RDONLY else errno.EACCES
        writable = os.access(workdir, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:  # the latter where a path has a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--workdir {workdir} cannot be written: {reason}; name a folder that can") from error
    if not writable:
        raise UserError(f"--workdir {workdir} cannot be written: {os.strerror(code)}; name a folder that can")


def claim_folder(workdir: Path) -> Path:
    """Make the folder, and in it a record that says that it is taken: of two runs at one moment one can do that.

    Raises UserError, with one sentence, when the folder cannot be written or holds a run already.
    """
    make_folder(workdir)
    try:
        descriptor = os.open(workdir / RECORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if isinstance(error, FileExistsError):
            taken = f"--workdir {workdir} holds a run already: name another folder, or remove that one"
            raise UserError(taken) from None
        reason = error.strerror or str(error)
        raise UserError(f"--workdir {workdir} cannot be written: {reason}; name a folder that can") from error
    try:
        with open(descriptor, "w") as file:
            json.dump({"status": CLAIMED, "flags": {}}, file)
    except OSError as error:
        with suppress(OSError):
            (workdir / RECORD).unlink()
        raise unwritable(workdir / RECORD, error) from error
    return workdir


def new_folder(parent: Path, name: str) -> Path:
    """The first of `name`, `name-2`, `name-3` ... in a folder that holds no run yet, made and claimed."""
    while True:
        folder = free_folder(parent, name)
        try:
            return claim_folder(folder)
        except UserError:
            if not os.path.lexists(folder / RECORD):  # else another run has just taken it
                raise


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or the first of `name-2`, `name-3` ... that holds no run yet."""
    candidate, number = parent / name, 1
    while os.path.lexists(candidate / RECORD):
        number += 1
        candidate = parent / f"{name}-{number}"
    return candidate


def rescued(write: Callable[[Path, Any], None], path: Path, content: Any) -> None:
    """Write what training made; where the folder cannot take it, beside the system's temporary files.

    Raises UnwritableError then, which says where it is.
    """
    try:
        write(path, content)
    except UnwritableError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="wd_research-")) / path.name
        write(elsewhere, content)
        raise UnwritableError(f"{error}; what was trained is in {elsewhere} instead") from error


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
    """Write the results as netCDF with one group per arm; whole or not at all. `xarray.open_datatree` reads them.

    Raises UnwritableError, with one sentence, where the disk is full or the folder gone.
    """
    # in memory, because HDF5 opens a path by itself, follows links, and does not say why it failed
    write_whole(path, results_in(arms))


def results_in(arms: Mapping[str, "Results"]) -> memoryview:
    """The content of a file with the results of arms.

    Every block of numbers has HDF5's Fletcher32, so that a changed bit is an error on reading and not another number.
    """
    import xarray as xr  # here, because the command line needs this file before it needs arrays

    order = json.dumps(list(dict.fromkeys(name.partition("/")[0] for name in arms)))  # a file in memory keeps none
    groups = {f"/{name}": results.drop_encoding() for name, results in arms.items()}
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"order": order}), **groups})
    checked = {
        node.path: {name: {"fletcher32": True} for name in node.to_dataset(inherit=False).variables}
        for node in tree.subtree
    }
    return tree.to_netcdf(engine="netcdf4", encoding=checked)


def write_confirming(path: Path, confirming: Mapping[str, Sequence["Results"]]) -> None:
    """Write the results of the confirming seeds of every arm, round by round; the groups are `ARM/0`, `ARM/1` ..."""
    write_results(path, {f"{name}/{k}": part for name, parts in confirming.items() for k, part in enumerate(parts)})


def read_confirming(path: Path) -> dict[str, list["Results"]]:
    """Read what `write_confirming` wrote; {} where there is nothing. Raises UserError when it is damaged."""
    try:
        tree = read_tree(path)
    except FileNotFoundError:
        return {}
    return {
        name: [arm.children[str(k)].to_dataset(inherit=False) for k in range(len(arm.children))]
        for name, arm in tree.items()
    }


def read_results(path: Path) -> dict[str, "Results"]:
    """Read what `write_results` wrote: the results of every arm, in memory.

    Raises UserError, with one sentence, when there is no such file, or it is damaged.
    """
    try:
        tree = read_tree(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: the run has not measured to its end, so train it first") from error
    return {name: arm.to_dataset(inherit=False) for name, arm in tree.items()}


def variables_of(group: Any) -> Iterator[Any]:
    """The variables of a netCDF group and of all groups in it."""
    yield from group.variables.values()
    for inner in group.groups.values():
        yield from variables_of(inner)


def size_of(variable: Any) -> int:
    """The bytes of a variable in memory; of texts, which have any length, those of their addresses."""
    return math.prod(variable.shape) * getattr(variable.dtype, "itemsize", 8)


def read_tree(path: Path) -> dict[str, "DataTree"]:
    """The groups of a netCDF file, in memory and in the order of writing.

    Raises FileNotFoundError where there is none, and UserError when it is damaged.
    """
    content = read_inside(path.parent, path.name, memory())
    try:
        return tree_from(content)
    except Exception as error:  # whatever a damaged file makes the readers stumble over
        raise UserError(f"{path} is damaged ({error}): take it from where it is whole, or run it again") from error


def tree_from(content: bytes) -> dict[str, "DataTree"]:
    """The groups in the content of a netCDF file, in memory and in the order of writing; raises anything if it is
    damaged.
    """
    import xarray as xr
    from netCDF4 import Dataset

    with Dataset("in memory", memory=content) as file:
        promised = sum(map(size_of, variables_of(file)))
    if promised > max(len(content), ROOM):
        raise ValueError(f"it promises {promised:,} bytes of numbers and has {len(content):,}")
    with xr.open_datatree(content, engine="netcdf4") as tree:
        order = json.loads(tree.attrs.get("order", "null")) or list(tree.children)
        for node in tree.subtree:  # DataTree.load leaves out a variable that is called as a group is
            for variable in node.variables.values():
                variable.load()
        return {name: tree.children[name] for name in sorted(tree.children, key=order.index)}


def results_from(content: bytes) -> dict[str, "Results"]:
    """The results of arms in the content of a file. Raises ValueError where it is damaged."""
    try:
        return {name: arm.to_dataset(inherit=False) for name, arm in tree_from(content).items()}
    except Exception as error:  # whatever a damaged file makes the readers stumble over
        raise ValueError(f"results are damaged: {error}") from error


def write_figures(folder: Path, figures: Mapping[str, "Figure"]) -> None:
    """Save every figure as PNG and as SVG, in place of earlier ones.

    Raises UserError when a name is none of a file or the folder is a link, and UnwritableError, one too, when a file
    cannot be written.
    """
    for name in figures:
        if not plain(name):
            raise UserError(f"no figure can be called {name[:80]!r}: give it the name of a file, such as accuracy")
    if folder.is_symlink():
        raise UserError(f"{folder} is a link: remove it, for figures are written into the folder of the run alone")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    for name, figure in figures.items():
        if layout := figure.get_layout_engine():  # laying out takes as long as drawing, and once is enough
            figure.set_dpi(150)  # as it is saved: text is wider at some resolutions than at others
            layout.execute(figure)
            figure.set_layout_engine("none")
        for kind in ("png", "svg"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=150 if kind == "png" else "figure")
            write_whole(folder / f"{name}.{kind}", drawn.getbuffer())
    for earlier in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if earlier.stem not in figures:
            with suppress(OSError):
                earlier.unlink()
