"""Whether two checkouts measure the same: every experiment with few seeds and steps, compared to the last digit.

    python scripts/same_measurements.py run FOLDER --checkout CHECKOUT    # every experiment of a checkout, in little
    python scripts/same_measurements.py compare BEFORE AFTER              # names what differs; exit code 1 if any does

Compared are the best points, comparisons and claims of each summary, every variable of results.nc and confirming.nc,
and every scalar of the event files. Runs take blocks of one point, so that no timing decides how members are trained.
"""

import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import xarray as xr

ROOT = Path(__file__).parent.parent
FLAGS = {  # where fewer steps would be refused, or would leave no claim to be measured
    "gradients_at_the_end": {"--steps": "1000"},
    "rotational_equilibrium": {"--steps": "100"},
    "shrinking_weight": {"--steps": "400"},
    "choosing": {"--side": "6"},
    "krogh_hertz": {"--steps": "1000"},
    "double_descent": {"--steps": "300"},
}
TIMED = ("training_time",)  # measures the clock
Positional = tyro.conf.Positional


def run(folder: Positional[Path], checkout: Path = ROOT, seeds: int = 3, steps: int = 40) -> None:
    """Run every experiment of a checkout with few seeds and steps.

    Args:
        folder: Where the runs go, a folder each.
        checkout: The checkout whose experiments are run.
        seeds: Seeds of each.
        steps: Steps of each, but for those that need more.
    """
    for path in sorted((checkout / "experiments").rglob("*.py")):
        if "\ndef experiment(" not in path.read_text() or (folder / path.stem / "summary.json").exists():
            continue
        module = ".".join(path.relative_to(checkout).with_suffix("").parts)
        flags = {
            "--seeds": str(seeds),
            "--steps": str(steps),
            "--block": block_of(checkout),
            **FLAGS.get(path.stem, {}),
        }
        words = [word for flag in flags.items() for word in flag]
        command = [sys.executable, "-m", module, "--workdir", str((folder / path.stem).resolve()), *words]
        done = subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True)
        print(f"{module}: exit code {done.returncode}{done.stderr[-2000:] if done.returncode else ''}", flush=True)


def block_of(checkout: Path) -> str:
    """What a checkout calls the training of one point after the other."""
    return "sequential" if "sequential" in (checkout / "wd_research" / "cli.py").read_text() else "one"


def compare(before: Positional[Path], after: Positional[Path]) -> None:
    """Name every measurement of two folders of runs that differs; what has another name and the same value is counted.

    Args:
        before: Runs of one checkout, as `run` leaves them.
        after: Those of the other.
    """
    names = sorted(path.parent.name for path in before.glob("*/summary.json"))
    differing = 0
    for name in names:
        old, new = dict(measurements(before / name)), dict(measurements(after / name))
        gone, come = ({key: value for key, value in one.items() if key not in other}
                      for one, other in ((old, new), (new, old)))  # fmt: skip
        values = [{fingerprint(value) for value in those.values()} for those in (gone, come)]
        renamed = {key for those, others in ((gone, values[1]), (come, values[0]))
                   for key, value in those.items() if fingerprint(value) in others}  # fmt: skip
        rows = [f"  {key}: {old.get(key)} before, {new.get(key)} after" for key in sorted((old | new).keys() - renamed)
                if not same(old.get(key), new.get(key))]  # fmt: skip
        differing += bool(rows) and name not in TIMED
        print(f"{name}: {len(old)} measurements, {len(rows)} differ, {len(renamed)} renamed", *rows[:20], sep="\n")
    sys.exit(1 if differing or not names else 0)


def fingerprint(value: Any) -> Any:
    """What is equal where measurements are."""
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def same(one: Any, other: Any) -> bool:
    """Whether two measurements are equal to the last digit; NaN equals NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.shape(one) == np.shape(other) and bool(
            np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
        )
    both_numbers = isinstance(one, float) and isinstance(other, float)
    return one == other or (both_numbers and math.isnan(one) and math.isnan(other))


def measurements(folder: Path) -> Iterator[tuple[str, Any]]:
    """Everything that a run measured, by a name."""
    summary = json.loads((folder / "summary.json").read_text())
    for part in ("best", "comparisons"):
        yield from numbers(part, summary[part])
    for claim in summary["claims"]:
        kept = {key: claim[key] for key in ("measured", "low", "high", "expected", "verdict", "cell", "cells")}
        yield from numbers(f"claim {claim['id']}", kept)
    for file in ("results.nc", "confirming.nc"):
        if (folder / file).exists():
            with xr.open_datatree(folder / file, engine="netcdf4") as arms:
                for group in arms.subtree:
                    for variable, values in group.variables.items():
                        yield f"{file} {group.path} {variable}", values.to_numpy()
    yield from scalars(folder / "tensorboard")


def numbers(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of a part of summary.json."""
    items = content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    if not isinstance(content, Mapping | list):
        yield name, content
    for key, value in items:
        yield from numbers(f"{name} / {key}", value)


def scalars(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every scalar of the event files: its steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it wonders about scalars without a plugin
    for path in sorted({file.parent for file in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(path), {"scalars": 0, "tensors": 0})
        events.Reload()
        tags: Any = events.Tags()["scalars"]
        for tag in tags:
            yield (f"event file {path.relative_to(folder)} {tag}",
                   np.array([(event.step, event.value) for event in events.Scalars(tag)]))  # fmt: skip


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": run, "compare": compare}, description=__doc__)
