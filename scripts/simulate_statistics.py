"""How often does the procedure err where the truth is known, and what does it find? Writes docs/statistics.md.

    python scripts/simulate_statistics.py                      # 10,000 trials a row, ten minutes on 2 cores
    python scripts/simulate_statistics.py --trials 300         # a glance, into the same page
    python scripts/simulate_statistics.py --residuals-of RUN   # keeps the residuals of a run of decay_values

A trial is an experiment of two arms without training: scores are drawn from a design and go through the functions of
`wd_research.evidence.statistics` as those of a run do. In a null design no point is better than any other, so that
whatever is found is false. A row has its own random numbers, the same each time.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.statistics_designs import ARMS, DESIGNS, GAINS, SET_DESIGNS, keep_residuals
from wd_research.evidence.statistics import (
    ALPHA,
    best_candidate,
    confidence_set,
    halves,
    nominal_level,
    p_outside,
    paired_t,
    t_quantile,
)

EXPLORING, CONFIRMING, SET_SEEDS = (8, 16, 32), 16, (3, 4, 8, 16)
EFFECTS = np.geomspace(0.004, 0.1, 10)
LOOKS = ((16,), (16, 32, 48, 64), (8, 16, 24, 32), (4, 8, 12, 16))
SHIFTS = (0.0, 0.5, 1.0, 2.0)  # true gains, in standard errors of 16 seeds


def confirm(validation: np.ndarray, test: np.ndarray, exploring: int) -> np.ndarray:
    """Scores on fresh seeds at the point that the exploring seeds choose: f64[s, k] -> f64[s - exploring]."""
    return test[exploring:, best_candidate(validation[:exploring])]


def by_halves(validation: np.ndarray, test: np.ndarray, exploring: int) -> np.ndarray:
    """Each half of the exploring seeds at the point that the other half chooses: f64[s, k] -> f64[exploring]."""
    scores, (even, odd) = np.empty(exploring), halves(exploring)
    for mine, others in ((even, odd), (odd, even)):
        scores[mine] = test[mine, best_candidate(validation[others])]
    return scores


def leaving_one_out(validation: np.ndarray, test: np.ndarray, exploring: int) -> np.ndarray:
    """Each exploring seed at the point that all others choose: f64[s, k] -> f64[exploring]. No run does this."""
    scores = np.where(np.isnan(validation[:exploring]), -1e9, validation[:exploring])
    choices = (scores.sum(axis=0) - scores).argmax(axis=1)
    return test[np.arange(exploring), choices]


PROCEDURES = {"confirm": confirm, "halves": by_halves, "leaving one out": leaving_one_out}


def stream(name: str, *numbers: int) -> Generator:
    """A row's own random numbers, the same each time."""
    return default_rng([*map(ord, name), *numbers])


class Found(NamedTuple):
    """In which shares of trials an interval lies beside 0."""

    above: float  # the gain over no decay, both tuned alike: above 0
    gains: float  # the same, above or below
    differences: float  # the difference of two tuned arms, above or below


def find(name: str, exploring: int, trials: int, effect: float = 0.0) -> dict[str, Found]:
    """What each procedure finds in a design; with no effect all of it is false."""
    design = DESIGNS[name]
    rng, off, truth = stream(name, exploring), design.off, design.truth(effect)
    counts = {label: np.zeros(3) for label in PROCEDURES}
    for _ in range(trials):
        validation, test = design.draw(rng, exploring + CONFIRMING, truth)
        for label, procedure in PROCEDURES.items():
            first, second = (procedure(validation[arm], test[arm], exploring) for arm in range(ARMS))
            without = procedure(validation[0][:, off], test[0][:, off], exploring)
            gain, difference = (paired_t(first - other, resolution=design.resolution) for other in (without, second))
            counts[label] += [gain.low > 0, beside_zero(*gain), beside_zero(*difference)]
    return {label: Found(*(count / trials).tolist()) for label, count in counts.items()}


def beside_zero(mean: float, low: float, high: float) -> bool:
    """Whether an interval lies above or below 0."""
    return low > 0 or high < 0


def smallest_gain(name: str, exploring: int, trials: int) -> dict[str, float]:
    """The true gain that each procedure finds in 80 % of trials, interpolated between those that are tried; or NaN."""
    found = [find(name, exploring, trials, effect) for effect in EFFECTS]
    shares = {label: np.maximum.accumulate([each[label].above for each in found]) for label in PROCEDURES}
    return {label: float(np.interp(0.8, share, EFFECTS, np.nan, np.nan)) for label, share in shares.items()}


