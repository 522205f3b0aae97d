"""Made-up results of which the answer is known."""

import numpy as np
import xarray as xr

DECAYS, LEARNING_RATES = np.float32([0, 0.01, 0.1, 1, 10]), np.float32([0.001, 0.01, 0.1])


def results(effects=(0.0, 0.01, 0.08, 0.03, -0.4), seeds=8, noise=0.005, axis="decay", evaluations=2, seed=0):
    """An arm with test accuracy .8 plus the decay's effect, best at learning rate .01; training falls with decay."""
    rng = np.random.default_rng(seed)
    rate, decay = (grid.ravel() for grid in np.meshgrid(LEARNING_RATES, DECAYS, indexing="ij"))
    truth = 0.8 + np.tile(effects, len(LEARNING_RATES)) - 0.02 * (rate != np.float32(0.01))
    dims = ("seed", "point", "step")
    grown = np.linspace(0.5, 1, evaluations)
    columns = {}
    for part, level in (
        ("train", 1.0 - 0.02 * np.tile(np.arange(5), 3)), ("validation", truth), ("test", truth),
    ):  # fmt: skip
        accuracy = (level + rng.normal(0, noise, (seeds, len(rate))))[..., None] * grown
        columns |= {f"{part}_accuracy": (dims, accuracy), f"{part}_loss": (dims, 1 - accuracy)}
    columns |= {"running_loss": (dims, columns["train_loss"][1])}
    never = np.full((seeds, len(rate)), -1)
    coordinates = {
        "seed": np.arange(seeds),
        "point": np.arange(len(rate)),
        "step": 100 * (1 + np.arange(evaluations)),
        "learning_rate": ("point", rate),
    }
    return xr.Dataset(
        {**columns, "diverged_at": (dims[:2], never)}, {**coordinates, axis: ("point", decay)}, {"axis": axis}
    )


def confirming(points, seeds=16, first=8, seed=100, **others):
    """The same arm on fresh seeds, at some of its points."""
    return results(seeds=seeds, seed=seed, **others).isel(point=list(points)).assign_coords(
        seed=first + np.arange(seeds)
    )  # fmt: skip


def diverged(arm, point, seed=slice(None)):
    """The same results with members of a point that broke off at step 3."""
    arm = arm.copy(deep=True)
    arm.diverged_at[seed, point] = 3
    return arm
