"""The record of a run: with what it was made, how it ended, and what its folder holds for the report."""

import math
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wd_research.flags import UserError
from wd_research.reporting import schema
from wd_research.reporting.checksums import check_files, check_record
from wd_research.reporting.files import read_inside, read_text
from wd_research.reporting.folder import (
    AUDIT,
    CLAIMED,
    CONFIRMING,
    RECORD,
    RESULTS,
    SUMMARY,
    read_confirming,
    read_results,
)
from wd_research.reporting.shapes import fit, parse, told

if TYPE_CHECKING:
    from wd_research.evidence.measured import Evidence

PACKAGES = ("wd_research", "jax", "jaxlib", "optax", "flax", "numpy", "scipy", "scikit-learn", "xarray", "tensorboardX")


class RunRecord(NamedTuple):
    """The contents of a run's folder that the report shows."""

    name: str  # of the folder
    record: Mapping[str, Any]  # experiment.json
    summary: dict[str, Any]  # summary.json; {} where the run did not come so far
    audit: str  # audit.txt
    figures: Mapping[str, bytes]  # name -> SVG, in the order in which they were drawn
    evidence: "Evidence | None" = None  # results.nc and confirming.nc; None where nothing was confirmed
    folder: Path = Path()


def read_record(folder: Path) -> dict[str, Any]:
    """Read `experiment.json`.

    Raises UserError, with one sentence, when the folder holds no run, or the record is not as a run wrote it.
    """
    try:
        text = read_text(folder, RECORD)
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no run: name a folder with a file {RECORD}") from error
    record = check_record(folder, parse(folder / RECORD, text))
    fit(folder / RECORD, record, schema.RECORD)
    return record


def read_run(folder: Path) -> RunRecord:
    """Read the record, summary, audit, figures and confirmed results of a run, as far as it came.

    Only files in the folder are read. Raises UserError, with one sentence, when the folder holds no run, or a file is
    not as the run left it.
    """
    record = read_record(folder)
    if record["status"] == CLAIMED:
        raise UserError(f"{folder} is taken by a run that has not begun: wait for it, or remove the folder")
    check_files(folder, record)
    summary, audit, figures = {}, "", {}
    with suppress(FileNotFoundError):  # here and below: the run did not come so far
        summary = parse(folder / SUMMARY, read_text(folder, SUMMARY), _unknown_is_nan)
    with suppress(FileNotFoundError):
        audit = read_text(folder, AUDIT)
    for name in record.get("figures", ()):
        with suppress(FileNotFoundError):
            figures[name] = read_inside(folder, f"figures/{name}.svg")
    evidence = measured(folder, record) if (folder / CONFIRMING).exists() else None
    return RunRecord(folder.resolve().name, record, summary, audit, figures, evidence, folder)


def read_evidence(folder: Path) -> "Evidence":
    """Read what a run has measured, on exploring seeds and on confirming ones.

    Raises UserError, with one sentence, when it has not measured to its end, or its results are not as it left them.
    """
    record = read_record(folder)
    check_files(folder, record, RESULTS, CONFIRMING)
    evidence = measured(folder, record)
    fit(folder / RECORD, record, {"seeds": schema.WHOLE, "steps": schema.WHOLE})
    return evidence


def measured(folder: Path, record: Mapping[str, Any]) -> "Evidence":
    """The evidence in a folder, unchecked."""
    from wd_research.evidence.measured import Evidence  # here, because the command line needs this file before arrays

    return Evidence(read_results(folder / RESULTS), read_confirming(folder / CONFIRMING), record.get("looks", ()))


def check_shown(run: RunRecord) -> None:
    """Raise UserError, naming the file and the key, unless a run has all that the page shows, as it can be shown."""
    fit(run.folder / RECORD, run.record, schema.PAGE)
    if run.summary:
        schema.fit_summary(run.folder / SUMMARY, run.summary)
    if run.evidence:
        check_confirmed(run.folder, run.evidence)


def check_confirmed(folder: Path, evidence: "Evidence") -> None:
    """Raise UserError, naming the file and the arm, unless confirmed points can be shown beside explored ones."""
    for name, results in evidence.items():
        schema.fit_results(folder / RESULTS, name, results)
    for name, tiles in evidence.confirming.items():
        for tile in tiles:
            schema.fit_results(folder / CONFIRMING, name, tile)
            known = name in evidence and set(tile["point"].values) <= set(evidence[name]["point"].values)
            if not known or tile["step"][0] > evidence[name]["step"][-1]:
                raise UserError(f"{folder / CONFIRMING}: {told((name,))} has points that {RESULTS} has not; take both "
                                "files from where they are whole, or run it again")  # fmt: skip


def _unknown_is_nan(content: dict[str, Any]) -> dict[str, Any]:
    """Estimates and measurements in which JSON's null is NaN again."""
    numbers = ("mean", "low", "high", "measured", "smallest_effect", "exploring_validation")
    return {key: math.nan if value is None and key in numbers else value for key, value in content.items()}


def surroundings() -> dict[str, Any]:
    """Versions, device, precision of products, and git commit."""
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
