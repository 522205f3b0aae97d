"""Laws of masks and penalties, on trees that hypothesis makes up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wd_research.decay.masks import everything, leaf_name, matching, matrices
from wd_research.decay.penalties import l1, l2, penalized
from wd_research.decay.transforms import decay_weights

numbers = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
leaves = arrays(np.float32, array_shapes(min_dims=1, max_dims=3, max_side=3), elements=numbers)
trees = st.dictionaries(st.sampled_from(["kernel", "bias", "scale", "embedding"]), leaves, min_size=1)
masks = st.sampled_from([matrices, everything, lambda params: jax.tree.map(lambda leaf: 0.5 * leaf.ndim, params)])


def coefficients(mask, params):
    return {name: float(c) for name, c in mask(params).items()}


@settings(deadline=None, max_examples=40)
@given(trees, masks)
def test_penalties_have_their_value_and_their_gradient(params, mask):
    c = coefficients(mask, params)
    rows = {
        l2: (lambda w: 0.5 * np.sum(w.astype(float) ** 2), lambda w: w),
        l1: (lambda w: np.sum(np.abs(w.astype(float))), np.sign),
    }
    for penalty, (value, gradient) in rows.items():
        expected = sum(c[name] * value(w) for name, w in params.items())
        assert float(penalty(params, mask)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        for name, g in jax.grad(penalty)(params, mask).items():
            np.testing.assert_allclose(g, c[name] * gradient(params[name]), rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(trees, masks, st.floats(0, 10, width=32))
def test_decay_adds_rate_times_coefficient_times_weight(params, mask, rate):
    link = decay_weights(rate, mask=mask)
    updates = {name: np.ones_like(w) for name, w in params.items()}
    decayed, _ = link.update(updates, link.init(params), params)
    c = coefficients(mask, params)
    for name, update in decayed.items():
        np.testing.assert_allclose(update, 1 + np.float32(rate) * c[name] * params[name], rtol=1e-5, atol=1e-5)


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
