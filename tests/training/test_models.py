"""Nets made of matrix products compute what flax's own layers compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.training.models import Convolution, ConvolutionalNet, Transformer, attention, convolution


@settings(max_examples=20)
@given(
    rows=st.integers(1, 5), columns=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6),
    channels=st.integers(1, 3), features=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_convolution_is_flaxs(rows, columns, height, width, channels, features, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((2, height, width, channels)).astype(np.float32)
    kernel = rng.standard_normal((rows, columns, channels, features)).astype(np.float32)
    theirs = nn.Conv(features, (rows, columns), use_bias=False).apply({"params": {"kernel": kernel}}, inputs)
    np.testing.assert_allclose(convolution(jnp.asarray(inputs), jnp.asarray(kernel)), theirs, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_convolution_are_flaxs():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((3, 6, 6, 2)), jnp.float32)
    ours, theirs = Convolution(4), nn.Conv(4, (3, 3))
    params = ours.init(jax.random.key(0), inputs)

    def gradients(model):
        loss = lambda params, inputs: jnp.sum(jnp.sin(model.apply(params, inputs)))  # noqa: E731
        return jax.grad(loss, argnums=(0, 1))(params, inputs)

    for mine, yours in zip(jax.tree.leaves(gradients(ours)), jax.tree.leaves(gradients(theirs)), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)


def test_a_convolutional_net_has_logits_of_every_image_and_needs_sides_that_halve():
    net = ConvolutionalNet((4, 8), classes=10)
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert net.apply(params, jnp.ones((5, 8, 8, 1))).shape == (5, 10)
    with pytest.raises(TypeError, match="reshape"):
        net.init(jax.random.key(0), jnp.zeros((1, 7, 7, 1)))


def test_attention_is_flaxs():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 5, 4, 8))
    np.testing.assert_allclose(
        attention(query, key, value), nn.dot_product_attention(query, key, value), rtol=1e-5, atol=1e-6
    )


def test_a_transformer_looks_embeddings_up_and_sees_every_token():
    net = Transformer(vocabulary=8, classes=7, width=16)
    tokens = jnp.asarray([[1, 2, 7], [1, 2, 7], [3, 2, 7], [1, 4, 7]])
    params = net.init(jax.random.key(0), tokens)
    logits = net.apply(params, tokens)
    assert logits.shape == (4, 7)
    assert np.array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])
    assert not np.allclose(logits[0], logits[3])
    used = jax.grad(lambda params: net.apply(params, tokens).sum())(params)["params"]["embedding"]
    assert np.array_equal(np.flatnonzero(np.abs(used).sum(1)), [1, 2, 3, 4, 7])
