"""Without gradients, weights shrink by the product of 1 - rate_t, and only where the mask says; in the real engine.

Every optimizer under every mask trains side by side as one tree of weights, so that a place and a block mode cost one
program. The formula is that of the places after the optimizer: Loshchilov & Hutter (1711.05101), algorithm 2.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything, matching, matrices
from wd_research.decay.places import constant, decoupled, independent
from wd_research.decay.transforms import decay_weights
from wd_research.points import grid
from wd_research.training.population import all_devices, compile_population
from wd_research.types import Arm, Array, Batch, Task

STEPS, SEEDS = 10, 2
COSINE = optax.cosine_decay_schedule(1.0, STEPS)

OPTIMIZERS = {
    "sgd": optax.identity(),
    "momentum": optax.trace(0.9),
    "adam": optax.scale_by_adam(),
    "lion": optax.scale_by_lion(),
    "muon": optax.chain(optax.contrib.muon(1.0), optax.scale(-1.0)),
}
MASKS = {"matrices": matrices, "everything": everything, "matching": matching("bias")}
PLACES = {  # what each takes from the weights at step t
    decoupled: lambda hypers, t: hypers.learning_rate * COSINE(t) * hypers.rate,
    independent: lambda hypers, t: COSINE(t) * hypers.rate,
    constant: lambda hypers, t: hypers.rate,
}


class Hypers(NamedTuple):
    """The hyperparameters of a member."""

    learning_rate: Array
    rate: Array


POINTS = grid(Hypers, learning_rate=(0.1, 0.5), rate=(0.0, 0.05, 0.3))


def init(key):
    """A layer per optimizer and mask."""
    layer = {"kernel": jax.random.normal(key, (3, 3)), "bias": jnp.ones(3)}
    return {optimizer: dict.fromkeys(MASKS, layer) for optimizer in OPTIMIZERS}, {}


def flat_loss(hypers):
    """Every weight has a gradient, and it is 0."""
    return lambda params, extras, batch, key: (
        0.0 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)),
        (extras, {}),
    )


TASK = Task(
    data=np.zeros((4, 1), np.float32),
    split=lambda seed: np.arange(4),
    init=init,
    order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
    gather=lambda data, split, indices: Batch(data[split[indices]], indices),
    loss=flat_loss,
)


def side_by_side(params):
    """Each layer has its own mask."""
    return {
        optimizer: {mask: MASKS[mask](layer) for mask, layer in layers.items()} for optimizer, layers in params.items()
    }


@cache
def trained(decay_place, block):
    """The weights at the start and at the end, [s, h, ...]."""
    core = optax.partition(OPTIMIZERS, {name: name for name in OPTIMIZERS})
    arm = Arm(
        TASK,
        lambda h: decay_place(core, decay_weights(h.rate, mask=side_by_side), h.learning_rate, COSINE),
        POINTS,
        axis="rate",
    )
    programs = compile_population(arm, SEEDS, STEPS, all_devices(), block)
    inputs = programs.put(arm)
    members = programs.init(inputs)
    start = programs.fetch(members.state.params)
    end = programs.advance(members, inputs, np.int32(0), np.int32(STEPS), np.bool_(True))
    return start, programs.fetch(end.state.params)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("block", [1, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("decay_place", PLACES, ids=lambda place: place.__name__)
def test_weights_shrink_by_the_product_of_the_rates_on_decayed_leaves_alone(decay_place, block, optimizer, mask):
    start, end = (tree[optimizer][mask] for tree in trained(decay_place, block))
    remains = np.prod([1 - PLACES[decay_place](POINTS, t) for t in range(STEPS)], axis=0)

    def check(decayed, before, after):
        factor = remains.reshape(1, -1, *(1,) * (before.ndim - 2)) if decayed else 1.0
        np.testing.assert_allclose(after, before * factor, rtol=1e-5 if decayed else 0)

    member = jax.tree.map(lambda leaf: leaf[0, 0], start)
    jax.tree.map(check, MASKS[mask](member), start, end)
    assert remains.min() < 0.9
