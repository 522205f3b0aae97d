"""A linear net whose weights are measured in the null space of its inputs, where no example has a component.

It has N inputs and p examples of a teacher u; its energy is a sum over examples, as in Krogh & Hertz (1991).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.literature.linear import Setting, draw, every_direction, linear_regression

NULL_SPACE = "null_space"  # the split that holds a basis of it


class Hypers(NamedTuple):
    """The hyperparameters of a net."""

    penalty: wd.Array  # f32[], lambda of the energy, the sum over examples
    examples: wd.Array  # f32[], p
    learning_rate: wd.Array  # f32[]


class Sample(NamedTuple):
    """The examples that one seed draws, and their teacher."""

    inputs: np.ndarray  # f32[p, N], of length 1 on the mean
    targets: np.ndarray  # f32[p]
    teacher: np.ndarray  # f32[N], u, of length sqrt(N)
    null_space: np.ndarray  # f32[N - p, N], an orthonormal basis of the null space of the inputs


def decaying_net(setting: Setting, examples: int, penalties: list[float]) -> wd.Arm:
    """The linear net at every decay, for one number of examples and one size of the noise."""
    plain = linear_regression(
        lambda seed: sampled(setting, seed, examples),
        splits,
        start=lambda key: jax.random.normal(key, (setting.dimension, 1)),
    )

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        # The loss is the mean over examples of half the squared error, so the energy's lambda is p times its decay.
        decay = wd.decay_weights(hypers.penalty / hypers.examples)
        return wd.decoupled(optax.identity(), decay, hypers.learning_rate, optax.constant_schedule(1.0))

    rate = examples * step_size(setting.dimension, examples, max(penalties))
    points = wd.grid(Hypers, penalty=penalties, examples=(examples,), learning_rate=(rate,))
    return wd.Arm(wd.with_metrics(wd.with_start(plain), kept), optimizer, points, axis="penalty")


def step_size(inputs: int, examples: int, penalty: float) -> float:
    """One over the largest eigenvalue of the energy (its limit) with decay: half of what would diverge."""
    return 1 / ((1 + np.sqrt(examples / inputs)) ** 2 + penalty)


def sampled(setting: Setting, seed: int, examples: int) -> Sample:
    """The sample of a seed with inputs N(0, 1 / N) and a teacher of mean square 1, and the null space of its inputs."""
    sample = draw(setting, seed, examples)
    scale = np.sqrt(setting.dimension)
    basis = np.linalg.qr(sample.inputs.T, mode="complete")[0]  # of the row space, then of the null space
    arrays = (sample.inputs / scale, sample.targets, sample.teacher * scale, basis[:, examples:].T)
    return Sample(*(array.astype(np.float32) for array in arrays))


def splits(data: tuple[()], sample: Sample) -> dict[str, wd.Batch]:
    """The examples; every direction of the inputs; and a basis of the null space, where there is one.

    The error on "test" is |w - u|^2 / N, the excess over the noise on new examples; on the basis of the null space it
    is the mean square of the coordinates of w there.
    """
    both = {"train": wd.Batch(sample.inputs, sample.targets), "test": every_direction(sample.teacher)}
    basis = sample.null_space
    return both | ({NULL_SPACE: wd.Batch(basis, jnp.zeros(len(basis)))} if len(basis) else {})


def kept(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
    """The norm of the component in the null space relative to its initial norm, "kept"."""
    if name != NULL_SPACE:
        return {}
    now, then = (jnp.linalg.norm(batch.inputs @ weights["kernel"]) for weights in (params, extras["start"]))
    return {"kept": now / then}
