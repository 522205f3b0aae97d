"""The record of a run: with what it was made, how it ended, and what its folder holds for the report."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wd_research.flags import UserError
from wd_research.reporting.folder import CONFIRMING, RECORD, RESULTS, read_confirming, read_results

if TYPE_CHECKING:
    from wd_research.evidence.measured import Evidence

PACKAGES = ("wd_research", "jax", "jaxlib", "optax", "flax", "numpy", "scipy", "scikit-learn", "xarray", "tensorboardX")


class RunRecord(NamedTuple):
    """The contents of a run's folder that the report shows."""

    name: str  # of the folder
    record: Mapping[str, Any]  # experiment.json
    summary: Mapping[str, Any]  # summary.json; {} where the run did not come so far
    audit: str  # audit.txt
    figures: Mapping[str, bytes]  # name -> SVG, in the order in which they were drawn
    evidence: "Evidence | None" = None  # results.nc and confirming.nc; None where nothing was confirmed


def read_record(folder: Path) -> dict[str, Any]:
    """Read `experiment.json`. Raises UserError, with one sentence, when the folder holds no run."""
    try:
        return json.loads((folder / RECORD).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder} holds no run: name a folder with a file {RECORD}") from error


def read_run(folder: Path) -> RunRecord:
    """Read the record, summary, audit, figures and confirmed results of a run, as far as it came.

    Raises UserError, with one sentence, when the folder holds no run.
    """
    record = read_record(folder)
    summary, audit = folder / "summary.json", folder / "audit.txt"
    drawn = {name: folder / "figures" / f"{name}.svg" for name in record.get("figures", ())}
    return RunRecord(
        folder.resolve().name,
        record,
        json.loads(summary.read_text(), object_hook=_unknown_is_nan) if summary.exists() else {},
        audit.read_text() if audit.exists() else "",
        {name: path.read_bytes() for name, path in drawn.items() if path.exists()},
        read_evidence(folder) if (folder / CONFIRMING).exists() else None,
    )


def read_evidence(folder: Path) -> "Evidence":
    """Read what a run has measured, on exploring seeds and on confirming ones.

    Raises UserError, with one sentence, when it has not measured to its end.
    """
    from wd_research.evidence.measured import Evidence  # here, because the command line needs this file before arrays

    looks = read_record(folder).get("looks", ())
    return Evidence(read_results(folder / RESULTS), read_confirming(folder / CONFIRMING), looks)


def _unknown_is_nan(content: dict[str, Any]) -> dict[str, Any]:
    """Estimates and measurements in which JSON's null is NaN again."""
    numbers = ("mean", "low", "high", "measured", "smallest_effect")
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
