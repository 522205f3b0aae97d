"""Folders of runs as they are left, and what becomes of them in other hands."""

import json
import os
import resource
from contextlib import contextmanager

from matplotlib.figure import Figure

from tests.evidence.cases import diverged
from tests.reporting.cases import CURVE, HELPS, arm, evidence, summary
from wd_research.reporting.checksums import seal
from wd_research.reporting.files import write_text
from wd_research.reporting.folder import (
    AUDIT,
    CONFIRMING,
    RECORD,
    RESULTS,
    SUMMARY,
    write_confirming,
    write_figures,
    write_json,
    write_results,
)
from wd_research.reporting.sentences import sentence
from wd_research.results import diverged as points_that_diverged

RECORD_OF_A_RUN = {
    "question": "Does decay <help>?", "command": "python -m experiments.tiny --decays '0 1'", "flags": {"seeds": 8},
    "seeds": 8, "looks": [16], "steps": 200, "evaluations": 2, "members": 120, "status": "finished",
    "versions": {"python": "3.11", "jax": "0.10", "wd_research": "0.1"}, "git_commit": None,
    "device": {"platform": "cpu", "kind": "cpu", "count": 2, "machine": "Linux x86_64", "matmul_precision": "float32"},
    "seconds": {"import": 1.0, "train": 2.5}, "errors": {},
}  # fmt: skip
FIGURES = ("accuracy", "heat_map", "time_scale")


def leave(folder, sealed=True):
    """Leave a run in a folder; without checksums as older versions did."""
    folder.mkdir(exist_ok=True)
    measured = evidence({"arm": diverged(arm(), 4, seed=[1, 2])})
    found = summary(measured, [HELPS, CURVE])
    found |= {"diverged": {"arm": points_that_diverged(measured["arm"])}, "answer": sentence(found)}
    write_results(folder / RESULTS, measured)
    write_confirming(folder / CONFIRMING, measured.confirming)
    write_figures(folder / "figures", {name: Figure(figsize=(1, 1)) for name in FIGURES})
    write_json(folder / SUMMARY, found)
    write_text(folder / AUDIT, "kernel 8x4 decays <at 0.1>\n")
    record = {**RECORD_OF_A_RUN, "figures": list(FIGURES)}
    seal(folder, record) if sealed else write_json(folder / RECORD, record)
    return folder


def content_of(folder, file=RECORD):
    return json.loads((folder / file).read_text())


def flip(path, bit):
    """Change one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


@contextmanager
def small_disk(largest):
    """No file can be written beyond so many bytes: the disk's error, made without a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder):
    """Every name below a folder."""
    return sorted(os.path.relpath(os.path.join(where, name), folder)
                  for where, folders, files in os.walk(folder) for name in (*folders, *files))  # fmt: skip
