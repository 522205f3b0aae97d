"""The audit of an experiment: every arm that is trained, at the middle of its grid or at a point that was chosen."""

import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.audit.leaves import Audit, as_text, auditor
from wd_research.results import describe_point
from wd_research.types import Arm, Array, Batch, Extras, Hypers, Params


def auditing(arms: Mapping[str, Arm], steps_of: Callable[[Arm], int]) -> Callable[..., str]:
    """What decay does in each arm over its run of so many steps, for `audit.txt`: a function of the `chosen` points.

    An arm that has none is audited at the middle of its grid. Arms that share their functions, and audits of an arm at
    several points, share what is compiled. The function raises DecayError, with one sentence, when a mask or a tree of
    rates does not fit the params.
    """
    firsts, auditors, found = {}, {}, {}

    def of_arm(name: str, arm: Arm, point: Hypers) -> str:
        task, said = arm.task, describe_point(point._asdict())
        functions, program = (task.init, task.order, task.gather), (arm.minimised, arm.optimizer)
        firsts[functions] = firsts.get(functions) or first_of(*functions)
        auditors[program] = auditors.get(program) or auditor_of(arm)
        if (name, said) not in found:
            params, extras, batch = firsts[functions](task.data, task.split(0))
            found[name, said] = as_text(auditors[program]((point, extras), params, batch, steps_of(arm)))
        return f"{name}, at {said}\n\n{found[name, said]}"

    def text(chosen: Mapping[str, Hypers] = types.MappingProxyType({})) -> str:
        sections = [of_arm(name, arm, chosen.get(name) or middle(arm)) for name, arm in arms.items()]
        return "\n".join(sections) or "nothing is trained, so nothing decays\n"

    return text


def first_of(
    init: Callable[..., Any], order: Callable[..., Any], gather: Callable[..., Any]
) -> Callable[[Any, Any], tuple[Params, Extras, Batch]]:
    """The function (data, split) -> weights, extras and first batch of seed 0; tasks of other data share it."""
    key = jax.random.key(0)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # it runs once
    def first(data: Any, split: Any) -> tuple[Params, Extras, Batch]:
        return *init(key), gather(data, split, order(key, jnp.int32(0), 1)[0])

    return first


def auditor_of(arm: Arm) -> Callable[..., Audit]:
    """The audit of an arm as a function of ((hypers, extras), params, batch, steps)."""

    def loss(numbers: tuple[Hypers, Extras], params: Params, batch: Batch) -> Array:
        hypers, extras = numbers
        return arm.minimised(hypers)(params, extras, batch, jax.random.key(0))[0]

    return auditor(loss, lambda numbers: arm.optimizer(numbers[0]))


def middle(arm: Arm) -> Hypers:
    """The point in the middle of an arm's grid, among those whose axis is not switched off."""
    axis = np.asarray(getattr(arm.points, arm.axis))
    values = np.unique(axis[axis != 0] if axis.any() else axis)
    candidates = np.flatnonzero(axis == values[len(values) // 2])
    return jax.tree.map(lambda leaf: np.asarray(leaf)[candidates[len(candidates) // 2]], arm.points)
