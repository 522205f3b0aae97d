"""Run all worlds of the tournament, one after the other, and judge the rules: docs/tournament.md.

    python scripts/tournament.py             # what is missing in docs/tournament/worlds
    python scripts/tournament.py kjv mnist   # worlds whose names begin so, and then all that are there are judged
    python scripts/tournament.py --quick     # one world of each data in little, into runs/tournament-quick

A world is run in runs/tournament, and its table is kept; one that was interrupted goes on. To measure it anew, remove
its table and its run. In little it takes 327 s on 2 cores.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.tournament.table import table_of, write_table
from experiments.tournament.worlds import WORLDS, World
from scripts.reproduce import ROOT, arguments, in_order

IN_LITTLE = {"scales": (0, 0.16, 0.64, 2.5, 10), "learning_rates": (2e-3, 8e-3), "seeds": 4}
SHORTER = 10  # times, in little
EXPERIMENTS = {"truth": "", "falling": "-falling"}  # and what their folders end with


def main() -> None:
    """Run what is missing and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the names of worlds; by default all")
    parser.add_argument("--quick", action="store_true", help="in little, two at a time, into runs/tournament-quick")
    flags = parser.parse_args()
    folder = ROOT / "runs" / ("tournament-quick" if flags.quick else "tournament")
    pictures = folder / "tournament" if flags.quick else ROOT / "docs" / "tournament"
    tables = pictures / "worlds"
    begin, wanted = perf_counter(), [world for world in WORLDS if world.folder.startswith(tuple(flags.names or [""]))]
    if not wanted:
        parser.error(f"no world's name begins so: choose among {', '.join(world.folder for world in WORLDS)}")
    if flags.quick:
        wanted = list({world.data: world for world in reversed(wanted)}.values())[::-1]  # the first of each data
    left = [world for world in wanted if not (tables / f"{world.folder}.npz").exists()]
    ends = in_order(lambda world: run(world, folder, flags.quick), left, 2 if flags.quick else 1)
    for place, world in enumerate(ends, start=1):
        runs = (folder / f"{world.folder}{ending}" for ending in EXPERIMENTS.values())
        write_table(table_of(world, *runs), tables / f"{world.folder}.npz")
        print(f"=== {world.name}: {place} of {len(left)} after {perf_counter() - begin:.0f} s", flush=True)
    out = ["--out", str(pictures), "--adviser", str(folder / "tournament.json")] if flags.quick else []
    subprocess.run([sys.executable, "-m", "experiments.tournament.judging", str(tables), *out], cwd=ROOT, check=True)


def run(world: World, folder: Path, quick: bool) -> World:
    """Run a world's two experiments, or go on with them. Ends this process where one fails."""
    steps = world.steps // SHORTER if quick else world.steps
    flags = arguments({"data": world.data, "optimizer": world.optimizer, "steps": steps})
    for experiment, ending in EXPERIMENTS.items():
        little = {name: value for name, value in IN_LITTLE.items() if experiment == "truth" or name != "scales"}
        command = [sys.executable, "-m", f"experiments.tournament.{experiment}", *flags]
        done = subprocess.run(
            [*command, "--workdir", str(folder / f"{world.folder}{ending}"), *(arguments(little) if quick else [])],
            cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE if quick else None,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{world.name} ended with exit code {done.returncode}\n{done.stdout or ''}")
    return world


if __name__ == "__main__":
    main()
