"""Tasks: data, a net and a loss, put together as pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from wd_research.training.data import Examples, Split, standardised
from wd_research.types import Array, Batch, Extras, Hypers, Key, Loss, Metrics, Numbers, Params, Task


def no_settings(hypers: Hypers) -> Mapping[str, Any]:
    """The net has no number that is a hyperparameter."""
    del hypers
    return {}


def classification(
    model: nn.Module,
    examples: Examples,
    split: Callable[[int], Split],
    batch_size: int,
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
) -> Task:
    """Learn the class of each example by the mean cross entropy (natural logarithm) of softmax(model(inputs)).

    `split(seed)` draws what a seed sees. `settings(hypers)` are keyword arguments of the net in training, such as a
    dropout rate. The metrics of each part are "accuracy" (a share) and "loss" (nats per example).
    """
    train_size = len(split(0).train)
    batch_size = min(batch_size, train_size)

    def init(key: Key) -> tuple[Params, Extras]:
        variables = dict(model.init(key, jnp.asarray(examples.inputs[:1])))
        return variables.pop("params"), variables

    def gather(data: Examples, split: Split, indices: Array) -> Batch:
        return standardised(data, split, split.train[indices], split.train_targets[indices])

    def parts(data: Examples, split: Split) -> dict[str, Batch]:
        return {
            "train": standardised(data, split, split.train, split.train_targets),
            "validation": standardised(data, split, split.validation, data.targets[split.validation]),
            "test": standardised(data, split, split.test, data.targets[split.test]),
        }

    def loss(hypers: Hypers) -> Loss:
        numbers = settings(hypers)

        def of_batch(params: Params, extras: Extras, batch: Batch, key: Key):
            logits, extras = model.apply(
                {"params": params, **extras}, batch.inputs, train=True, **numbers,
                rngs={"dropout": key}, mutable=list(extras),
            )  # fmt: skip
            value = cross_entropy(logits, batch.targets)
            return value, (extras, {"loss": value})

        return of_batch

    def evaluate(params: Params, extras: Extras, part: Batch) -> Metrics:
        logits: Any = model.apply({"params": params, **extras}, part.inputs, train=False)
        return {
            "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == part.targets, dtype=logits.dtype),
            "loss": cross_entropy(logits, part.targets),
        }

    def order(key: Key, start: Array, steps: int) -> Array:
        return shuffled_epochs(key, start, steps, train_size, batch_size)

    return Task(examples, split, init, order, gather, parts, loss, evaluate)


def measuring(task: Task, measure: Callable[[Params, Extras, Batch], Metrics]) -> Task:
    """The task with more metrics of each part: measure(params, extras, part), f32[] each."""

    def evaluate(params: Params, extras: Extras, part: Batch) -> Metrics:
        return {**task.evaluate(params, extras, part), **measure(params, extras, part)}

    return task._replace(evaluate=evaluate)


def remembering(task: Task, measure: Callable[[Params, Params, Batch], Metrics]) -> Task:
    """The task with the weights that training starts from kept in its extras, and more metrics of each part.

    `measure(params, start, part)` are those metrics, f32[] each.
    """

    def init(key: Key) -> tuple[Params, Extras]:
        params, extras = task.init(key)
        return params, {"task": extras, "start": jax.tree.map(jnp.copy, params)}  # no buffer can be donated twice

    def loss(hypers: Hypers) -> Loss:
        plain = task.loss(hypers)

        def of_batch(params: Params, extras: Extras, batch: Batch, key: Key):
            value, (own, metrics) = plain(params, extras["task"], batch, key)
            return value, ({**extras, "task": own}, metrics)

        return of_batch

    def evaluate(params: Params, extras: Extras, part: Batch) -> Metrics:
        return {**task.evaluate(params, extras["task"], part), **measure(params, extras["start"], part)}

    return task._replace(init=init, loss=loss, evaluate=evaluate)


def cross_entropy(logits: Array, targets: Numbers) -> Array:
    """-mean log softmax(logits)[target] in nats, from f32[b, classes] and i32[b]; f32[].

    By one-hot targets: picking by index would gather forward and scatter backward, once per member.
    """
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)).mean()


def shuffled_epochs(key: Key, start: Array, steps: int, examples: int, batch: int) -> Array:
    """The training examples of `steps` steps from step `start` on: i32[steps, batch].

    Epoch e is a permutation by fold_in(key, e), cut into batches, the rest left over; so step t sees the same examples
    wherever the segments are cut. `start` i32[] may be traced, the others are static.
    """
    per_epoch = examples // batch
    first = start // per_epoch
    epochs = first + jnp.arange(-(-steps // per_epoch) + 1)
    permute = jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), examples))
    batches = permute(epochs)[:, : per_epoch * batch].reshape(-1, batch)
    return jax.lax.dynamic_slice_in_dim(batches, start - first * per_epoch, steps)
