"""What a first run of a user's small GPT takes, in CPU-seconds of whole processes, beside a loop written by hand.

    .venv/bin/python scripts/bench_first_run.py --rounds 3

Every process begins with nothing compiled. Prints the table of docs/benchmarks.md: per number of points the lowest and
the highest of all rounds, and how often the laboratory's CPU-seconds the loop takes, of the lowest.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PART = [sys.executable, "-m", "scripts.peers.nano_gpt"]
POINTS = (12, 16)


def seconds_of(command: list[str], folder: str) -> float:
    """The CPU-seconds of a process that finds nothing compiled. Raises CalledProcessError where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    home = os.environ | {"XDG_CACHE_HOME": folder}
    subprocess.run(command, cwd=ROOT, env=home, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stages_of(folder: Path) -> str:
    """What the laboratory's seconds went into, by the clock."""
    seconds = json.loads((folder / "experiment.json").read_text())["seconds"]
    return ", ".join(f"{name} {took:.1f}" for name, took in seconds.items())


def main() -> None:
    """Both, in turn, for every number of points; one round after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("| points | laboratory | without the audit | loop by hand | loop / laboratory |", "|---|---|---|---|---|",
          sep="\n")  # fmt: skip
    said = ""
    for points in POINTS:
        seen: dict[str, list[float]] = {"laboratory": [], "unaudited": [], "by hand": []}
        for _ in range(rounds):
            for name, took in seen.items():
                with tempfile.TemporaryDirectory() as folder:
                    words = ["--points", str(points), "--confirm", "0", "--workdir", f"{folder}/run"]
                    words += ["--no-audit"] if name == "unaudited" else []
                    took.append(
                        seconds_of([*PART, *(["by-hand", str(points)] if name == "by hand" else words)], folder)
                    )
                    said = stages_of(Path(folder, "run")) if name == "laboratory" else said
        cells = [f"{min(took):.0f} to {max(took):.0f}" for took in seen.values()]
        ratio = min(seen["by hand"]) / min(seen["laboratory"])
        print(f"| {points} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    print(f"\nof {POINTS[-1]} points, seconds by the clock: {said}")


if __name__ == "__main__":
    main()
