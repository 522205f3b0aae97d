"""Random walks under four optimizers: by which angle a step turns them, measured, and as theory predicts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from experiments.literature.scale_invariant import SIDE, length, random_walk
from wd_research.training.ledger import turned

BETA_1, ADAM_BETA_2, LION_BETA_2, MOMENTUM = 0.9, 0.999, 0.99, 0.9


class Walker(NamedTuple):
    """The hyperparameters of a matrix that walks at random."""

    learning_rate: wd.Array  # f32[]
    strength: wd.Array  # f32[], of L2
    decay: wd.Array  # f32[], the rate of decoupled decay
    scale: wd.Array  # f32[], standard deviation of the gradient's entries where the matrix has norm 1


def with_decay(core: optax.GradientTransformation) -> Callable[[wd.Hypers], optax.GradientTransformation]:
    """The optimizer with this core, L2 before it and decoupled decay after it, at a constant learning rate.

    In each arm one of the two is 0, so that AdamW and Adam with L2 are one program.
    """

    def optimizer(hypers: wd.Hypers) -> optax.GradientTransformation:
        with_l2 = optax.chain(wd.decay_weights(hypers.strength), core)
        return wd.decoupled(with_l2, wd.decay_weights(hypers.decay), hypers.learning_rate, optax.constant_schedule(1.0))

    return optimizer


ADAM = with_decay(optax.scale_by_adam(BETA_1, ADAM_BETA_2))
SGD = with_decay(optax.trace(MOMENTUM))
LION = with_decay(optax.scale_by_lion(BETA_1, LION_BETA_2))


def random_walks(scales: Sequence[float], decays: Sequence[float], learning_rate: float) -> dict[str, wd.Arm]:
    """A walk under each optimizer, at every decay and size of the noise; Lion takes a tenth of the learning rate and
    ten times the decay.
    """
    points = partial(wd.grid, Walker, learning_rate=(learning_rate,))
    decoupled, coupled = points(decay=decays, scale=scales), points(strength=decays, scale=scales)
    slower = decoupled._replace(learning_rate=decoupled.learning_rate / 10, decay=decoupled.decay * 10)
    arm = partial(wd.Arm, random_walk(SIDE), observe=lambda h: rotation)
    return {
        "AdamW": arm(ADAM, decoupled, axis="decay"),
        "momentum SGD": arm(SGD, coupled, axis="strength"),
        "Lion": arm(LION, slower, axis="decay"),
        "Adam with L2": arm(ADAM, coupled, axis="strength"),
    }


def rotation(before: wd.Params, gradients: optax.Updates, after: wd.Params) -> wd.Metrics:
    """Of a step, and every leaf i: the squared angle, rad^2, from the leaf before to that after; its norm before."""
    del gradients
    metrics = {}
    for i, (old, new) in enumerate(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)):
        metrics |= {f"squared_angle_{i}": turned(old, new) ** 2, f"norm_{i}": length(old)}
    return metrics


def coordinates(results: wd.Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Learning rate, decay (be it a rate or a strength, the other is 0) and scale of a walk's points, each f64[h]."""
    learning_rates, strengths, decays, scales = (results[name].to_numpy().astype(float) for name in Walker._fields)
    return learning_rates, strengths + decays, scales


# What theory predicts of a walk: the angle per step from learning rate e, decay d and scale s.
# With L2 Adam divides the decay d w by the gradient's size s / |w| too, whence e^2 C = 2 e d |w|^3 / s for C entries.

ANGLES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "AdamW": lambda e, d, s: wd.equilibrium.adam(e, d, BETA_1),
    "momentum SGD": lambda e, d, s: wd.equilibrium.momentum(e, d, MOMENTUM),
    "Lion": lambda e, d, s: wd.equilibrium.lion(e, d, BETA_1, LION_BETA_2),
    "Adam with L2": lambda e, d, s: np.sqrt((1 - BETA_1) / (1 + BETA_1)) * np.cbrt(2 * e**2 * d * SIDE / s),
}
