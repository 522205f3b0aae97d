"""Runs of every size, small and odd ones among them, of which the figures are drawn; what they measured is made up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tests.reporting.cases import evidence
from wd_research.evidence.measured import Evidence
from wd_research.points import grid
from wd_research.results import EDGES, labelled
from wd_research.training.loop import followed
from wd_research.types import Results

TRUTH = {"accuracy": 0.8, "loss": 0.5}


class Grid(NamedTuple):
    """The points of an arm."""

    values: Sequence[float]
    rates: Sequence[float] = (1e-3, 1e-2)
    axis: str = "decay"


class Design(NamedTuple):
    """A run, but for what it measures."""

    arms: dict[str, Grid]
    seeds: int = 8
    looks: tuple[int, ...] = (16,)
    by: str = "accuracy"
    scale: float = 1.0  # of the losses
    noise: float = 0.01
    examples: int = 0  # of the test split; 0: so many that accuracies are any numbers
    diverged: str = "none"  # "none", "some", "all" members
    evaluations: int = 2


def decades(low, high, count):
    return (0.0, *np.geomspace(low, high, count).tolist())


USUAL = decades(1e-4, 100, 25)
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
DESIGNS = {
    "the main experiment": Design({"coupled": Grid(USUAL, RATES, "strength"), "decoupled": Grid(USUAL, RATES)}),
    "decays 0 and 1": Design({"AdamW": Grid((0, 1))}),
    "decays 0 and 1, one rate": Design({"AdamW": Grid((0, 1), (1e-3,))}),
    "no decay alone": Design({"AdamW": Grid((0,))}),
    "one point": Design({"AdamW": Grid((0,), (1e-3,))}),
    "one rate, one arm": Design({"AdamW": Grid(USUAL, (1e-3,))}),
    "one seed": Design({"AdamW": Grid(USUAL)}, seeds=1, looks=()),
    "two seeds by halves": Design({"AdamW": Grid(USUAL)}, seeds=2, looks=(), noise=0.1),
    "two seeds, far apart": Design({"AdamW": Grid((0, 1), (1e-3,))}, seeds=2, looks=(2,), noise=0.3),
    "three seeds": Design({"AdamW": Grid((0, 0.1, 1))}, seeds=3, looks=(3,), noise=0.1),
    "the README's quick command": Design(
        {"coupled": Grid((0, 0.01), RATES, "strength"), "decoupled": Grid((0, 0.1, 1), RATES)}, seeds=4
    ),
    "eleven arms": Design(
        {f"{n} values": Grid(decades(1e-3, 10, n - 1), RATES[: 1 + n % 5]) for n in (*range(1, 8), 9, 15, 20, 25)}
    ),
    "one rate beside five": Design({"wide": Grid(USUAL, RATES), "narrow": Grid((0, 1), (1e-3,))}),
    "axes of other names": Design(
        {"decay": Grid(USUAL), "smoothing": Grid((0, 0.1, 0.2, 0.4, 0.8), axis="smoothing"),
         "a name that is rather long, as of a technique": Grid(decades(1, 1e6, 7), axis="weight_of_the_second_penalty")}
    ),
    "twelve rates": Design({"AdamW": Grid(decades(1e-3, 10, 9), np.geomspace(1e-5, 1, 12).tolist())}),
    "sixty rates": Design({"AdamW": Grid((0, 1), np.geomspace(1e-5, 1, 60).tolist())}),
    "fifty arms": Design({f"arm {n}": Grid((0, 0.1, 1), RATES[:2]) for n in range(50)}, seeds=3, looks=(3,)),
    "a hundred values": Design({"AdamW": Grid(decades(1e-6, 1e3, 100))}),
    "negative values": Design({"AdamW": Grid((-1, -0.1, 0, 0.1, 1))}),
    "values close together": Design({"AdamW": Grid((0, 1, 1.001, 1.002, 1.003))}),
    "values in thirds": Design({"AdamW": Grid((0, 0.3, 0.5, 0.7))}),
    "values without 0": Design({"AdamW": Grid((0, 1e-30, 1e-3, 1e30))}),
    "all diverged": Design({"AdamW": Grid((0, 0.1, 1))}, diverged="all"),
    "some diverged": Design({"AdamW": Grid((0, 0.1, 1, 10))}, diverged="some"),
    "twenty test examples": Design({"AdamW": Grid((0, 0.1, 1))}, examples=20),
    "nothing differs": Design({"AdamW": Grid((0, 0.1, 1))}, noise=0.0),
    "always right": Design({"AdamW": Grid((0, 0.1, 1))}, examples=1),
    "losses": Design({"AdamW": Grid((0, 0.1, 1))}, by="loss"),
    "huge losses": Design({"AdamW": Grid((0, 0.1, 1))}, by="loss", scale=1e30, noise=3.0),
    "tiny losses": Design({"AdamW": Grid((0, 0.1, 1))}, by="loss", scale=1e-12),
    "accuracy beside loss": Design({"AdamW": Grid(USUAL)}, scale=1e4),
    "a single evaluation": Design({"AdamW": Grid((0, 0.1, 1))}, evaluations=1),
}  # fmt: skip


def made(design: Design, number: int, seeds: int) -> Results:
    """The results of the arm of this number."""
    of_arm = list(design.arms.values())[number]
    points = grid(learning_rate=tuple(of_arm.rates), **{of_arm.axis: tuple(of_arm.values)})
    rng = np.random.default_rng(number)
    shape = seeds, len(points.learning_rate)
    size = np.abs(getattr(points, of_arm.axis)) + 1e-6
    effect = 0.05 * np.exp(-(np.log10(size) ** 2)) - 0.02 * np.log10(points.learning_rate / 1e-3) ** 2
    found: Results | None = None
    for evaluation in range(1, design.evaluations + 1):
        metrics = {}
        for part, level in (("train", 0.97), ("validation", 0.8), ("test", 0.8)):
            right = level + effect + design.noise * rng.normal(size=shape) - 0.1 * (design.evaluations - evaluation)
            right = np.clip(right, 0, 1)
            if design.examples and part == "test":
                right = np.round(right * design.examples) / design.examples
            if design.by == "accuracy":
                metrics[f"{part}_accuracy"] = right
            spread = np.exp(design.noise * 10 * rng.normal(size=shape))
            metrics[f"{part}_loss"] = design.scale * (1.2 - right) * spread
        below = np.linspace(0, 1, len(EDGES)) + np.zeros((*shape, 1))
        metrics["weights_below"] = below
        at = np.full(shape, -1)
        if design.diverged == "all":
            at[:] = 3
        if design.diverged == "some":
            at[:, -1], at[0, 1] = 3, 3
        found = followed(found, labelled(points, of_arm.axis, 100 * evaluation, metrics, at))
    assert found is not None
    return found.assign_attrs(loss_unit="nats", test_examples=design.examples or 1000)


def measured(name: str) -> Evidence:
    """What a run of this design measured."""
    design = DESIGNS[name]
    seeds = design.seeds + max(design.looks, default=0)
    arms = {arm: made(design, number, seeds) for number, arm in enumerate(design.arms)}
    return evidence(arms, design.seeds, design.looks)
