"""The rule of L2, w <- (1 - eta lambda/n) w - eta dC0/dw, and the formula of a question about it, in two readings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd

Reading = Callable[[Any, Any, Any], Any]


class Hypers(NamedTuple):
    """The hyperparameters of a net, or of a line."""

    decay: wd.Array  # f32[], lambda of the rule: of lambda/(2n) sum w^2 in the cost
    number: wd.Array  # f32[], lambda of the formula: lambda sum w^2 is added to every weight
    literal: wd.Array  # f32[], 1 where the formula is taken literally, else 0
    learning_rate: wd.Array  # f32[], eta


def by_rule(decay: Any, weight: Any, step: Any) -> Any:
    """(1 - decay) w + step, where step = -eta dC0/dw and decay = eta lambda/n."""
    return (1 - decay) * weight + step


def kindly(added: Any, weight: Any, step: Any) -> Any:
    """The question's formula with "update" as a step that is added: w + step + added, added = lambda sum w^2."""
    return weight + step + added


def literally(added: Any, weight: Any, step: Any) -> Any:
    """The question's formula as it stands, new = w * update + lambda sum w^2: w * step + added."""
    return weight * step + added


def cost(task: wd.Task, examples: int) -> Callable[[Hypers], wd.Loss]:
    """C = C0 + lambda/(2n) sum w^2, biases left out."""
    return lambda hypers: wd.penalized(task.loss(hypers), wd.l2, hypers.decay / examples)


def descent(hypers: Hypers) -> optax.GradientTransformation:
    """Gradient descent, by a reading of the formula where `number` or `literal` is not 0.

    The formula is for matrices, and over their sum of squares; biases take the plain step.
    """

    def update(gradients: wd.Params, params: wd.Params | None) -> wd.Params:
        added = hypers.number * 2 * wd.l2(params)

        def of_leaf(is_weight: bool, gradient: wd.Array, weight: wd.Array) -> wd.Array:
            step = -hypers.learning_rate * gradient
            if not is_weight:
                return step
            # What is added to w; read kindly, without going through w + step, which would round.
            return jnp.where(hypers.literal > 0, literally(added, weight, step) - weight, step + added)

        return jax.tree.map(of_leaf, wd.matrices(params), gradients, params)

    return optax.stateless(update)


# Two forms of one step


def two_forms(arm: wd.Arm, examples: int, steps: int) -> wd.ComputedArm:
    """Along the rule's path, each step by the gradient of the whole cost and by (1 - eta lambda/n) w - eta dC0/dw.

    "rounding": the largest distance of the two results, in units of 2^-23 (|w| + |both parts of the step|). "relative":
    the same over |both parts of the step|. "decay_inward" and "data_inward_positive", "..._negative": the mean share
    of the weights that a part of the step moves toward zero.
    """

    def of_member(data: wd.Examples, split: wd.Split, hypers: Hypers, key: wd.Key) -> wd.Metrics:
        batch = arm.task.gather(data, split, jnp.arange(examples))
        slope = jax.grad(lambda params, extras: arm.task.loss(hypers)(params, extras, batch, key)[0])

        def step(carry: tuple[wd.State, wd.Metrics, wd.Metrics], nothing: None):
            state, largest, total = carry
            after, _ = wd.train_step(arm, hypers, state, batch, key)
            weights = wd.entries(state.params)
            push = -hypers.learning_rate * wd.entries(slope(state.params, state.extras))
            decay = -hypers.learning_rate * hypers.decay / examples
            distance = jnp.linalg.norm(wd.entries(after.params) - by_rule(-decay, weights, push))
            parts = jnp.linalg.norm(decay * weights) + jnp.linalg.norm(push)
            seen = {
                "rounding": distance / (2.0**-23 * (jnp.linalg.norm(weights) + parts)),
                "relative": distance / parts,
            }
            shares = {
                "decay_inward": jnp.mean(decay * weights * weights < 0, dtype=jnp.float32),
                "data_inward_positive": jnp.mean(push < 0, where=weights > 0, dtype=jnp.float32),
                "data_inward_negative": jnp.mean(push > 0, where=weights < 0, dtype=jnp.float32),
            }
            return (after, jax.tree.map(jnp.maximum, largest, seen), jax.tree.map(jnp.add, total, shares)), None

        largest = dict.fromkeys(("rounding", "relative"), jnp.zeros(()))
        total = dict.fromkeys(("decay_inward", "data_inward_positive", "data_inward_negative"), jnp.zeros(()))
        (_, largest, total), _ = jax.lax.scan(step, (wd.init_state(arm, hypers, key), largest, total), length=steps)
        return largest | jax.tree.map(lambda share: share / steps, total)

    return lambda seeds: wd.labelled(arm.points, arm.axis, steps, over_members(arm, of_member, seeds))


def over_members(arm: wd.Arm, of_member: Callable[..., wd.Metrics], seeds: int) -> dict[str, np.ndarray]:
    """A function of (data, split, hypers, key) at every seed and point of an arm; f32[s, h] each."""
    compiled = jax.jit(jax.vmap(of_member, in_axes=(None, None, 0, None)))
    rows = [compiled(arm.task.data, arm.task.split(seed), arm.points, jax.random.key(seed)) for seed in range(seeds)]
    return jax.tree.map(lambda *columns: np.stack(columns), *rows)
