"""Cores and schedules: optimizers for every place of decay, and the learning rate over a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from wd_research.decay import cores, schedules
from wd_research.flags import UserError

PARAMS = {
    "up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(8, 32)), jnp.float32), "bias": jnp.zeros(32)},
    "embedding": jnp.asarray(np.random.default_rng(1).normal(size=(5, 8)), jnp.float32),
}
GRADIENTS = jax.tree.map(lambda leaf: jnp.cos(7 * leaf) + 0.1, PARAMS)
THEIRS = {
    "adam": (cores.adam(0.9, 0.999), lambda decay: optax.adamw(0.1, 0.9, 0.999, weight_decay=decay)),
    "lion": (cores.lion(), lambda decay: optax.lion(0.1, weight_decay=decay)),
    "momentum": (cores.momentum(0.9), lambda decay: optax.chain(
        optax.trace(0.9), optax.add_decayed_weights(decay), optax.scale(-0.1))),
    "muon": (cores.muon(mask=wd.matrices, rest=optax.scale_by_adam(nesterov=True)), lambda decay: optax.contrib.muon(
        0.1, weight_decay=decay, adam_weight_decay=decay, consistent_rms=0.2)),
}  # fmt: skip


def steps(optimizer, count=3):
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(count):
        updates, state = optimizer.update(GRADIENTS, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", THEIRS)
def test_a_core_with_decoupled_decay_is_the_optimizer_that_people_use(name):
    core, theirs = THEIRS[name]
    ours = wd.decoupled(core, wd.decay_weights(0.3, mask=wd.everything), 0.1, lambda step: 1.0)
    for mine, other in zip(*map(jax.tree.leaves, (steps(ours), steps(theirs(0.3)))), strict=True):
        assert np.allclose(mine, other, rtol=2e-4, atol=1e-5)


def test_muon_takes_the_kernels_and_its_step_has_the_size_of_adams():
    core = cores.muon()
    updates, _ = core.update(GRADIENTS, core.init(PARAMS), PARAMS)
    adam, _ = cores.adam().update(GRADIENTS, cores.adam().init(PARAMS), PARAMS)
    assert np.allclose(updates["embedding"], adam["embedding"])
    values = np.linalg.svd(updates["up"]["kernel"], compute_uv=False) / (0.2 * 32**0.5)
    assert ((values > 0.6) & (values < 1.3)).all()
    assert 0.1 < float(jnp.sqrt(jnp.mean(updates["up"]["kernel"] ** 2))) < 0.3


STEPS, WARMUP = 200, 20
SHAPES = {
    "cosine": (schedules.cosine(STEPS, WARMUP), lambda x: (1 + np.cos(np.pi * x)) / 2),
    "linear": (schedules.linear(STEPS, WARMUP), lambda x: 1 - x),
    "stable": (schedules.stable(STEPS, WARMUP, 0.25), lambda x: np.minimum(1, (1 - x) * 180 / 50)),
    "inverse_root": (schedules.inverse_root(STEPS, WARMUP), lambda x: np.sqrt(20 / (20 + 180 * x))),
    "inverse": (schedules.inverse(STEPS, WARMUP, 0.1), lambda x: 1 / (1 + x / 0.1)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_schedule_rises_to_one_and_follows_its_formula(name):
    schedule, formula = SHAPES[name]
    step = np.arange(STEPS)
    found = np.asarray(jax.vmap(schedule)(jnp.asarray(step)))
    assert np.allclose(found[:WARMUP], step[:WARMUP] / WARMUP)
    assert np.allclose(found[WARMUP:], formula((step[WARMUP:] - WARMUP) / (STEPS - WARMUP)), atol=1e-6)
    assert found.max() == pytest.approx(1)
    assert np.allclose(found, [schedule(int(now)) for now in step], atol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "linear", "stable", "inverse"])
def test_without_a_warm_up_it_begins_at_its_peak(name):
    assert float(getattr(schedules, name)(10)(0)) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.cosine(10, 10), "a warm-up of 10 steps does not fit a run of 10"),
        (lambda: schedules.linear(10, -1), "a warm-up of -1 steps does not fit"),
        (lambda: schedules.cosine(10, 2.5), "2.5 is no whole number"),
        (lambda: schedules.stable(10, 5, 0.6), "a warm-up of 5 steps and a cool-down of 0.6 do not fit a run of 10"),
        (lambda: schedules.stable(10, 0, 0), "a cool-down of 0 do not fit"),
        (lambda: schedules.inverse_root(10, 0), "an inverse root falls from the end of its warm-up on"),
        (lambda: schedules.inverse(10, 0, 0), "a scale of 0 cannot be"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_sentence(make, says):
    with pytest.raises(UserError) as raised:
        make()
    assert says in str(raised.value)
