"""How often the tournament's 95 % intervals hold the truth, where it is known: `python scripts/simulate_tournament.py`.

With a folder behind it, such as docs/tournament/worlds, only the worlds whose tables are there are simulated.

What a rule loses is drawn as the worlds lie: an effect of the data, one of the world and one of the cell, of three
distributions; the truth is the median, or the mean, over very many worlds.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.tournament.judge import Groups, estimate, over_draws
from experiments.tournament.table import tables_in
from experiments.tournament.worlds import WORLDS, World

REPEATS, LARGE = 400, 2_000  # tournaments; tournaments of which the truth is made
CELLS = 6  # of a world: three learning rates, both ways
NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "t with 3 degrees of freedom": lambda rng, size: rng.standard_t(3, size=size),
}
SIZES = 1.0, 0.5, 0.3  # of what data, worlds and cells do to a share


def main() -> None:
    """Print the shares of intervals that hold the truth."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else None
    groups = groups_of(list(tables_in(folder)) if folder else WORLDS)
    statistics: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}
    for name, noise in NOISES.items():
        rng = np.random.default_rng(0)
        many = np.concatenate([worlds_of(groups, drawn(groups, noise, rng)) for _ in range(LARGE)])
        for said, statistic in statistics.items():
            found = [estimate(groups, over_draws(groups, drawn(groups, noise, rng), statistic)) for _ in range(REPEATS)]
            held = np.mean([interval.low <= statistic(many) <= interval.high for interval in found])
            print(f"{name:30} {said:8} {100 * held:.0f} %", flush=True)


def groups_of(every: Sequence[World]) -> Groups:
    """The cells of worlds, by data and world."""
    numbers, groups = iter(range(CELLS * len(every))), []
    for _, worlds in groupby(every, lambda world: world.data):
        groups.append(tuple(tuple(next(numbers) for _ in range(CELLS)) for _ in worlds))
    return tuple(groups)


def drawn(groups: Groups, noise: Callable[..., np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Shares of all cells; f64[c]."""
    of_data, of_world, of_cell = SIZES
    found = []
    for worlds in groups:
        data = of_data * noise(rng, 1)
        found += [data + of_world * noise(rng, 1) + of_cell * noise(rng, len(cells)) for cells in worlds]
    return np.concatenate(found)


def worlds_of(groups: Groups, values: np.ndarray) -> np.ndarray:
    """The means of worlds; f64[w]."""
    return np.array([values[list(cells)].mean() for worlds in groups for cells in worlds])


if __name__ == "__main__":
    main()
