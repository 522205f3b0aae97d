"""Nets: flax linen modules called as model(inputs, train, **settings), settings being numbers that may be traced."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.types import Array, Key


@jax.custom_vjp
def matrix_product(inputs: Array, kernel: Array) -> Array:
    """The product x W of f32[b, i] and f32[i, o]; f32[b, o]. Reverse mode only, of any order.

    JAX's own rule makes the kernel's gradient as (g' x)'; under vmap XLA leaves the outer transpose to the optimizer,
    each of whose passes then reads across the rows. This rule makes x' g, which lies as the kernel does: about a fifth
    more member-steps per second on a CPU at width 128 (docs/benchmarks.md).
    """
    return inputs @ kernel


def _product_forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return inputs @ kernel, (inputs, kernel)


def _product_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    inputs, kernel = saved
    return gradient @ kernel.T, jax.lax.dot_general(inputs, gradient, (((0,), (0,)), ((), ())))


matrix_product.defvjp(_product_forward, _product_backward)


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


def convolution(inputs: Array, kernel: Array) -> Array:
    """The convolution of f32[b, y, x, i] with f32[rows, columns, i, o], stride 1, padded to f32[b, y, x, o].

    out[b, y, x] = sum over r, c of inputs[b, y + r - (rows-1)//2, x + c - (columns-1)//2] kernel[r, c], i. e. what
    flax's Conv does. XLA's own convolution is many times slower inside a loop on a CPU. This one is one matrix product:
    two neighbours along the width are made at once, from a patch that both see, by a kernel that stands in it twice,
    the second time a column further. A third of its products are with zeros; the patches are half as many and their
    product twice as wide, which is quicker wherever it was measured (docs/benchmarks.md).
    """
    rows, columns, channels, features = kernel.shape
    batch, height, width, _ = inputs.shape
    strip = min(2, columns, width)  # neighbours; a kernel of one column would be half zeros
    strips, seen = -(-width // strip), strip + columns - 1  # of the width; columns of a patch
    above, before = (rows - 1) // 2, (columns - 1) // 2
    reached = -(-seen // strip)  # strips, of which a patch sees the last in part
    behind = (strips + reached - 1) * strip - before - width
    padded = jnp.pad(inputs, ((0, 0), (above, rows - 1 - above), (before, behind), (0, 0)))
    padded = padded.reshape(batch, height + rows - 1, -1, strip * channels)
    patches = jnp.concatenate(
        [padded[:, row : row + height, first : first + strips, : (seen - first * strip) * channels]
         for row in range(rows) for first in range(reached)], axis=-1
    )  # fmt: skip
    places = [((0, 0), (place, strip - 1 - place), (0, 0), (0, 0)) for place in range(strip)]
    kernels = jnp.stack([jnp.pad(kernel, place) for place in places], axis=3)
    product = matrix_product(
        patches.reshape(-1, rows * seen * channels), kernels.reshape(rows * seen * channels, strip * features)
    )
    return product.reshape(batch, height, strips * strip, features)[:, :, :width]


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
