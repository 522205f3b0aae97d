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
EXPLORE = ("--confirm", "0")  # one stage: what is chosen differs from block to block
THREE = (*EXPLORE, "--learning-rates", "1e-3", "3e-3", "1e-2")
SHORT = (*EXPLORE, "--learning-rates", "3e-3")
OTHER = (*EXPLORE, "--learning-rates", "4e-3", "--strengths", "0", *(f"{2.0**-k:g}" for k in range(24)))
WIDE = (*EXPLORE, "--learning-rates", "3e-3", "--width", "128", "--seeds", "4")
BLOCKS = ("auto", "sequential", "vmapped")
KEPT = {"MPLCONFIGDIR": str(Path.home() / ".cache" / "matplotlib")}  # what it knows of fonts is no compilation


class Run(NamedTuple):
    """A process of the experiment."""

    name: str
    flags: tuple[str, ...]
    again: bool = True  # whether what it compiles lies on disk
    auto: str = ""  # the name of the same run that chooses its block itself


BY_BLOCK = tuple(
    Run(f"{population}, --block {block}", (*flags, "--block", block), auto=f"{population}, --block auto")
    for population, flags in (("1,200 members", THREE), ("200 members of width 128", WIDE))
    for block in BLOCKS
)
RUNS = (
    Run("--help", ("--help",)),
    Run("400 members, nothing compiled before", SHORT, again=False),
    Run("400 members, a second time", SHORT),
    Run("400 members of other values", OTHER),
    *BY_BLOCK,
)


def measure(rounds: int) -> list[dict[str, Any]]:
    """Every run once a round, each in a fresh process, in shuffled order: its seconds by what they went into.

    Blocks are compared within a round, because the machine's speed changes between rounds.
    """
    seen: dict[str, list[dict[str, Any]]] = {run.name: [] for run in RUNS}
    shuffled = random.Random(0)
    with tempfile.TemporaryDirectory() as full:
        for flags in (SHORT, *(run.flags for run in BY_BLOCK)):  # not OTHER: SHORT's programs have to do
            once(("--plan", *flags), full)
        for number in range(1, rounds + 1):
            for run in shuffled.sample(RUNS, len(RUNS)):
                with tempfile.TemporaryDirectory() as empty:
                    seen[run.name].append(once(run.flags, full if run.again else empty))
                print(f"round {number}/{rounds}: {run.name} {seen[run.name][-1]}", file=sys.stderr, flush=True)
    return [summary(run, seen[run.name], seen.get(run.auto, [])) for run in RUNS]


def once(flags: tuple[str, ...], cache: str) -> dict[str, Any]:
    """The seconds of one process: the whole of it, and as its record tells them; and the block that it took."""
    with tempfile.TemporaryDirectory() as folder:
        where = () if {"--help", "--plan"} & set(flags) else ("--workdir", f"{folder}/run")
        command = [sys.executable, "-m", MODULE, *flags, *where]
        begin = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=os.environ | KEPT | {"XDG_CACHE_HOME": cache}, check=True,
                       capture_output=True)  # fmt: skip
        wall = time.perf_counter() - begin
        if not where:
            return {"whole": wall, "seconds": {}, "block": ""}
        record = json.loads(Path(folder, "run", "experiment.json").read_text())
    return {"whole": wall, "seconds": record["seconds"], "block": record["plans"]["decoupled"]["block"]}


def summary(run: Run, rounds: list[dict[str, Any]], auto: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, the whole's from the lowest to the highest, and the blocks taken.

    "over_auto" is what compiling and training take, over what they take in the same round where the block is chosen.
    """
    names = rounds[0]["seconds"]
    over_auto = [compile_and_train(one) / compile_and_train(chosen) for one, chosen in zip(rounds, auto, strict=False)]
    return {
        "run": run.name,
        "flags": " ".join(run.flags),
        "wholes": sorted(one["whole"] for one in rounds),
        "seconds": {name: median(one["seconds"][name] for one in rounds) for name in names},
        "over_auto": sorted(over_auto),
        "blocks": sorted({one["block"] for one in rounds}),
    }


def compile_and_train(one: dict[str, Any]) -> float:
    """The seconds that the choice of a block decides on."""
    return one["seconds"]["compile"] + one["seconds"]["train"]
