"""Scores whose truth is known: what the simulated experiments of scripts/simulate_statistics.py are made of."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.random import Generator

RESIDUALS = Path(__file__).parent.parent / "tests" / "evidence" / "residuals.npz"
ARMS, VALIDATION, TEST = 2, 400, 1197  # examples of validation and test
DECAYS, TOP = 25, 15  # TOP is the decay at which a gain is largest, where there is one

Noise = Callable[[Generator, tuple[int, ...]], np.ndarray]  # a net's own, f64[2, s, k]
Scores = tuple[np.ndarray, np.ndarray]  # of validation and of test, f64[2, s, k], larger where better
Draw = Callable[[Generator, int, np.ndarray], Scores]  # of so many seeds, where points are better by f64[k]


class Design(NamedTuple):
    """How scores are drawn, on a grid of decays and learning rates, and the smallest step that a score can make."""

    draw: Draw
    resolution: float = 1 / TEST
    decays: int = DECAYS
    rates: int = 3

    def truth(self, effect: float) -> np.ndarray:
        """How much better each point is than one without decay: a hump over some four steps of decay; f64[k]."""
        return effect * np.tile(np.exp(-(((np.arange(self.decays) - TOP) / 4) ** 2) / 2), self.rates)

    @property
    def off(self) -> np.ndarray:
        """The points without decay, bool[k]."""
        return np.arange(self.rates * self.decays) % self.decays == 0


def accuracies(noise: Noise, validation: int = VALIDATION, test: int = TEST, diverging: float = 0.0) -> Draw:
    """Shares of right answers: a difficulty that all nets of a seed share, a net's own noise, and counting.

    At the five largest decays a net diverges with the probability `diverging`: it has no validation score, and is
    tested by its last finite weights.
    """

    def draw(rng: Generator, seeds: int, truth: np.ndarray) -> Scores:
        quality = rng.normal(0.8, 0.02, (seeds, 1)) + truth + noise(rng, (ARMS, seeds, len(truth)))
        known, tested = (rng.binomial(n, np.clip(quality, 0, 1)) / n for n in (validation, test))
        lost = (along(truth) >= 20) & (rng.random(known.shape) < diverging)
        return np.where(lost, np.nan, known), tested

    return draw


def losses(rng: Generator, seeds: int, truth: np.ndarray) -> Scores:
    """Minus mean losses: 2.5 times the share of wrong answers, times the mean of an exponential draw per example."""
    quality = rng.normal(0.8, 0.02, (seeds, 1)) + truth + rng.normal(0, 0.02, (ARMS, seeds, len(truth)))
    validation, test = (-2.5 * (1 - quality) * rng.gamma(n, 1 / n, quality.shape) for n in (VALIDATION, TEST))
    return validation, test


def real_run(rng: Generator, seeds: int, truth: np.ndarray) -> Scores:
    """Residuals of a run's seeds around each point's mean, in random order, each seed's all with one random sign."""
    kept = residuals()
    order = rng.permutation(kept["test"].shape[1])[:seeds]
    signs = rng.choice([-1.0, 1.0], (seeds, 1))
    validation, test = (0.8 + truth + signs * kept[part][:, order] for part in ("validation", "test"))
    return validation, test


def near_ties(examples: int) -> Draw:
    """Nets that answer alike but for one example in a hundred."""

    def draw(rng: Generator, seeds: int, truth: np.ndarray) -> Scores:
        shared = rng.binomial(examples, 0.8, (seeds, 1)) + examples * truth
        wrong = rng.poisson(0.01 * examples, (2, ARMS, seeds, len(truth)))
        return (shared - wrong[0]) / examples, (shared - wrong[1]) / examples

    return draw


@cache
def residuals() -> Mapping[str, np.ndarray]:
    """What `keep_residuals` has kept: "validation" and "test", f64[2, 48, 75]."""
    return {name: values.astype(float) for name, values in np.load(RESIDUALS).items()}