def plain_set(scores: np.ndarray) -> np.ndarray:
    """Candidates that no other beats in a plain paired t test with Bonferroni's correction, f64[s, k] -> bool[k]."""
    differences = scores[:, :, None] - scores[:, None, :]
    error = differences.std(axis=0, ddof=1) / np.sqrt(len(scores))
    critical = t_quantile(1 - ALPHA / (scores.shape[1] - 1), len(scores) - 1)
    return ~(differences.mean(axis=0) > critical * error).any(axis=0)


class Sets(NamedTuple):
    """Confidence sets of the best point over trials."""

    coverage: float  # the share that hold an equally good point, in the third of the decays where that is least
    size: float  # the mean share of all points in the set where one point is the best


def confidence_sets(name: str, seeds: int, trials: int) -> dict[str, Sets]:
    """Coverage where all points are equally good, and size where a hump of 5 points has a best one, by kind of set."""
    design = SET_DESIGNS[name]
    kinds = {"guarded": lambda scores: confidence_set(scores, resolution=design.resolution), "t alone": plain_set}
    held = {kind: np.zeros((2, design.rates * design.decays)) for kind in kinds}
    for case, effect in enumerate((0.0, 0.05)):
        rng = stream(name, seeds)
        for _ in range(trials // ARMS):
            for scores in design.draw(rng, seeds, design.truth(effect))[1]:
                for kind, of in kinds.items():
                    held[kind][case] += of(scores)
    sets = {}
    for kind, (equal, hump) in held.items():
        thirds = np.array_split(equal.reshape(design.rates, -1), 3, axis=1)
        coverage = min(float(third.mean()) for third in thirds)
        sets[kind] = Sets(coverage / (trials // ARMS * ARMS), float(hump.mean()) / (trials // ARMS * ARMS))
    return sets


class Stopped(NamedTuple):
    """What a test at several looks found, and how many seeds it took."""

    found: float  # the share of trials in which some look found a difference, each tested at `nominal_level`
    seeds: float  # the mean number of seeds when it stopped
    uncorrected: float  # the share in which some look would have found one at 5 %


def stop(kind: str, looks: Sequence[int], trials: int, shift: float = 0.0) -> Stopped:
    """Test after each look, and stop at the first that finds something; the gain in standard errors of 16 seeds."""
    rng, (draw, deviation, resolution), level = stream(kind, *looks), GAINS[kind], nominal_level(looks)
    sums = np.zeros(3)
    for _ in range(trials):
        gains = draw(rng, looks[-1]) + shift * deviation / 4
        p_values = np.array([p_outside(gains[:look], 0, 0, resolution) for look in looks])
        stopped = int(np.argmax(p_values <= level)) if (p_values <= level).any() else -1
        sums += np.array([stopped >= 0, looks[stopped], (p_values <= ALPHA).any()])
    return Stopped(*(sums / trials).tolist())


class Simulated(NamedTuple):
    """All rows of the page."""

    errors: Mapping[tuple[str, int], dict[str, Found]]  # of a null design and its exploring seeds, by procedure
    gains: Mapping[tuple[str, int], dict[str, float]]  # the smallest that are found, likewise
    sets: Mapping[tuple[str, int], dict[str, Sets]]  # of a design and its seeds, by kind of set
    stops: Mapping[tuple[str, tuple[int, ...]], list[Stopped]]  # of a kind of gains and looks, by SHIFTS


def simulate(trials: int) -> Simulated:
    """Every row, side by side on all cores, with fewer trials where one says more or where a mean is asked for."""
    with ProcessPoolExecutor() as pool:
        rows = [(name, seeds) for name in DESIGNS for seeds in EXPLORING]
        errors = {row: pool.submit(find, *row, trials) for row in rows}
        gains = {row: pool.submit(smallest_gain, *row, max(1, trials // 20)) for row in rows}
        sets = {(name, seeds): pool.submit(confidence_sets, name, seeds, max(ARMS, trials // 10))
                for name in SET_DESIGNS for seeds in SET_SEEDS}  # fmt: skip
        stops = {(kind, looks): [pool.submit(stop, kind, looks, trials, shift) for shift in SHIFTS]
                 for kind in GAINS for looks in LOOKS}  # fmt: skip
        return Simulated(
            {row: future.result() for row, future in errors.items()},
            {row: future.result() for row, future in gains.items()},
            {row: future.result() for row, future in sets.items()},
            {row: [future.result() for future in futures] for row, futures in stops.items()},
        )


def main() -> None:
    """Simulate, and write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="of a row")
    parser.add_argument("--residuals-of", type=Path, help="keep the residuals of this run, and stop")
    flags = parser.parse_args()
    if flags.residuals_of:
        keep_residuals(flags.residuals_of)
        return
    from scripts.statistics_page import write

    write(simulate(flags.trials), flags.trials)


if __name__ == "__main__":
    main()
