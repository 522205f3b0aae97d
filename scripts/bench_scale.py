"""What a run of very many members costs beside training: its tiles, and the confidence set of the best point.

Prints the table of docs/scale.md, of made-up results as large as the main experiment's: ten evaluations of eight
metrics and a distribution of weights, eight seeds. CPU-seconds, which another job on the machine changes little.
"""

import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.decay_values import experiment
from wd_research.evidence.selection import likely_best
from wd_research.points import decades, grid
from wd_research.reporting.record import versions
from wd_research.results import EDGES, labelled
from wd_research.tiles import Wanted, maker, read_tile, united, write_tile
from wd_research.training.loop import followed
from wd_research.types import Arm, Results

SEEDS, EVALUATIONS = 8, 10
POINTS = (1_000, 4_000, 8_000)


def made(arm: Arm) -> Results:
    """Results of an arm, of random numbers."""
    rng, shape, results = np.random.default_rng(0), (SEEDS, arm.size), None
    names = [f"{split}_{by}" for split in ("train", "validation", "test") for by in ("accuracy", "loss")]
    for step in range(1, EVALUATIONS + 1):
        metrics = {name: rng.random(shape, np.float32) for name in [*names, "running_loss", "weights_norm"]}
        metrics["weights_below"] = rng.random((*shape, len(EDGES)), np.float32)
        results = followed(results, labelled(arm.points, arm.axis, step, metrics, np.full(shape, -1, np.int32)))
    assert results is not None
    return results


def main() -> None:
    """Measure and print."""
    arm = experiment().arms["decoupled"]
    assert isinstance(arm, Arm)
    begin = time.process_time()
    maker(arm, versions())
    print(f"what made a tile: {time.process_time() - begin:.2f} CPU-s an arm")
    print("| points, 8 seeds | write a tile | read it | put it together | confidence set | bytes a member | GB |")
    print("|---|---|---|---|---|---|---|")
    path = Path(tempfile.mkdtemp()) / "s0-8.p1-00000000.nc"
    for count in POINTS:
        rates = tuple(np.geomspace(1e-4, 1e-1, count // 25).tolist())
        many = replace(arm, points=grid(learning_rate=rates, decay=decades(1e-3, 10, 25)))
        results, seconds = made(many), []
        for act in (
            lambda results=results: write_tile(path, results, {}),
            lambda: read_tile(path),
            lambda many=many, results=results: united(Wanted(many, range(SEEDS), range(many.size)), [results]),
            lambda results=results: likely_best(results),
        ):
            begin = time.process_time()
            act()
            seconds.append(f"{time.process_time() - begin:.2f}")
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {many.size} | {' | '.join(seconds)} | {path.stat().st_size / SEEDS / many.size:.0f} | {held:.2f} |")


if __name__ == "__main__":
    main()
