"""Nets made of matrix products compute what flax's own layers compute."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wd_research.training.models import ConvolutionalNet, Transformer, attention


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
