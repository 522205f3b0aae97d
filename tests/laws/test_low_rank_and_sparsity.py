"""What L2 on factors does to their product, and which ways to an L1 penalty leave zeros."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything
from wd_research.decay.penalties import l1, l2, penalized
from wd_research.decay.places import decoupled, proximal
from wd_research.decay.proximal import soft_threshold
from wd_research.decay.pulls import down
from wd_research.decay.transforms import decay_weights


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def without_decay(learning_rate):
    """Plain descent."""
    return decoupled(optax.identity(), optax.identity(), learning_rate, lambda step: 1.0)


def end(optimizer, loss, start, steps):
    """The weights after all steps."""

    def step(carry, _):
        params, state = carry
        gradients = jax.grad(lambda w: loss(w, (), None, None)[0])(params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jax.tree.map(jnp.asarray, start)
    run = jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), length=steps)[0][0])
    return jax.tree.map(np.asarray, run(start))


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_l2_on_two_factors_takes_half_its_strength_from_every_singular_value(strength):
    """|A B' - D|^2 + lambda/2 (|A|^2 + |B|^2) is least where the singular values of A B' are max(D_i - lambda/2, 0).

    So the rank falls, from 5 to 4, 3 and 2 as lambda/2 passes the values of D. The half is ours: the caption of the
    source's figure has lambda.

    Source: Kobayashi et al. (2410.23819).
    """
    values = np.array([1.0, 0.8, 0.6, 0.4, 0.2])

    def loss(params, extras, batch, key):
        return jnp.sum((params["a"] @ params["b"].T - jnp.diag(values)) ** 2), (extras, {})

    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=(5, 5)) / 5, "b": rng.normal(size=(5, 5)) / 5}
    params = end(without_decay(0.1), penalized(loss, l2, strength), start, steps=5_000)
    found = np.linalg.svd(params["a"] @ params["b"].T, compute_uv=False)
    np.testing.assert_allclose(found, np.maximum(values - strength / 2, 0), atol=1e-6)


EXAMPLES, FEATURES, STRENGTH, LEARNING_RATE, STEPS = 40, 10, 0.1, 0.3, 5_000
RNG = np.random.default_rng(3)
X = RNG.normal(size=(EXAMPLES, FEATURES))
Y = X @ np.where(np.arange(FEATURES) < 4, np.array([1.0, -1.0] * 5), 0.0) + 0.1 * RNG.normal(size=EXAMPLES)


def squared_error(w, extras, batch, key):
    return 0.5 * jnp.mean((X @ w - Y) ** 2), (extras, {})


def lasso():
    """The least of squared error + strength |w|_1, by iterative soft thresholding in NumPy."""
    w = np.zeros(FEATURES)
    for _ in range(STEPS):
        v = w - LEARNING_RATE * X.T @ (X @ w - Y) / EXAMPLES
        w = np.sign(v) * np.maximum(np.abs(v) - LEARNING_RATE * STRENGTH, 0)
    return w


def test_l2_on_u_and_v_is_l1_on_their_product():
    """With w = u v, entry by entry, strength/2 (|u|^2 + |v|^2) has the minimum strength |w|_1 over all u, v of w.

    Source: Ziyin & Wang, spred (2210.01212).
    """

    def of_product(params, extras, batch, key):
        return squared_error(params["u"] * params["v"], extras, batch, key)

    loss = penalized(of_product, partial(l2, mask=everything), STRENGTH)
    start = {"u": np.full(FEATURES, 0.7), "v": np.linspace(-0.6, 0.5, FEATURES)}
    params = end(without_decay(LEARNING_RATE), loss, start, STEPS)
    np.testing.assert_allclose(params["u"] * params["v"], lasso(), atol=1e-10)
    np.testing.assert_allclose(np.abs(params["u"]), np.abs(params["v"]), atol=1e-10)


def test_the_subgradient_of_l1_leaves_no_zero_and_the_proximal_step_leaves_them_all():
    """In the loss and as a pull, weights go on jumping over 0, by up to eta strength; the proximal step stops there."""
    l1_everywhere = partial(l1, mask=everything)
    start = np.full(FEATURES, 0.5)
    in_loss = end(without_decay(LEARNING_RATE), penalized(squared_error, l1_everywhere, STRENGTH), start, STEPS)
    pull = decay_weights(STRENGTH, down(l1_everywhere), everything)
    pulled = end(decoupled(optax.identity(), pull, LEARNING_RATE, lambda step: 1.0), squared_error, start, STEPS)
    prox = partial(soft_threshold, mask=everything)
    step = proximal(optax.identity(), prox, STRENGTH, LEARNING_RATE, lambda step: 1.0)
    stepped = end(step, squared_error, start, STEPS)
    assert (in_loss == 0).sum() == (pulled == 0).sum() == 0
    assert ((stepped == 0) == (lasso() == 0)).all()
    assert (stepped == 0).sum() == 6
    np.testing.assert_allclose(stepped, lasso(), atol=1e-10)
    for near in (in_loss, pulled):
        np.testing.assert_allclose(near, lasso(), atol=2 * LEARNING_RATE * STRENGTH)
