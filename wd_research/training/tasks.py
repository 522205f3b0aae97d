"""Tasks: data, a net and a loss as pure functions."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.flags import UserError, counts
from wd_research.training.data import Examples, Split, check_split, scaled, standardised
from wd_research.training.nets import Net, as_net
from wd_research.types import Array, Batch, Extras, Hypers, Key, Loss, Metrics, Numbers, Params, Task

EVALUATED = 10_000  # examples of a part


def no_settings(hypers: Hypers) -> Mapping[str, Any]:
    """The net has no number that is a hyperparameter."""
    del hypers
    return {}


def classification(
    model: nn.Module | Net,
    examples: Examples,
    split: Callable[[int], Split],
    batch_size: int,
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
    evaluated: int = EVALUATED,
) -> Task:
    """Learn the class of each example by the mean cross entropy (natural logarithm) of softmax(model(inputs)).

    The model is a flax linen module or a Net; it makes logits f32[b, classes], or f32[b, t, classes] of what follows
    each of t tokens. `split(seed)` draws what a seed sees. `settings(hypers)` are keyword arguments of the net in
    training, such as a dropout rate. The metrics of each part are "accuracy" (a share) and "loss" (nats per example),
    over its examples or, where it has more, `evaluated` of them, the same at every point and step.

    Raises UserError when the targets are no classes, or the net makes logits of another shape.
    """
    net, targets = as_net(model), np.asarray(examples.targets)
    if targets.dtype.kind not in "iu":
        raise UserError(f"targets of type {targets.dtype} are no classes: give whole numbers, or use regression")
    made, wanted = outputs_of(net, examples), targets.shape[1:]
    if made[:-1] != wanted or len(made) != len(wanted) + 1 or made[-1] <= targets.max():
        raise UserError(f"the net makes outputs of shape {made} from an example: classes 0 to {targets.max()} need "
                         f"logits of shape {(*wanted, int(targets.max()) + 1)}")  # fmt: skip

    def measure(logits: Array, targets: Numbers) -> Metrics:
        return {
            "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == targets, dtype=logits.dtype),
            "loss": cross_entropy(logits, targets),
        }

    return supervised(net, examples, split, batch_size, measure, settings, evaluated)._replace(loss_unit="nats")


def regression(
    model: nn.Module | Net,
    examples: Examples,
    split: Callable[[int], Split],
    batch_size: int,
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
    evaluated: int = EVALUATED,
) -> Task:
    """Learn numbers by the mean squared error of model(inputs), in units of their variance: mean |z - model(x)|^2.

    z = (y - mean) / deviation over the whole pool, number by number, so that a net which always says the mean has
    loss 1. The net makes f32[b, ...] as the targets are, or f32[b, 1] of f32[b]. The metric of each part is "loss",
    over its examples or, where it has more, `evaluated` of them.

    Raises UserError when the targets are classes, or the net makes outputs of another shape.
    """
    net, targets = as_net(model), np.asarray(examples.targets)
    if targets.dtype.kind != "f":
        raise UserError(f"targets of type {targets.dtype} are classes: give them as floats to predict numbers")
    made, wanted = outputs_of(net, examples), targets.shape[1:]
    if made not in (wanted, (*wanted, 1)):
        raise UserError(f"the net makes outputs of shape {made} from an example: its targets are of shape {wanted}")
    mean, deviation = targets.mean(axis=0), targets.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def measure(outputs: Array, targets: Numbers) -> Metrics:
        return {"loss": jnp.mean(jnp.square((targets - mean) * scale - outputs.reshape(targets.shape)))}

    return supervised(net, examples, split, batch_size, measure, settings, evaluated)


def supervised(
    net: Net,
    examples: Examples,
    split: Callable[[int], Split],
    batch_size: int,
    measure: Callable[[Array, Numbers], Metrics],
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
    evaluated: int = EVALUATED,
) -> Task:
    """Learn from examples by what measure(outputs, targets) calls "loss"; all that it says is measured of each part.

    Every seed's split is drawn once. Raises UserError when it cannot be one (`data.check_split`), or the batch size.
    """
    counts(batch_size=batch_size, evaluated=evaluated)
    split = drawn_once(split, examples)
    train_size = len(split(0).train)
    batch_size = min(batch_size, train_size)

    def init(key: Key) -> tuple[Params, Extras]:
        return net.init(key, jnp.asarray(examples.inputs[:1]))

    def gather(data: Examples, split: Split, indices: Array) -> Batch:
        return standardised(data, split, split.train[indices], split.train_targets[indices])

    def splits(data: Examples, split: Split) -> dict[str, Batch]:
        train, validation, test = (some(part, evaluated) for part in (split.train, split.validation, split.test))
        return {
            "train": standardised(data, split, train, some(split.train_targets, evaluated)),
            "validation": standardised(data, split, validation, data.targets[validation]),
            "test": standardised(data, split, test, data.targets[test]),
        }

    def order(key: Key, start: Array, steps: int) -> Array:
        return shuffled_epochs(key, start, steps, train_size, batch_size)

    at_once = batch_size if np.ndim(examples.inputs) > 2 else None  # rows make one product, all together
    loss, evaluate, predict = of_net(net, measure, settings, at_once)
    return Task(examples, split, init, order, gather, loss, splits, evaluate, predict, scaled)


def some(part: Numbers, most: int) -> Numbers:
    """What stands in a part, or so many of it, from all along it."""
    return part if len(part) <= most else part[np.linspace(0, len(part), most, endpoint=False).astype(np.int32)]


def of_net(
    net: Net, measure: Callable[[Array, Numbers], Metrics], settings: Callable[[Hypers], Mapping[str, Any]],
    at_once: int | None = None,
) -> tuple[Callable[[Hypers], Loss], Callable[..., Metrics], Callable[..., Array]]:  # fmt: skip
    """A task's loss, its metrics of a part and its predictions, from what measure(outputs, targets) says of a net.

    `at_once` is how many examples are predicted together; None: all of a part.
    """

    def loss(hypers: Hypers) -> Loss:
        numbers = settings(hypers)

        def of_batch(params: Params, extras: Extras, batch: Batch, key: Key):
            outputs, extras = net.apply(params, extras, batch.inputs, True, key, **numbers)
            value = measure(outputs, batch.targets)["loss"]
            return value, (extras, {"loss": value})

        return of_batch

    def predict(params: Params, extras: Extras, inputs: Numbers) -> Array:
        return in_pieces(lambda piece: net.apply(params, extras, piece, False)[0], inputs, at_once)

    def evaluate(params: Params, extras: Extras, batch: Batch, name: str) -> Metrics:
        del name
        return measure(predict(params, extras, batch.inputs), batch.targets)

    return loss, evaluate, predict


def in_pieces(function: Callable[[Numbers], Array], inputs: Numbers, at_once: int | None) -> Array:
    """function(inputs) of so many examples at a time, the last filled up by the first; f32[b, ...].

    All images at once leave a CPU's cache, and take as many times the memory of a step (docs/benchmarks.md).
    """
    count = len(inputs)
    if at_once is None or count <= at_once:
        return function(inputs)
    places = np.arange(-(-count // at_once) * at_once) % count
    pieces = jnp.asarray(inputs)[places].reshape(-1, at_once, *inputs.shape[1:])
    outputs = jax.lax.map(function, pieces)
    return outputs.reshape(-1, *outputs.shape[2:])[:count]


def drawn_once(split: Callable[[int], Split], examples: Examples) -> Callable[[int], Split]:
    """The split of each seed, drawn and checked when it is first asked for; so a seed has one, whatever is drawn."""
    if not callable(split):
        raise UserError(f"the split is a {type(split).__name__}, and every seed draws its own: give a function of the "
                        "seed, such as lambda seed: wd.draw_split(examples, seed, 200, 100)")  # fmt: skip
    drawn: dict[int, Split] = {}

    def of_seed(seed: int) -> Split:
        if seed not in drawn:
            found = split(seed)
            check_split(examples, found, next(iter(drawn.values()), None))
            drawn[seed] = found
        return drawn[seed]

    return of_seed


def outputs_of(net: Net, examples: Examples) -> tuple[int, ...]:
    """The shape of what the net makes of one example; nothing is computed.

    Raises UserError when that is no array, or not one output for each of two examples. Whatever the net raises is
    raised, with a note of the example's shape and type.
    """
    pool = np.asarray(examples.inputs)

    def made(key: Key, count: int) -> Any:
        example = jnp.zeros((count, *pool.shape[1:]), pool.dtype)
        params, extras = net.init(key, example[:1])
        return net.apply(params, extras, example, False)[0]

    try:
        one, two = (
            jax.eval_shape(partial(made, count=count), jax.eval_shape(lambda: jax.random.key(0))) for count in (1, 2)
        )
        if not hasattr(one, "shape"):
            raise UserError(f"the net makes a {type(one).__name__}: let it return one array, its outputs")
        if (one.shape[:1], two.shape[:1], one.shape[1:]) != ((1,), (2,), two.shape[1:]):
            raise UserError(f"the net makes outputs of shape {one.shape} from 1 example and {two.shape} from 2: give "
                            "each example an output of its own, along the first axis")  # fmt: skip
        return one.shape[1:]
    except UserError:
        raise
    except Exception as error:  # whatever a person's net raises: a bug keeps its traceback
        error.add_note(f"This came up when the net was given an example of shape {pool.shape[1:]}, type {pool.dtype}.")
        raise


def with_metrics(task: Task, measure: Callable[[Params, Extras, Batch, str], Metrics]) -> Task:
    """The task with more metrics of each split: measure(params, extras, batch, name of the split), f32[] each."""

    def evaluate(params: Params, extras: Extras, batch: Batch, name: str) -> Metrics:
        return {**task.evaluate(params, extras, batch, name), **measure(params, extras, batch, name)}

    return task._replace(evaluate=evaluate)


def with_start(task: Task) -> Task:
    """The task with the weights that training starts from in its extras: {"start": params, "task": its own extras}.

    So a metric of the way from there reads `extras["start"]`.
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

    def with_own_extras(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, extras, *others: function(params, extras["task"], *others)

    return task._replace(
        init=init,
        loss=loss,
        evaluate=with_own_extras(task.evaluate),
        predict=with_own_extras(task.predict),
        measure=with_own_extras(task.measure),
    )


def starting_from(task: Task, params: Params, extras: Extras | None = None) -> Task:
    """The task with every seed beginning at these weights, as those of another run: fine-tuning.

    Raises UserError where the task has other leaves, or extras that are not given.
    """
    extras = {} if extras is None else extras

    def kinds(tree: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}

    own, given = kinds(jax.eval_shape(task.init, jax.random.key(0))), kinds((params, extras))
    for name in sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name)):
        raise UserError(f"the task has {own.get(name, 'nothing')} at {name} of its weights and extras, and there is "
                        f"{given.get(name, 'nothing')} to start from: take both from a run of that net")  # fmt: skip

    def init(key: Key) -> tuple[Params, Extras]:
        del key
        return jax.tree.map(jnp.asarray, (params, extras))

    return task._replace(init=init)


def cross_entropy(logits: Array, targets: Numbers) -> Array:
    """-mean log softmax(logits)[target] in nats, from f32[..., classes] and i32[...]; f32[].

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
