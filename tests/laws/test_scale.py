"""What does not change with a scale: the loss of a normalized net with the weights', AdamW with the gradients'."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import constant, coupled, decoupled, independent
from wd_research.decay.transforms import decay_weights

STEPS = 30
COSINE = optax.cosine_decay_schedule(1.0, STEPS)
INPUTS = np.random.default_rng(0).normal(size=(8, 4))
START = np.random.default_rng(1).normal(size=(4, 3))


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def normalized_loss(epsilon):
    """A layer, the normalization of its outputs over the batch, and something to learn."""

    def loss(w, extras, batch, key):
        outputs = batch @ w
        outputs = (outputs - outputs.mean(axis=0)) / jnp.sqrt(outputs.var(axis=0) + epsilon)
        value = jnp.mean((jnp.tanh(outputs).sum(axis=1) - jnp.sin(batch[:, 0])) ** 2)
        return value, (extras, {})

    return loss


def value_and_gradient(strength, w, epsilon=0.0):
    objective = penalized(normalized_loss(epsilon), l2, strength)
    return jax.value_and_grad(lambda w: objective(w, (), INPUTS, None)[0])(w)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_larger_weight_is_a_stronger_penalty(scale):
    """L_lambda(a w) = L_{lambda a^2}(w), and so a grad L_lambda(a w) = grad L_{lambda a^2}(w).

    Source: van Laarhoven (1706.05350). With an epsilon in the normalization it is not so.
    """
    larger, gradient_there = value_and_gradient(0.2, scale * START)
    stronger, gradient_here = value_and_gradient(0.2 * scale**2, START)
    assert float(larger) == pytest.approx(float(stronger), rel=1e-12)
    np.testing.assert_allclose(scale * gradient_there, gradient_here, rtol=1e-9)
    with_epsilon = [value_and_gradient(s, w, 0.1)[0] for s, w in ((0.2, scale * START), (0.2 * scale**2, START))]
    assert abs(float(with_epsilon[0] - with_epsilon[1])) > 1e-3


def trajectory(optimizer, loss, start):
    """The weights after every step."""

    def step(carry, _):
        w, state = carry
        gradient = jax.grad(lambda w: loss(w, (), INPUTS, None)[0])(w)
        updates, state = optimizer.update(gradient, state, w)
        return (w + updates, state), w + updates

    start = jnp.asarray(start)
    return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=STEPS)[1])()


def test_descent_feels_the_learning_rate_over_the_squared_norm():
    """From a w, with learning rate a^2 eta and decay lambda / a^2, plain descent takes the same way a times as large.

    Source: van Laarhoven (1706.05350).
    """
    first, second = (
        trajectory(
            decoupled(optax.identity(), decay_weights(0.3 / a**2), 0.1 * a**2, COSINE), normalized_loss(0.0), a * START
        )
        for a in (1.0, 3.0)
    )
    np.testing.assert_allclose(3 * first, second, rtol=1e-9)


def curved_loss(w, extras, batch, key):
    """A loss that no normalization makes blind to the scale."""
    return jnp.mean((jnp.tanh(batch @ w).sum(axis=1) - 1) ** 2), (extras, {})


@pytest.mark.parametrize(
    ("place", "free"), [(decoupled, True), (independent, True), (constant, True), (coupled, False)]
)
def test_only_decay_after_adam_leaves_the_trajectory_free_of_the_gradients_scale(place, free):
    """Gradients are multiplied by numbers of their own, 1e-3 to 1e3, entry by entry; Adam's epsilon is negligible.

    Source: Zhuang et al. (2202.00089): AdamW is scale-free, Adam with L2 in the loss is not.
    """
    factors = np.geomspace(1e-3, 1e3, START.size).reshape(START.shape)

    def way(factors):
        optimizer = place(optax.scale_by_adam(eps=1e-30), decay_weights(0.2, mask=everything), 0.05, COSINE)
        scaled = optax.stateless(lambda updates, params: factors * updates)
        return trajectory(optax.chain(scaled, optimizer), curved_loss, START)

    plain, rescaled = way(np.ones_like(factors)), way(factors)
    if free:
        np.testing.assert_allclose(rescaled, plain, rtol=1e-9)
    else:
        assert np.abs(rescaled - plain).max() > 0.01 * np.abs(plain - START).max()
