"""Estimates of a linear regression with L2: exact, by one decomposition for every decay, and by gradient descent."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.literature.linear import Sample, Setting, draw, every_direction, linear_regression


class Ridge(NamedTuple):
    """The hyperparameters of an estimate in closed form."""

    examples: wd.Numbers  # n
    penalty: wd.Numbers  # lambda


class Descent(NamedTuple):
    """The hyperparameters of an estimate that is trained."""

    examples: wd.Array  # f32[], n
    penalty: wd.Array  # f32[], lambda
    learning_rate: wd.Array  # f32[]


# In closed form


def closed_form(setting: Setting, points: Ridge) -> wd.ComputedArm:
    """The arm of the exact estimates: their risk at every point."""
    counts, penalties = np.unique(points.examples), np.unique(points.penalty)

    def of_seed(seed: int) -> np.ndarray:
        inputs, targets, teacher = draw(setting, seed, int(counts.max()))
        samples = [Sample(inputs[:n], targets[:n], teacher) for n in counts.astype(int)]
        return np.concatenate([risks(sample, penalties, setting.noise) for sample in samples])

    return lambda seeds: wd.labelled(points, "penalty", 0, {"risk": np.stack([of_seed(seed) for seed in range(seeds)])})


def risks(sample: Sample, penalties: np.ndarray, noise: float) -> np.ndarray:
    """The risk |b - beta|^2 + noise^2 of b = argmin |X b - y|^2 + lambda |b|^2 for each lambda, f64[l] -> f64[l].

    With X'X = V S V' it is b = V (S + lambda)^-1 V' X' y, so that one decomposition serves every lambda; at lambda = 0
    this is the least squares estimate of smallest norm.
    """
    inputs, targets, teacher = sample
    squares, directions = np.linalg.eigh(inputs.T @ inputs)
    row_space = slice(-min(inputs.shape), None)  # in the null space the estimate is 0
    estimates = (directions.T @ (inputs.T @ targets))[row_space] / (squares[row_space] + penalties[:, None])
    sought = directions.T @ teacher
    in_null_space = sought @ sought - sought[row_space] @ sought[row_space]
    return np.sum((estimates - sought[row_space]) ** 2, axis=-1) + in_null_space + noise**2


# By gradient descent


def descent(setting: Setting, examples: int, penalties: Sequence[float]) -> wd.Arm:
    """The arm of estimates that the population engine trains, at one number of examples."""

    def split(seed: int) -> Sample:
        return Sample(*(array.astype(np.float32) for array in draw(setting, seed, examples)))

    task = linear_regression(
        split,
        splits=lambda data, sample: {"test": every_direction(sample.teacher)},
        start=lambda key: jnp.zeros((setting.dimension, 1)),
    )

    def objective(hypers: Descent) -> wd.Loss:
        # The loss is the mean over examples of half the squared error, so |X b - y|^2 + lambda |b|^2 is 2 n times it.
        return wd.penalized(task.loss(hypers), wd.l2, hypers.penalty / hypers.examples)

    points = wd.grid(Descent, examples=(examples,), penalty=penalties)
    # One over the largest eigenvalue of the loss (its limit), half of what would diverge.
    steepest = (1 + np.sqrt(setting.dimension / examples)) ** 2 + points.penalty / examples
    points = points._replace(learning_rate=np.float32(1 / steepest))
    return wd.Arm(task, lambda hypers: optax.sgd(hypers.learning_rate), points, axis="penalty", objective=objective)


def check_descent(steps: int, ratio: float) -> None:
    """Raise UserError unless the slowest direction converges, at a step size of 1 / (largest eigenvalue)."""
    condition = ((1 + ratio**0.5) / (1 - ratio**0.5)) ** 2 if ratio != 1 else np.inf
    if steps < 4 * condition:
        raise wd.UserError(
            f"--steps {steps} is too few at --trained-ratios {ratio}: descent needs {min(4 * condition, 1e6):.0f} or "
            "more there, and fewer where the ratio is farther from 1"
        )
