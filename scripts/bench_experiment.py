"""The main experiment from the shell: where the seconds of a process go, first and second time, and by block."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
MODULE = "experiments.decay_values"
SHORT = ("--learning-rates", "3e-3")
OTHER = ("--learning-rates", "4e-3", "--strengths", "0", *(f"{2.0**-k:g}" for k in range(24)))
WIDE = ("--learning-rates", "3e-3", "--width", "128", "--seeds", "4")
BLOCKS = ("auto", "one", "together")


class Run(NamedTuple):
    """A process of the experiment."""

    name: str
    flags: tuple[str, ...]
    again: bool = True  # whether what it compiles lies on disk


BY_BLOCK = tuple(
    Run(f"{population}, --block {block}", (*flags, "--block", block))
    for population, flags in (("1,200 members", ()), ("200 members of width 128", WIDE))
    for block in BLOCKS
)
RUNS = (
    Run("--help", ("--help",)),
    Run("400 members, nothing compiled before", SHORT, again=False),
    Run("400 members, a second time", SHORT),
    Run("400 members of other values", OTHER),
    *BY_BLOCK,
)


def measure(processes: int) -> list[dict[str, Any]]:
    """Every run in so many fresh processes, in shuffled order: medians of its seconds by what they went into."""
    seen: dict[Run, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as full:
        for flags in (SHORT, *(run.flags for run in BY_BLOCK)):  # not OTHER: SHORT's programs have to do
            once(("--plan", *flags), full)
        todo = [run for run in RUNS for _ in range(processes)]
        random.Random(0).shuffle(todo)
        for number, run in enumerate(todo, 1):
            with tempfile.TemporaryDirectory() as empty:
                seen.setdefault(run, []).append(once(run.flags, full if run.again else empty))
            print(f"{number}/{len(todo)} {run.name} {seen[run][-1]}", file=sys.stderr, flush=True)
    return [summary(run, seen[run]) for run in RUNS]


def once(flags: tuple[str, ...], cache: str) -> dict[str, Any]:
    """The seconds of one process: the whole of it, and as its record tells them; and the block that it took."""
    with tempfile.TemporaryDirectory() as folder:
        where = () if {"--help", "--plan"} & set(flags) else ("--workdir", f"{folder}/run")
        command = [sys.executable, "-m", MODULE, *flags, *where]
        begin = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": cache}, check=True, capture_output=True)
        wall = time.perf_counter() - begin
        if not where:
            return {"whole": wall, "seconds": {}, "block": ""}
        record = json.loads(Path(folder, "run", "experiment.json").read_text())
    return {"whole": wall, "seconds": record["seconds"], "block": record["plans"]["decoupled"]["block"]}


def summary(run: Run, processes: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the processes, the whole's from the lowest to the highest, and the blocks taken."""
    seconds = {what: median(process["seconds"][what] for process in processes) for what in processes[0]["seconds"]}
    both = [process["seconds"]["compile"] + process["seconds"]["train"] for process in processes if process["seconds"]]
    return {
        "run": run.name,
        "flags": " ".join(run.flags),
        "wholes": sorted(process["whole"] for process in processes),
        "seconds": seconds,
        "compile_and_train": sorted(both),
        "blocks": sorted({process["block"] for process in processes}),
    }
