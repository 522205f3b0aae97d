"""Laws of masks and penalties: a table of penalties crossed with masks, on weights that hypothesis makes up."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wd_research.decay.masks import everything, leaf_name, matching, matrices
from wd_research.decay.penalties import distance, elastic_net, group_lasso, huber, l1, l2, orthogonality, penalized
from wd_research.decay.places import coupled, decoupled
from wd_research.decay.pulls import down
from wd_research.decay.transforms import decay_toward_start, decay_weights

SHAPES = {"kernel": (3, 2), "wide": (2, 4), "patches": (2, 2, 3), "bias": (3,), "gain": ()}
ZEROS = {name: np.zeros(shape) for name, shape in SHAPES.items()}


def target(shape):
    """The weights to be far from."""
    return np.linspace(-2, 3, int(np.prod(shape))).reshape(shape)


TARGET = {name: target(shape) for name, shape in SHAPES.items()}
numbers = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
trees = st.fixed_dictionaries({name: arrays(np.float64, shape, elements=numbers) for name, shape in SHAPES.items()})

HALVES = {"kernel": 0.5, "wide": True, "patches": 2.0, "bias": False, "gain": False}
MASKS = {"matrices": matrices, "halves": lambda params: HALVES, "everything": everything}


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


class Law(NamedTuple):
    """A penalty, and what it is of one leaf in plain NumPy."""

    penalty: Callable
    value: Callable
    gradient: Callable
    of_any_shape: bool = True


def groups(axis):
    """The group lasso along an axis, written out."""

    def norms(w):
        return np.sqrt((w * w).sum(axis=axis, keepdims=True))

    def root_size(w):
        return np.sqrt(w.size / norms(w).size)

    def gradient(w):
        return root_size(w) * np.divide(w, norms(w), out=np.zeros_like(w), where=norms(w) > 0)

    return Law(partial(group_lasso, axis=axis), lambda w: root_size(w) * norms(w).sum(), gradient, False)


def as_matrix(w):
    return w.reshape(-1, w.shape[-1])


def from_orthonormal(w):
    """The squared distance of the singular values from 1, in their squares."""
    return 0.25 * np.sum((np.linalg.svd(as_matrix(w), compute_uv=False) ** 2 - 1) ** 2)


def orthogonality_gradient(w):
    m = as_matrix(w)
    return (m @ (m.T @ m - np.eye(m.shape[1]))).reshape(w.shape)


LAWS = {
    "l2": Law(l2, lambda w: 0.5 * np.sum(w**2), lambda w: w),
    "l1": Law(l1, lambda w: np.sum(np.abs(w)), np.sign),
    "elastic_net": Law(
        partial(elastic_net, share=0.3),
        lambda w: 0.3 * np.sum(np.abs(w)) + 0.35 * np.sum(w**2),
        lambda w: 0.3 * np.sign(w) + 0.7 * w,
    ),
    "huber": Law(
        partial(huber, threshold=1.5),
        lambda w: np.sum(np.where(np.abs(w) <= 1.5, w**2 / 2, 1.5 * np.abs(w) - 1.125)),
        lambda w: np.clip(w, -1.5, 1.5),
    ),
    "group_lasso, rows": groups(-1),
    "group_lasso, columns": groups(0),
    "group_lasso, patches": groups((0, 1)),
    "orthogonality": Law(orthogonality, from_orthonormal, orthogonality_gradient, of_any_shape=False),
    "distance": Law(
        partial(distance, target=TARGET),
        lambda w: 0.5 * np.sum((w - target(w.shape)) ** 2),
        lambda w: w - target(w.shape),
    ),
}
CASES = [(law, mask) for law in LAWS for mask in MASKS if mask != "everything" or LAWS[law].of_any_shape]


@cache
def value_and_gradient(name, mask):
    return jax.jit(jax.value_and_grad(partial(LAWS[name].penalty, mask=MASKS[mask])))


@pytest.mark.parametrize(("name", "mask"), CASES)
@settings(max_examples=25)
@given(params=trees)
@example(params=ZEROS)
@example(params=TARGET)
def test_a_penalty_is_the_weighted_sum_over_leaves_and_so_is_its_gradient(name, mask, params):
    value, gradient = value_and_gradient(name, mask)(params)
    expected = 0.0
    for leaf, coefficient in MASKS[mask](params).items():
        if coefficient is False:
            np.testing.assert_array_equal(gradient[leaf], 0)
        else:
            expected += coefficient * LAWS[name].value(params[leaf])
            slope = coefficient * LAWS[name].gradient(params[leaf])
            np.testing.assert_allclose(gradient[leaf], slope, rtol=1e-10, atol=1e-10)
    assert float(value) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_orthogonality_refuses_a_vector():
    with pytest.raises(ValueError, match=r"needs matrices, but its mask takes in a leaf of shape \(3,\)"):
        orthogonality({"bias": jnp.ones(3)}, everything)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3)])
def test_orthogonality_is_zero_exactly_for_orthonormal_matrices(shape):
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=shape), full_matrices=False)
    assert float(orthogonality({"kernel": left @ right})) == pytest.approx(0, abs=1e-25)
    assert float(orthogonality({"kernel": 1.1 * left @ right})) > 0.01


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1))
def test_the_smallest_l2_of_factors_is_the_nuclear_norm_of_their_product(seed):
    """Balanced factors from the singular value decomposition attain it; no change of basis between them goes below.

    Source: Srebro, Rennie & Jaakkola (2004).
    """
    rng = np.random.default_rng(seed)
    left, values, right = np.linalg.svd(rng.normal(size=(4, 3)), full_matrices=False)
    first, second = left * np.sqrt(values), np.sqrt(values)[:, None] * right
    smallest = float(l2({"first": first, "second": second}))
    assert smallest == pytest.approx(values.sum(), rel=1e-12)
    for size in (1e-3, 0.1, 1.0):
        basis = np.eye(3) + size * rng.normal(size=(3, 3))
        other = {"first": first @ basis, "second": np.linalg.solve(basis, second)}
        np.testing.assert_allclose(other["first"] @ other["second"], (left * values) @ right, atol=1e-6)
        assert float(l2(other)) >= smallest - 1e-9


@pytest.mark.parametrize(
    "objective",
    [
        lambda params, number: elastic_net(params, number),
        lambda params, number: huber(params, number),
        lambda params, number: penalized(plain_loss, l2, number)(params, (), None, None)[0],
    ],
    ids=["share", "threshold", "strength"],
)
def test_the_numbers_of_a_penalty_may_be_traced_and_mapped(objective):
    column = np.array([0.1, 0.5, 0.9])
    together = jax.jit(jax.vmap(jax.grad(objective), in_axes=(None, 0)))(TARGET, column)
    for index, number in enumerate(column):
        alone = jax.grad(objective)(TARGET, float(number))
        jax.tree.map(lambda t, a, i=index: np.testing.assert_allclose(t[i], a, rtol=1e-12), together, alone)


def plain_loss(params, extras, batch, key):
    """Neither flat nor quadratic, and every leaf enters."""
    value = sum(jnp.sum(jnp.cos(leaf + 0.3)) for leaf in jax.tree.leaves(params))
    return value, (extras, {"loss": value})


def trajectory(optimizer, loss=plain_loss, steps=12):
    """The weights after every step, from TARGET upside down."""
    start = jax.tree.map(lambda leaf: jnp.asarray(1 - leaf), TARGET)

    def step(carry, _):
        params, state = carry
        gradients = jax.grad(lambda w: loss(w, (), None, None)[0])(params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1])()


def chain(place, core, decay):
    return place(core, decay, 0.05, lambda count: 1 / (1 + count))


def assert_same(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), first, second)


@pytest.mark.parametrize("name", LAWS)
def test_under_plain_descent_a_penalty_in_the_loss_is_a_decoupled_pull_down_it(name):
    penalty, strength = LAWS[name].penalty, 0.4
    in_loss = trajectory(chain(decoupled, optax.identity(), optax.identity()), penalized(plain_loss, penalty, strength))
    pulled = trajectory(chain(decoupled, optax.identity(), decay_weights(strength, down(penalty))))
    assert_same(in_loss, pulled)
    without = trajectory(chain(decoupled, optax.identity(), optax.identity()))
    assert not np.allclose(in_loss["kernel"], without["kernel"], rtol=1e-3)
    np.testing.assert_array_equal(pulled["bias"], without["bias"])


@pytest.mark.parametrize("core", [optax.identity(), optax.trace(0.9), optax.scale_by_adam()], ids=["sgd", "m", "adam"])
def test_distance_to_the_start_in_the_loss_is_coupled_decay_toward_it(core):
    """L2-SP (1802.01483), in the loss and out of it."""
    start = jax.tree.map(lambda leaf: 1 - leaf, TARGET)
    in_loss = penalized(plain_loss, lambda params: distance(params, start), 0.4)
    assert_same(
        trajectory(chain(coupled, core, optax.identity()), in_loss),
        trajectory(chain(coupled, core, decay_toward_start(0.4))),
    )


@settings(max_examples=25)
@given(trees, st.sampled_from(list(MASKS.values())), st.floats(0, 10))
def test_decay_adds_rate_times_coefficient_times_weight(params, mask, rate):
    link = decay_weights(rate, mask=mask)
    updates = {name: np.ones_like(w) for name, w in params.items()}
    decayed, _ = link.update(updates, link.init(params), params)
    for name, c in mask(params).items():
        np.testing.assert_allclose(decayed[name], 1 + rate * float(c) * params[name], rtol=1e-12, atol=1e-12)


def test_matrices_leaves_biases_and_norm_scales_alone():
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    assert matrices(params) == {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}


def test_matching_finds_its_leaves_by_their_path():
    params = {"first": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "last": {"kernel": jnp.ones((2, 2))}}
    assert matching("^first/")(params) == {"first": {"kernel": True, "bias": True}, "last": {"kernel": False}}
    assert next(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)) == "first/bias"


def test_a_pattern_that_matches_nothing_says_so_and_names_the_leaves():
    with pytest.raises(ValueError, match=r"'kernal' matches no leaf; the leaves are: dense/kernel"):
        matching("kernal")({"dense": {"kernel": jnp.ones((2, 2))}})


def test_penalized_adds_the_penalty_and_keeps_the_terms_apart():
    def loss(params, extras, batch, key):
        return jnp.sum(params["w"]), (extras, {"loss": jnp.sum(params["w"])})

    params = {"w": jnp.array([[1.0, -2.0]])}
    value, (_, metrics) = penalized(loss, l2, 0.1)(params, (), None, None)
    assert float(value) == pytest.approx(-1 + 0.25)
    assert {name: float(x) for name, x in metrics.items()} == pytest.approx({"loss": -1.0, "penalty": 0.25})
