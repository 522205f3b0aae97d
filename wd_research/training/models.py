"""Nets: flax linen modules called as model(inputs, train, **settings), settings being numbers that may be traced."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.training.convolutions import convolution
from wd_research.training.products import matrix_product
from wd_research.types import Array, Key


def dense(features: int, use_bias: bool = True, name: str | None = None) -> nn.Dense:
    """flax's dense layer for inputs f32[b, i], with `matrix_product` in it."""

    def product(inputs: Array, kernel: Array, *_: Any, **__: Any) -> Array:
        return matrix_product(inputs, kernel)

    return nn.Dense(features, use_bias, dot_general=product, name=name)


def dropped(inputs: Array, rate: Array | float, key: Key, shape: tuple[int, ...]) -> Array:
    """The inputs, set to 0 with probability `rate` where numbers drawn in a shape, broadcast, say so, others scaled."""
    uniform = jax.random.uniform(key, shape, inputs.dtype)  # of no rate, so that all points of a seed share it
    return jnp.where(uniform >= rate, inputs / (1 - rate), 0)


class Dropout(nn.Module):
    """Set each unit to 0 with probability `rate`, scale the others by 1 / (1 - rate); the rate f32[] may be traced.

    Rates reach from 0 to below 1; a traced one cannot be checked here. `of_linen` makes flax's own Dropout do the same.
    Source: Srivastava et al. (2014), the inverted form.
    """

    @nn.compact
    def __call__(self, inputs: Array, rate: Array | float) -> Array:
        return dropped(inputs, rate, self.make_rng("dropout"), inputs.shape)


class Mlp(nn.Module):
    """A multilayer perceptron with ReLU: inputs f32[b, ...] are flattened, logits f32[b, classes] come out.

    With `batch_norm`, each hidden layer is normalized before its ReLU (and has no bias of its own). `dropout` acts
    after each ReLU in training; None leaves it out of the program.
    """

    widths: Sequence[int]
    classes: int
    batch_norm: bool = False

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False, dropout: Array | float | None = None) -> Array:
        hidden = inputs.reshape(inputs.shape[0], -1)
        for width in self.widths:
            hidden = dense(width, use_bias=not self.batch_norm)(hidden)
            if self.batch_norm:
                hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
            hidden = nn.relu(hidden)
            if train and dropout is not None:
                hidden = Dropout()(hidden, dropout)
        return dense(self.classes)(hidden)


class Convolution(nn.Module):
    """A convolution layer with bias, stride 1, same padding: f32[b, y, x, i] -> f32[b, y, x, features]."""

    features: int
    window: tuple[int, int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (*self.window, inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return convolution(inputs, kernel) + bias


class ConvolutionalNet(nn.Module):
    """Convolutions of 3x3 with ReLU, means over 2x2 between them, a mean over the image, and a dense layer.

    Images f32[b, y, x, i] with sides that halve evenly come in, logits f32[b, classes] come out.
    """

    channels: Sequence[int]
    classes: int

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        del train
        hidden = inputs
        for depth, features in enumerate(self.channels):
            if depth:
                hidden = halved(hidden)
            hidden = nn.relu(Convolution(features)(hidden))
        return dense(self.classes)(hidden.mean(axis=(1, 2)))


def halved(images: Array) -> Array:
    """Means over windows of 2x2: f32[b, y, x, c] -> f32[b, y/2, x/2, c]."""
    batch, height, width, channels = images.shape
    return images.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


class Transformer(nn.Module):
    """One layer of attention and a multilayer perceptron between a residual stream, without norms.

    Tokens i32[b, t] come in; the logits f32[b, classes] are of what follows the last one. Every token sees every token.
    Source: the net of Nanda et al. (2023), "Progress measures for grokking".
    """

    vocabulary: int
    classes: int
    width: int = 128
    heads: int = 4

    @nn.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        del train
        batch, length = tokens.shape
        normal = nn.initializers.normal(self.width**-0.5)
        embedding = self.param("embedding", normal, (self.vocabulary, self.width))
        position = self.param("position", normal, (length, self.width))
        # A product with one-hot rows: a lookup's gradient would scatter, member by member.
        known = jax.nn.one_hot(tokens.reshape(-1), self.vocabulary, dtype=embedding.dtype)
        stream = matrix_product(known, embedding).reshape(batch, length, self.width) + position
        stream = stream.reshape(-1, self.width)

        def of_heads(name: str) -> Array:
            projected = dense(self.width, use_bias=False, name=name)(stream)
            return projected.reshape(batch, length, self.heads, -1)

        seen = attention(*map(of_heads, ("query", "key", "value"))).reshape(-1, self.width)
        stream += dense(self.width, use_bias=False, name="out")(seen)
        hidden = nn.relu(dense(4 * self.width, name="up")(stream))
        stream += dense(self.width, name="down")(hidden)
        last = stream.reshape(batch, length, self.width)[:, -1]
        return dense(self.classes, use_bias=False, name="unembedding")(last)


def attention(query: Array, key: Array, value: Array) -> Array:
    """softmax(q k' / sqrt(d)) v of f32[b, t, heads, d] each; f32[b, t, heads, d].

    By sums of products, which fuse: at few tokens the matrices of a head are too small for products of their own.
    Source: Vaswani et al. (2017), equation 1.
    """
    scores = (query[:, :, None] * key[:, None]).sum(-1) * query.shape[-1] ** -0.5  # [b, t, t, heads]
    return (nn.softmax(scores, axis=2)[..., None] * value[:, None]).sum(2)
