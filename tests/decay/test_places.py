"""Laws of the places: what they equal, written out and in other libraries; trajectories in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything, matching, matrices
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import constant, coupled, decoupled, descend, independent
from wd_research.decay.transforms import decay_weights, scheduled

STEPS, LEARNING_RATE, RATE = 30, 0.02, 0.3
COSINE = optax.cosine_decay_schedule(1.0, STEPS)

CORES = {
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(0.9),
    "adam": optax.scale_by_adam,
    "lion": optax.scale_by_lion,
}
MASKS = {"matrices": matrices, "everything": everything, "matching": matching("second/kernel|bias")}


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def make_params():
    rng = np.random.default_rng(0)
    return {
        "first": {"kernel": jnp.array(rng.normal(size=(4, 3))), "bias": jnp.array(rng.normal(size=3))},
        "second": {"kernel": jnp.array(rng.normal(size=(3, 2)))},
    }


def loss(params, extras, batch, key):
    """A net with curvature and cross terms, so that the order of links matters."""
    hidden = jnp.tanh(batch @ params["first"]["kernel"] + params["first"]["bias"])
    value = jnp.mean((hidden @ params["second"]["kernel"] - 1) ** 2)
    return value, (extras, {"loss": value})


BATCHES = np.random.default_rng(1).normal(size=(STEPS, 5, 4))
GRADIENT = jax.jit(jax.grad(lambda w, batch: loss(w, (), batch, None)[0]))
TREE = jax.tree.structure({"first": {"kernel": 0, "bias": 0}, "second": {"kernel": 0}})


def trajectory(optimizer, objective=loss):
    """The weights after every step."""
    params = make_params()
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch):
        gradients = jax.grad(lambda w: objective(w, (), batch, None)[0])(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    seen = []
    for batch in BATCHES:
        params, state = step(params, state, batch)
        seen.append(params)
    return seen


def assert_same(first, second, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def chain(place, core="adam", rate=RATE, mask=matrices):
    return place(CORES[core](), decay_weights(rate, mask=mask), LEARNING_RATE, COSINE)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("core", CORES)
def test_coupled_is_l2_in_the_loss(core, mask):
    penalty = penalized(loss, lambda params: l2(params, mask), RATE)
    assert_same(trajectory(chain(coupled, core, mask=mask)), trajectory(chain(coupled, core, rate=0.0), penalty))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_decoupled_is_optax_adamw(mask):
    theirs = optax.adamw(lambda count: LEARNING_RATE * COSINE(count), weight_decay=RATE, mask=mask)
    assert_same(trajectory(chain(decoupled, mask=mask)), trajectory(theirs))


# Adam as others write it: what the rate adds to the gradient, and by what share the weights shrink beside the step.
WRITTEN_OUT = {
    "torch.optim.Adam(weight_decay)": (coupled, RATE, lambda eta: 0.0),
    "torch.optim.AdamW": (decoupled, 0.0, lambda eta: LEARNING_RATE * eta * RATE),
    "Loshchilov & Hutter (1711.05101), algorithm 2": (independent, 0.0, lambda eta: eta * RATE),
    "unscheduled": (constant, 0.0, lambda eta: RATE),
}


@pytest.mark.parametrize(("place", "in_gradient", "share"), WRITTEN_OUT.values(), ids=WRITTEN_OUT)
def test_adam_written_out(place, in_gradient, share):
    """In NumPy, with eta_t the schedule's factor, and decay taken from the weights before the step, as in PyTorch."""
    weights = [np.array(leaf) for leaf in jax.tree.leaves(make_params())]
    moments, squares = [[np.zeros_like(w) for w in weights] for _ in range(2)]
    ours = trajectory(chain(place, mask=everything))
    for t, (batch, expected) in enumerate(zip(BATCHES, ours, strict=True), start=1):
        eta = float(COSINE(t - 1))
        gradients = jax.tree.leaves(GRADIENT(jax.tree.unflatten(TREE, weights), batch))
        for i, g in enumerate(gradients):
            g = np.asarray(g) + in_gradient * weights[i]
            moments[i] = 0.9 * moments[i] + 0.1 * g
            squares[i] = 0.999 * squares[i] + 0.001 * g**2
            m_hat, v_hat = moments[i] / (1 - 0.9**t), squares[i] / (1 - 0.999**t)
            weights[i] = weights[i] * (1 - share(eta)) - eta * LEARNING_RATE * m_hat / (np.sqrt(v_hat) + 1e-8)
        assert_same(jax.tree.unflatten(TREE, weights), expected, 1e-11)


def sgdw(schedule):
    """SGDW of Loshchilov & Hutter (1711.05101), algorithm 1, in NumPy: the schedule multiplies what enters m."""
    weights = [np.array(leaf) for leaf in jax.tree.leaves(make_params())]
    memory = [np.zeros_like(w) for w in weights]
    for t, batch in enumerate(BATCHES):
        eta = float(schedule(t))
        gradients = jax.tree.leaves(GRADIENT(jax.tree.unflatten(TREE, weights), batch))
        memory = [0.9 * m + eta * LEARNING_RATE * np.asarray(g) for m, g in zip(memory, gradients, strict=True)]
        weights = [w - m - eta * RATE * w for w, m in zip(weights, memory, strict=True)]
    return jax.tree.unflatten(TREE, weights)


def test_sgdw_keeps_the_schedule_inside_its_momentum_and_a_chain_does_not():
    """At a constant schedule SGDW is `independent`. At a falling one it is another chain, with the schedule first."""
    link = decay_weights(RATE, mask=everything)
    flat = independent(CORES["momentum"](), link, LEARNING_RATE, lambda step: 1.0)
    assert_same(trajectory(flat)[-1], sgdw(lambda step: 1.0))
    falling = trajectory(independent(CORES["momentum"](), link, LEARNING_RATE, COSINE))[-1]
    assert not np.allclose(falling["first"]["kernel"], sgdw(COSINE)["first"]["kernel"], rtol=0.01)
    theirs = optax.chain(
        optax.scale_by_schedule(COSINE),
        optax.scale(LEARNING_RATE),
        CORES["momentum"](),
        scheduled(partial(decay_weights, mask=everything), lambda step: RATE * COSINE(step)),
        descend,
    )
    assert_same(trajectory(theirs)[-1], sgdw(COSINE))


def test_sgd_coupled_is_decoupled_and_with_memory_it_is_not():
    """Without momentum the two places are one; momentum and Adam tell them apart."""
    assert_same(trajectory(chain(coupled, "sgd")), trajectory(chain(decoupled, "sgd")))
    for core in ("momentum", "adam", "lion"):
        a, b = trajectory(chain(coupled, core))[-1], trajectory(chain(decoupled, core))[-1]
        assert not np.allclose(a["first"]["kernel"], b["first"]["kernel"], rtol=1e-3)


@pytest.mark.parametrize("core", CORES)
def test_a_traced_rate_leaves_the_memory_in_the_dtype_of_the_weights(core):
    """A rate f32[] would make a gradient in bfloat16 one in float32, and no second step could follow."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), make_params())
    optimizer = chain(coupled, core, rate=jnp.float32(RATE))
    state = optimizer.init(params)
    after = optimizer.update(params, state, params)[1]
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)
