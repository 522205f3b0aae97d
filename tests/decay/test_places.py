"""Laws of the places, as a table of optimizers crossed with places and masks, in float64 where trajectories meet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything, matching, matrices
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import constant, coupled, decoupled, independent
from wd_research.decay.transforms import decay_weights

STEPS, LEARNING_RATE, RATE = 30, 0.02, 0.3
COSINE = optax.cosine_decay_schedule(1.0, STEPS)

CORES = {
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(0.9),
    "adam": optax.scale_by_adam,
    "lion": optax.scale_by_lion,
}
MASKS = {"matrices": matrices, "everything": everything, "matching": matching("second/kernel|bias")}
# The shrinkage per step that each place after the optimizer promises, as a function of the schedule's value.
SHRINKAGE = {
    decoupled: lambda s: LEARNING_RATE * s * RATE,
    independent: lambda s: s * RATE,
    constant: lambda s: RATE,
}


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


def test_independent_is_loshchilov_and_hutter():
    """Their algorithm 2 (1711.05101), AdamW with schedule multiplier eta_t, written out in NumPy."""
    params = jax.tree.map(np.array, make_params())
    moments = jax.tree.map(np.zeros_like, params)
    squares = jax.tree.map(np.zeros_like, params)
    gradient = jax.jit(jax.grad(lambda w, batch: loss(w, (), batch, None)[0]))
    ours = trajectory(chain(independent, mask=everything))
    for t, (batch, expected) in enumerate(zip(BATCHES, ours, strict=True), start=1):
        g = gradient(params, batch)
        eta = float(COSINE(t - 1))
        moments = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * np.asarray(g), moments, g)
        squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * np.asarray(g) ** 2, squares, g)

        def update(w, m, v, t=t, eta=eta):
            m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
            return w - eta * (LEARNING_RATE * m_hat / (np.sqrt(v_hat) + 1e-8) + RATE * w)

        params = jax.tree.map(update, params, moments, squares)
        assert_same(params, expected, 1e-11)


def test_sgd_coupled_is_decoupled_and_with_memory_it_is_not():
    """Without momentum the two places are one; momentum and Adam tell them apart."""
    assert_same(trajectory(chain(coupled, "sgd")), trajectory(chain(decoupled, "sgd")))
    for core in ("momentum", "adam", "lion"):
        a, b = trajectory(chain(coupled, core))[-1], trajectory(chain(decoupled, core))[-1]
        assert not np.allclose(a["first"]["kernel"], b["first"]["kernel"], rtol=1e-3)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("place", SHRINKAGE, ids=lambda place: place.__name__)
@pytest.mark.parametrize("core", CORES)
def test_zero_gradient_shrinks_by_the_product_and_only_where_the_mask_says(core, place, mask):
    def flat(params, extras, batch, key):
        return 0.0 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)), (extras, {})

    final = trajectory(chain(place, core, mask=mask), flat)[-1]
    remains = np.prod([1 - SHRINKAGE[place](float(COSINE(t))) for t in range(STEPS)])
    start = make_params()
    expected = jax.tree.map(lambda w, c: w * remains if c else w, start, mask(start))
    assert_same(final, expected)
    assert 0 < remains < 0.95


def test_zero_gradient_under_coupled_adam_is_not_geometric():
    """500 steps at learning rate 1e-3 and rate .1 leave .561 of a weight 1, where decoupled decay leaves .951."""
    left = {}
    for place in (coupled, decoupled):
        optimizer = place(optax.scale_by_adam(), decay_weights(0.1, mask=everything), 1e-3, lambda count: 1.0)

        def step(carry, _, optimizer=optimizer):
            updates, state = optimizer.update(jnp.zeros(()), carry[1], carry[0])
            return (carry[0] + updates, state), None

        start = jnp.ones(())
        left[place] = float(jax.lax.scan(step, (start, optimizer.init(start)), length=500)[0][0])
    assert left[coupled] == pytest.approx(0.561, abs=5e-4)
    assert left[decoupled] == pytest.approx((1 - 1e-4) ** 500, rel=1e-9)


def test_a_traced_rate_is_a_rate():
    """Every number may be traced and vmapped: a column of rates gives the trajectories of its entries."""
    rates = jnp.array([0.0, 0.1, 3.0])
    together = jax.vmap(lambda rate: trajectory(chain(decoupled, rate=rate))[-1])(rates)
    for index, rate in enumerate(rates):
        assert_same(
            jax.tree.map(lambda leaf, i=index: leaf[i], together), trajectory(chain(decoupled, rate=float(rate)))[-1]
        )


def test_decay_needs_the_weights():
    link = decay_weights(0.1)
    with pytest.raises(ValueError, match="needs the params"):
        link.update({"w": jnp.ones((2, 2))}, link.init({"w": jnp.ones((2, 2))}))
