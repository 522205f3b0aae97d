"""Wrappers of tasks: a batch in pieces, an average of the weights beside them, weights of another precision."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from wd_research.flags import UserError, counts
from wd_research.types import Array, Batch, Extras, Hypers, Key, Loss, Metrics, Number, Params, Task


def accumulated(task: Task, pieces: int) -> Task:
    """The task with every batch in so many pieces, whose gradients are added: the batch's to rounding, in less memory.

    The activations of one piece are there at a time. Extras pass from piece to piece, metrics are means over them.
    Raises UserError, while it is traced, where a batch cannot be cut so.
    """
    counts(pieces=pieces)

    def loss(hypers: Hypers) -> Loss:
        of_piece = jax.value_and_grad(task.loss(hypers), has_aux=True)

        def all_pieces(params: Params, extras: Extras, batch: Batch, key: Key):
            def add(carried: tuple[Any, Extras], given: tuple[Batch, Key]):
                sums, extras = carried
                (value, (extras, metrics)), gradients = of_piece(params, extras, *given)
                return (jax.tree.map(jnp.add, sums, (value, gradients)), extras), metrics

            nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
            cut = jax.tree.map(lambda leaf: pieces_of(leaf, pieces), batch), jax.random.split(key, pieces)
            (sums, extras), metrics = jax.lax.scan(add, (nothing, extras), cut)
            value, gradients = jax.tree.map(lambda total: total / pieces, sums)
            return (value, (extras, jax.tree.map(lambda metric: metric.mean(axis=0), metrics))), gradients

        @jax.custom_vjp
        def of_batch(params: Params, extras: Extras, batch: Batch, key: Key):
            return all_pieces(params, extras, batch, key)[0]

        def backward(gradients: Params, given: Any):
            return jax.tree.map(lambda gradient: gradient * given[0], gradients), None, None, None

        of_batch.defvjp(all_pieces, backward)
        return of_batch

    return task._replace(loss=loss)


def pieces_of(leaf: Array, pieces: int) -> Array:
    """A batch's array [b, ...] in pieces [pieces, b / pieces, ...]."""
    if leaf.shape[0] % pieces:
        raise UserError(f"a batch of {leaf.shape[0]} cannot be cut into {pieces} pieces: give a divisor of it")
    return leaf.reshape(pieces, -1, *leaf.shape[1:])


def with_average(task: Task, share: Number = 0.01) -> Task:
    """The task with an average of its weights beside them, evaluated as "average_loss" and so on.

    average <- average + max(share, 1 / (t + 1)) (w_t - average): the mean of the first 1 / share steps, and from then
    on an exponential one. It is of the weights before each step, in `extras["average"]`.
    Source: Polyak & Juditsky (1992); the exponential form, Morales-Brotons et al. (2411.18704).
    """

    def init(key: Key) -> tuple[Params, Extras]:
        params, extras = task.init(key)
        # copies, for no buffer can be donated twice
        return params, {"task": extras, "average": jax.tree.map(jnp.copy, params), "steps": jnp.int32(0)}

    def loss(hypers: Hypers) -> Loss:
        plain = task.loss(hypers)

        def of_batch(params: Params, extras: Extras, batch: Batch, key: Key):
            value, (own, metrics) = plain(params, extras["task"], batch, key)
            now = jnp.maximum(share, 1 / (extras["steps"] + 1))

            def moved(average: Array, weight: Array) -> Array:
                return (average + now * (jax.lax.stop_gradient(weight) - average)).astype(average.dtype)

            average = jax.tree.map(moved, extras["average"], params)
            return value, ({"task": own, "average": average, "steps": extras["steps"] + 1}, metrics)

        return of_batch

    def evaluate(params: Params, extras: Extras, batch: Batch, name: str) -> Metrics:
        plain = task.evaluate(params, extras["task"], batch, name)
        averaged = task.evaluate(extras["average"], extras["task"], batch, name)
        return {**plain, **{f"average_{metric}": value for metric, value in averaged.items()}}

    def own(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, extras, *others: function(params, extras["task"], *others)

    return task._replace(init=init, loss=loss, evaluate=evaluate, predict=own(task.predict), measure=own(task.measure))


def with_weights_of(task: Task, dtype: Any) -> Task:
    """The task with weights of another floating type, such as jnp.bfloat16, from their beginning on."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(f"weights of type {jnp.dtype(dtype)} have no gradients: give jnp.bfloat16, or another float")

    def init(key: Key) -> tuple[Params, Extras]:
        params, extras = task.init(key)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params), extras

    return task._replace(init=init)