def keep_residuals(run: Path) -> None:
    """Accuracies at the end of a run of decay_values, minus each point's mean over seeds."""
    ends: dict[str, np.ndarray] = {}
    with xr.open_datatree(run / "results.nc") as arms:
        for part in ("validation", "test"):
            ends[part] = np.stack([arm.to_dataset()[f"{part}_accuracy"].to_numpy()[..., -1]
                                   for arm in arms.children.values()])  # fmt: skip
    centred = {part: (values - values.mean(axis=1, keepdims=True)).astype(np.float16) for part, values in ends.items()}
    np.savez_compressed(RESIDUALS, allow_pickle=False, **centred)


def along(points: np.ndarray) -> np.ndarray:
    """The number of each point's decay, i64[k]."""
    return np.arange(len(points)) % DECAYS


def growing(shape: tuple[int, ...]) -> np.ndarray:
    """Standard deviations that grow along the decays from 0 to .04, f64[k]."""
    return np.linspace(0, 0.04, DECAYS)[np.arange(shape[-1]) % DECAYS]


def some_collapse(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One net in twenty loses 60 points."""
    return -0.6 * (rng.random(shape) < 0.05)


def half_collapse(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """At the larger decays one net in ten loses 60 points, and all are better by 6, so that the means are equal."""
    return np.where(np.arange(shape[-1]) % DECAYS > DECAYS // 2, 0.06 - 0.6 * (rng.random(shape) < 0.1), 0.0)


def own(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Two points of accuracy."""
    return rng.normal(0, 0.02, shape)


def none(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Nothing but counting makes nets of a seed differ."""
    return np.zeros(shape)


SKEWED, UNSEEN = "unequal and skewed noise", "half of the points collapse"
DESIGNS: Mapping[str, Design] = {
    "counting alone": Design(accuracies(none)),
    "own noise": Design(accuracies(own)),
    "unequal noise": Design(accuracies(lambda rng, shape: growing(shape) * rng.normal(size=shape))),
    "heavy tails (t, 3 degrees)": Design(accuracies(lambda rng, shape: 0.012 * rng.standard_t(3, shape))),
    "heavy tails (t, 2 degrees)": Design(accuracies(lambda rng, shape: 0.01 * rng.standard_t(2, shape))),
    SKEWED: Design(accuracies(lambda rng, shape: growing(shape) * (1 - rng.exponential(1, shape)))),
    "some nets collapse": Design(accuracies(some_collapse)),
    "some nets diverge": Design(accuracies(own, diverging=0.3)),
    "256 points": Design(accuracies(own), decays=64, rates=4),
    "by loss": Design(losses, resolution=0.0),
    "a real run": Design(real_run),
}
SET_DESIGNS: Mapping[str, Design] = {
    **{name: design for name, design in DESIGNS.items() if name not in ("some nets diverge", "256 points")},
    "20 test examples": Design(accuracies(none, test=20), 1 / 20),
    "100 test examples": Design(accuracies(none, test=100), 1 / 100),
    "20 test examples, near ties": Design(near_ties(20), 1 / 20),
    "100 test examples, near ties": Design(near_ties(100), 1 / 100),
    UNSEEN: Design(accuracies(half_collapse)),
}
GAINS: Mapping[str, tuple[Callable[[Generator, int], np.ndarray], float, float]] = {
    # per seed: how they are drawn, their standard deviation, their resolution
    "normal": (lambda rng, seeds: rng.normal(size=seeds), 1.0, 0.0),
    "heavy tails (t, 3 degrees)": (lambda rng, seeds: rng.standard_t(3, seeds), 3**0.5, 0.0),
    "skewed (exponential)": (lambda rng, seeds: rng.exponential(1, seeds) - 1, 1.0, 0.0),
    "two nets on 20 examples": (lambda rng, seeds: (rng.poisson(1, seeds) - rng.poisson(1, seeds)) / 20, 2**0.5 / 20,
                                1 / 20),
}  # fmt: skip
