"""How often does a race drop the best point, and what does it save? Writes a table into docs/statistics.md.

    python scripts/simulate_race.py                  # 200 trials a row, minutes on 2 cores
    python scripts/simulate_race.py --trials 50      # a glance, into the same page

A trial draws the scores of two arms on a grid, as scripts/simulate_statistics.py does, and drops points between rounds
of seeds as `wd_research.racing` does. Where no point is better than any other, each is an equally good one that a race
must not drop; where a hump of 5 points has a best one, few points are left.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.simulate_statistics import stream
from scripts.statistics_designs import ARMS, SET_DESIGNS
from scripts.statistics_page import percent, table
from wd_research.evidence.selection import BEHIND_RACE
from wd_research.evidence.statistics import confidence_set, contenders
from wd_research.racing import level, looks

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
BEGIN, END = "<!-- raced: written by scripts/simulate_race.py -->", "<!-- end of what is raced -->"
SEEDS, EFFECT = (8, 16, 32), 0.05


class Raced(NamedTuple):
    """What a race of many did, over trials."""

    dropped: float  # the share that drop an equally good point, in the third of the decays where that is most
    coverage: float  # the share in which the confidence set behind it holds that point
    left: float  # the share of the points that it leaves of a hump
    cost: float  # the share of the members of the whole grid that it trains there


def race(scores: np.ndarray, resolution: float) -> tuple[np.ndarray, int]:
    """The points that are left behind all rounds, bool[k], and how many members were trained; from f64[s, k]."""
    left, rounds = np.ones(scores.shape[1], bool), looks(len(scores))
    members = rounds[0] * left.size
    for number, (seen, after) in enumerate(pairwise(rounds), start=1):
        left &= contenders(np.where(left, scores[:seen], np.nan), level(number), resolution)
        members += (after - seen) * int(left.sum())
    return left, members


def simulate(name: str, seeds: int, trials: int) -> Raced:
    """Race on validation scores, and take the confidence set of what is left on test scores."""
    design, rng = SET_DESIGNS[name], stream(name, seeds, 1)
    size = design.rates * design.decays
    counts = {what: np.zeros(size) for what in ("dropped", "held", "left")}
    members = 0
    for effect in (0.0, EFFECT):
        for _ in range(trials):
            validation, test = design.draw(rng, seeds, design.truth(effect))
            for arm in range(ARMS):
                left, trained = race(validation[arm], design.resolution)
                if effect:
                    counts["left"] += left
                    members += trained
                    continue
                counts["dropped"] += ~left
                behind = np.where(left, test[arm], np.nan)
                counts["held"] += confidence_set(behind, BEHIND_RACE, design.resolution)
    rows = {
        what: np.array_split(count.reshape(design.rates, -1) / trials / ARMS, 3, axis=1)
        for what, count in counts.items()
    }
    return Raced(
        max(float(third.mean()) for third in rows["dropped"]),
        min(float(third.mean()) for third in rows["held"]),
        float(counts["left"].mean() / trials / ARMS),
        members / (trials * ARMS * seeds * size),
    )


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="of a row")
    trials = parser.parse_args().trials
    with ProcessPoolExecutor() as pool:
        found = {(name, seeds): pool.submit(simulate, name, seeds, trials) for name in SET_DESIGNS for seeds in SEEDS}
        rows = [[name, str(seeds), *map(percent, each.result())] for (name, seeds), each in found.items()]
    head = [
        "scores",
        "seeds",
        "an equal point dropped, %",
        "set holds it, %",
        "left of a hump, %",
        "members trained, %",
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    lines = [BEGIN, "", f"`python scripts/simulate_race.py --trials {trials}`", "", *table(head, rows), "", END]
    PAGE.write_text(before + "\n".join(lines) + rest.partition(END)[2])


if __name__ == "__main__":
    main()
