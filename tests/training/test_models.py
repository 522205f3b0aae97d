"""Nets made of matrix products compute what flax's own layers compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.training.models import Convolution, ConvolutionalNet, Transformer, attention, convolution


@settings(max_examples=8)  # each compiles
@given(
    rows=st.integers(1, 5), columns=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6),
    channels=st.integers(1, 3), features=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_convolution_is_flaxs(rows, columns, height, width, channels, features, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((2, height, width, channels)).astype(np.float32)
    kernel = rng.standard_normal((rows, columns, channels, features)).astype(np.float32)
    flaxs = nn.Conv(features, (rows, columns), use_bias=False)
    both = jax.jit(
        lambda inputs, kernel: (convolution(inputs, kernel), flaxs.apply({"params": {"kernel": kernel}}, inputs))
    )
    np.testing.assert_allclose(*both(inputs, kernel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "window"), [(6, (3, 3)), (5, (3, 3)), (1, (3, 3)), (5, (1, 1)), (4, (2, 5))])
def test_gradients_of_a_convolution_are_flaxs(width, window):
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((3, 6, width, 2)), jnp.float32)
    ours, theirs = Convolution(4, window), nn.Conv(4, window)

    @jax.jit
    def gradients(key):
        params = ours.init(key, inputs)
        losses = [lambda *at, net=net: jnp.sum(jnp.sin(net.apply(*at))) for net in (ours, theirs)]
        return [jax.grad(loss, argnums=(0, 1))(params, inputs) for loss in losses]

    for mine, yours in zip(*map(jax.tree.leaves, gradients(jax.random.key(0))), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)


def test_a_convolutional_net_has_logits_of_every_image_and_needs_sides_that_halve():
    net = ConvolutionalNet((4, 8), classes=10)

    def shape(side):
        made = jax.eval_shape(
            lambda key: net.init_with_output(key, jnp.zeros((5, side, side, 1)))[0], jax.random.key(0)
        )
        return made.shape

    assert shape(8) == (5, 10)
    with pytest.raises(TypeError, match="reshape"):
        shape(7)


def test_attention_is_flaxs():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 5, 4, 8))
    both = jax.jit(lambda *of: (attention(*of), nn.dot_product_attention(*of)))
    np.testing.assert_allclose(*both(query, key, value), rtol=1e-5, atol=1e-6)


def test_a_transformer_looks_embeddings_up_and_sees_every_token():
    net = Transformer(vocabulary=8, classes=7, width=16)
    tokens = jnp.asarray([[1, 2, 7], [1, 2, 7], [3, 2, 7], [1, 4, 7]])

    @jax.jit
    def logits_and_slopes(key):
        params = net.init(key, tokens)
        return net.apply(params, tokens), jax.grad(lambda params: net.apply(params, tokens).sum())(params)

    logits, slopes = logits_and_slopes(jax.random.key(0))
    assert logits.shape == (4, 7)
    assert np.array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])
    assert not np.allclose(logits[0], logits[3])
    assert np.array_equal(np.flatnonzero(np.abs(slopes["params"]["embedding"]).sum(1)), [1, 2, 3, 4, 7])
