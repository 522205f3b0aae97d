"""Small cases on which the engine is tried: a few digits, tiny nets, four ways to train them."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.decay.masks import everything
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import coupled, decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.points import grid
from wd_research.training.data import digits, draw_split
from wd_research.training.models import Mlp
from wd_research.training.tasks import classification
from wd_research.types import Arm, Array, Batch, Task

EXAMPLES = digits()
COSINE = optax.cosine_decay_schedule(1.0, 20)


class Hypers(NamedTuple):
    """The hyperparameters of a member."""

    learning_rate: Array
    decay: Array
    dropout: Array


def task(batch_norm=False, dropout=False):
    """A task on 40 training digits."""
    return classification(
        Mlp((8,), classes=10, batch_norm=batch_norm),
        EXAMPLES,
        split=lambda seed: draw_split(EXAMPLES, seed, train_size=40, validation_size=30, label_noise=0.2),
        batch_size=16,
        settings=lambda hypers: {"dropout": hypers.dropout} if dropout else {},
    )


def points(decays=(0.0, 0.1, 1.0), learning_rates=(0.01,), dropouts=(0.0,)):
    """A grid, decay running slowest."""
    return grid(Hypers, decay=decays, learning_rate=learning_rates, dropout=dropouts)


def arm(kind="decoupled"):
    """An arm of three points."""
    if kind == "coupled":
        base = task()
        return Arm(
            base,
            lambda h: decoupled(optax.scale_by_adam(), optax.identity(), h.learning_rate, COSINE),
            points(),
            axis="decay",
            objective=lambda h: penalized(base.loss(h), l2, h.decay),
        )
    base = task(batch_norm=kind == "batch norm", dropout=kind == "dropout")
    core, place = (lambda: optax.trace(0.9), coupled) if kind == "batch norm" else (optax.scale_by_adam, decoupled)
    return Arm(
        base,
        lambda h: place(core(), decay_weights(h.decay), h.learning_rate, COSINE),
        points(dropouts=(0.0, 0.4)) if kind == "dropout" else points(),
        axis="decay",
    )


KINDS = ("coupled", "decoupled", "dropout", "batch norm")


def in_double(arm):
    """The same arm in float64; call it, and train, under jax.enable_x64.

    The weights are drawn in float64 too: flax draws them in float32, where one program's rounding is not another's.
    """

    def double(tree):
        return jax.tree.map(lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, tree)

    def init(key):
        params, extras = arm.task.init(key)

        def draw(leaf):
            return 0.3 * jax.random.normal(key, leaf.shape, np.float64)

        return jax.tree.map(draw, params), double(extras)

    wide = arm.task._replace(data=double(arm.task.data), split=lambda seed: double(arm.task.split(seed)), init=init)
    return replace(arm, task=wide, points=double(arm.points))


def leaves_equal(first, second):
    """Whether two trees are the same bit for bit."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs)


def assert_close(first, second, tolerance):
    """Entries agree to the tolerance, relative to the largest entry of their leaf."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


class Rate(NamedTuple):
    """The hyperparameter of a member that descends a parabola."""

    decay: Array


TARGETS = np.float32([[1, 2, 3], [4, 6, 8], [-3, 0, 5], [2, -2, 2]])  # f32[n, w]
LEARNING_RATE = 0.1


def parabola(decays=(0.0, 0.5, 1.0), weights=3, constant=1.0, **changes):
    """An arm that compiles in no time: descent of |w - x|^2 / 2 for one target x at each step, with decoupled decay."""
    targets = np.resize(TARGETS, (len(TARGETS), weights))
    task = Task(
        data=targets,
        split=lambda seed: np.arange(len(targets), dtype=np.int32),
        init=lambda key: ({"w": jax.random.normal(key, (weights,))}, {}),
        order=lambda key, start, steps: ((start + jnp.arange(steps)) % len(targets))[:, None],
        gather=lambda data, split, indices: Batch(data[split[indices]], split[indices]),
        loss=lambda hypers: (
            lambda params, extras, batch, key: (
                constant * jnp.sum((params["w"] - batch.inputs[0]) ** 2) / 2,
                (extras, {"loss": jnp.sum((params["w"] - batch.inputs[0]) ** 2)}),
            )
        ),
    )
    return Arm(
        task._replace(**changes),
        lambda h: decoupled(
            optax.identity(), decay_weights(h.decay, mask=everything), LEARNING_RATE, optax.constant_schedule(1.0)
        ),
        grid(Rate, decay=decays),
        axis="decay",
    )
