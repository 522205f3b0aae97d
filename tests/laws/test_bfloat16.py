"""Decay of weights in bfloat16: below a share of 2^-9 a step takes nothing away, above 2^-8 it moves every weight.

bfloat16 has 8 bits that count, so the next number lies 2^-8 to 2^-7 of a weight away, and what takes less than half of
that rounds back. No tool says so; AdamW's usual share, learning rate 1e-3 times decay .1, is twenty times too small.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from wd_research.decay.units import BITS, moved

WEIGHTS = np.random.default_rng(0).normal(size=4_000)
STEPS = 1_000
PLACES = {"decoupled": wd.decoupled, "independent": wd.independent, "constant": wd.constant}


def after(place, share, dtype, steps=STEPS, update=0.0):
    """What is left of each weight after steps that take a share of it, and add an update times its size; f64[n]."""
    rate = {"decoupled": share / 0.01}.get(place, share)
    optimizer = PLACES[place](optax.identity(), wd.decay_weights(rate, mask=wd.everything), 0.01, lambda step: 1.0)
    params = {"w": jnp.asarray(WEIGHTS, dtype)}

    def step(number, carried):
        params, state = carried
        signs = jax.random.rademacher(jax.random.fold_in(jax.random.key(0), number), WEIGHTS.shape, jnp.float32)
        gradients = {"w": (update / 0.01 * signs * jnp.abs(params["w"].astype(jnp.float32))).astype(dtype)}
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    final, _ = jax.jit(lambda: jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params))))()
    assert final["w"].dtype == dtype
    return np.asarray(final["w"], float) / np.asarray(params["w"], float)


@pytest.mark.parametrize("place", PLACES)
def test_below_the_least_share_no_weight_moves_however_long_the_run(place):
    assert (after(place, 0.99 * 2**-9, jnp.bfloat16) == 1).all()
    assert after(place, 1e-4, jnp.bfloat16).mean() == 1
    assert after(place, 1e-4, jnp.float32).mean() == pytest.approx(0.9048, abs=1e-4)  # (1 - 1e-4)^1000


@pytest.mark.parametrize("place", PLACES)
def test_above_twice_that_every_weight_moves_at_every_step(place):
    assert (after(place, 1.01 * 2**-8, jnp.bfloat16, steps=1) < 1).all()


@pytest.mark.parametrize("place", PLACES)
def test_in_between_some_weights_move_until_they_stand(place):
    once, long = (after(place, 1.5 * 2**-9, jnp.bfloat16, steps) for steps in (1, STEPS))
    assert 0.1 < (once < 1).mean() < 0.9
    assert np.array_equal(long < 1, once < 1)  # who stands at first stands for ever
    assert (long > 0.49).all()  # who moves stands at the next place in its binade where it would not move


def test_beside_an_update_that_moves_the_weight_a_part_of_the_decay_survives():
    """Decay is added to the update first, and what is rounded is their sum: on average it is there."""
    alone, with_updates = after("decoupled", 1e-3, jnp.bfloat16), after("decoupled", 1e-3, jnp.bfloat16, update=2**-7)
    without_decay = after("decoupled", 0.0, jnp.bfloat16, update=2**-7)
    assert alone.mean() == 1
    shrunk = np.median(np.log(np.abs(with_updates))) - np.median(np.log(np.abs(without_decay)))
    assert -1.5 < shrunk < -0.2  # in float32 it would be -1


@pytest.mark.parametrize("dtype", BITS)
def test_the_units_say_which_weights_move(dtype):
    bits = BITS[dtype]
    for share in (2.0 ** -(bits + 2), 0.99 * 2.0 ** -(bits + 1), 1.5 * 2.0 ** -(bits + 1), 1.01 * 2.0**-bits, 0.1):
        weights = jnp.asarray(WEIGHTS, dtype)
        there = np.asarray((weights.astype(jnp.float64 if jax.config.jax_enable_x64 else jnp.float32)), np.float64)
        rounded = np.asarray(jnp.asarray(there * (1 - share), dtype) if dtype != "float32"
                             else (there * (1 - share)).astype(np.float32), np.float64)  # fmt: skip
        moves = (rounded != there).mean()
        assert moved(share, dtype) == ("all" if moves == 1 else "no" if moves == 0 else "some")
