"""The audit of an experiment: every arm that is trained, at the middle of its grid."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.decay.audit import Audit, as_text, audit
from wd_research.types import Arm, Array, Batch, Hypers, Params


def audit_text(arms: Mapping[str, Arm], steps: int) -> str:
    """What decay will do in each arm over a run of `steps` steps, as `audit.txt` has it.

    Raises MaskError, with one sentence, when a mask matches no leaf.
    """
    sections = []
    for name, arm in arms.items():
        point = middle(arm)
        sections.append(f"{name}, at {said(point)}\n\n{as_text(audit_arm(arm, point, steps))}")
    return "\n".join(sections) or "nothing is trained, so nothing decays\n"


def audit_arm(arm: Arm, point: Hypers, steps: int) -> Audit:
    """The audit of one net of an arm, with the weights and the first batch of seed 0."""
    task, key = arm.task, jax.random.key(0)
    split = task.split(0)
    params, extras = jax.jit(task.init)(key)
    first = jax.jit(lambda data, split: task.gather(data, split, task.order(key, jnp.int32(0), 1)[0]))
    batch = first(task.data, split)
    objective = arm.objective(point)

    def loss(params: Params, batch: Batch) -> Array:
        return objective(params, extras, batch, key)[0]

    return audit(loss, arm.optimizer(point), params, batch, steps)


def middle(arm: Arm) -> Hypers:
    """The point in the middle of an arm's grid, among those whose axis is not switched off."""
    axis = np.asarray(getattr(arm.points, arm.axis))
    values = np.unique(axis[axis != 0] if axis.any() else axis)
    candidates = np.flatnonzero(axis == values[len(values) // 2])
    return jax.tree.map(lambda leaf: np.asarray(leaf)[candidates[len(candidates) // 2]], arm.points)


def said(point: Hypers) -> str:
    """`learning_rate 0.003, decay 1`."""
    return ", ".join(f"{name} {float(value):.3g}" for name, value in point._asdict().items())
