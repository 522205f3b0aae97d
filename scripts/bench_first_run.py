"""What a whole first run takes in the laboratory and by hand: whole processes with nothing compiled before.

    .venv/bin/python scripts/bench_first_run.py gpt --rounds 3       # a user's small GPT
    .venv/bin/python scripts/bench_first_run.py digits --rounds 3    # the main experiment's exploring

Prints a table of docs/benchmarks.md: of each run the lowest CPU-seconds of all rounds, and its lowest seconds by the
clock, and how often the laboratory's the peer takes. The laboratory audits and writes a report besides.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
VALUES = ("0", *(f"{value:.6g}" for value in np.geomspace(1e-4, 10, 15)))


class Job(NamedTuple):
    """The same work by the laboratory and by hand, as arguments of Python."""

    name: str
    laboratory: tuple[str, ...]  # --workdir comes behind
    by_hand: tuple[str, ...]  # the folder comes behind


JOBS = {
    "gpt": [
        Job(f"{points} points", ("-m", "scripts.peers.nano_gpt", "--points", str(points), "--confirm", "0"),
            ("-m", "scripts.peers.nano_gpt", "by-hand", str(points)))
        for points in (12, 16)
    ],
    "digits": [
        Job(f"256 nets of width {width}",
            ("-m", "experiments.decay_values", "--width", str(width), "--confirm", "0", "--learning-rates", "3e-3",
             "--strengths", *VALUES, "--decays", *VALUES),
            ("-m", "scripts.peers.digits_by_hand", str(width)))
        for width in (32, 128)
    ],
}  # fmt: skip


def seconds_of(arguments: tuple[str, ...], folder: str) -> tuple[float, float]:
    """The CPU-seconds of a process that finds nothing compiled, and those by the clock."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    fonts = {"MPLCONFIGDIR": str(Path.home() / ".cache" / "matplotlib")}  # what it knows of fonts is no compilation
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=os.environ | fonts | {"XDG_CACHE_HOME": folder},
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - begin


def stages_of(folder: Path) -> str:
    """What the laboratory's seconds went into, by the clock."""
    seconds = json.loads((folder / "experiment.json").read_text())["seconds"]
    return ", ".join(f"{name} {took:.1f}" for name, took in seconds.items())


def main() -> None:
    """Each job in all ways, in turn; one round after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=JOBS)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    ways = "laboratory", "without the audit", "by hand"
    print(f"| CPU-seconds, seconds by the clock | {' | '.join(ways)} | by hand / laboratory |", "|---|---|---|---|---|",
          sep="\n")  # fmt: skip
    for job in JOBS[flags.what]:
        seen: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        stages = ""
        for _ in range(flags.rounds):
            for way in ways:
                with tempfile.TemporaryDirectory() as folder:
                    run = f"{folder}/run"
                    laboratory = (*job.laboratory, "--workdir", run)
                    given = {ways[0]: laboratory, ways[1]: (*laboratory, "--no-audit"), ways[2]: (*job.by_hand, run)}
                    seen[way].append(seconds_of(given[way], folder))
                    if way == ways[0]:
                        stages = stages_of(Path(run))
        least = {way: np.min(rounds, axis=0) for way, rounds in seen.items()}
        cells = [f"{cpu:.0f}, {clock:.0f}" for cpu, clock in least.values()]
        ratio = "{:.2f}, {:.2f}".format(*least[ways[2]] / least[ways[0]])
        print(f"| {job.name} | {' | '.join(cells)} | {ratio} |", flush=True)
        print(f"{job.name}, seconds by the clock: {stages}", file=sys.stderr)


if __name__ == "__main__":
    main()
