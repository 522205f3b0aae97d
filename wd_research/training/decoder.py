"""A decoder-only transformer, of the parts that people use today: what follows each token."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.flags import UserError, counts
from wd_research.training.products import matrix_product
from wd_research.types import Array

BASE = 10_000.0  # of the wavelengths of rotary positions


class Decoder(nn.Module):
    """Tokens i32[b, t] come in, logits f32[b, t, vocabulary] of what follows each come out.

    Every block is x + attention(norm(x)), then x + mlp(norm(x)); the last norm and the head follow. Matrices begin
    normal with variance 1 / inputs, those that write to the residual stream divided by 2 depth besides, embeddings
    with variance 1. `dtype` is that of the products: bfloat16 with float32 weights is mixed precision.

    Sources: pre-norm, Xiong et al. (2002.04745); RMSNorm, Zhang & Sennrich (1910.07467); rotary positions, Su et al.
    (2104.09864); QK norm, Henry et al. (2010.04245); squared ReLU, So et al. (2109.08668); SwiGLU, Shazeer
    (2002.05202); tied head, Press & Wolf (1608.05859); residual scaling, Radford et al. (2019).

    Raises UserError, before anything is computed, where the width does not fit the heads, or the positions.
    """

    vocabulary: int
    width: int = 64
    depth: int = 2
    heads: int = 4
    norm: Literal["rms", "layer", "none"] = "rms"
    positions: Literal["rotary", "learned"] = "rotary"
    qk_norm: bool = True
    activation: Literal["squared relu", "gelu", "swiglu"] = "squared relu"
    tied: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        counts(vocabulary=self.vocabulary, width=self.width, depth=self.depth, heads=self.heads)
        if self.width % self.heads:
            raise UserError(f"a width of {self.width} cannot be shared by {self.heads} heads: give a multiple of "
                            f"{self.heads}")  # fmt: skip
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise UserError(f"rotary positions turn pairs, and a head has {self.width // self.heads} entries: give a "
                            f"width that is a multiple of {2 * self.heads}, or learned positions")  # fmt: skip
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        del train
        batch, length = tokens.shape
        embedding = self.param("embedding", nn.initializers.normal(1.0), (self.vocabulary, self.width))
        # A product with one-hot rows: a lookup's gradient would scatter, member by member.
        known = jax.nn.one_hot(tokens.reshape(-1), self.vocabulary, dtype=self.dtype)
        stream = matrix_product(known, embedding.astype(self.dtype))
        if self.positions == "learned":
            position = self.param("position", nn.initializers.normal(1.0), (length, self.width))
            stream = (stream.reshape(batch, length, -1) + position.astype(self.dtype)).reshape(-1, self.width)
        for number in range(self.depth):
            stream = self.block(f"block_{number}", stream, batch)
        stream = self.normed("norm", stream)
        if self.tied:
            logits = matrix_product(stream, embedding.astype(self.dtype).T * self.width**-0.5)
        else:
            logits = self.product("head", stream, self.vocabulary)
        return logits.astype(jnp.float32).reshape(batch, length, self.vocabulary)

    def block(self, name: str, stream: Array, batch: int) -> Array:
        """One block, of a stream f[b t, width]."""

        def of_heads(part: str) -> Array:
            return self.product(f"{name}_{part}", normed, self.width).reshape(batch, -1, self.heads, head)

        head, out = self.width // self.heads, (2 * self.depth) ** -0.5
        normed = self.normed(f"{name}_attention_norm", stream)
        query, key, value = map(of_heads, ("query", "key", "value"))
        if self.qk_norm:
            query, key = unit(query), unit(key)
        if self.positions == "rotary":
            query, key = turned(query), turned(key)
        seen = causal_attention(query, key, value).reshape(-1, self.width)
        stream += self.product(f"{name}_out", seen, self.width, out)
        normed = self.normed(f"{name}_mlp_norm", stream)
        return stream + self.product(f"{name}_down", self.hidden(name, normed), self.width, out)

    def hidden(self, name: str, inputs: Array) -> Array:
        """The hidden layer of a block; SwiGLU has 8/3 of the width, for as many weights as the others have."""
        if self.activation == "swiglu":
            wide = -(-8 * self.width // 24) * 8
            return nn.silu(self.product(f"{name}_gate", inputs, wide)) * self.product(f"{name}_up", inputs, wide)
        up = self.product(f"{name}_up", inputs, 4 * self.width)
        return jnp.square(nn.relu(up)) if self.activation == "squared relu" else nn.gelu(up)

    def product(self, name: str, inputs: Array, features: int, scale: float = 1.0) -> Array:
        """A linear layer without bias."""
        begin = nn.initializers.variance_scaling(scale**2, "fan_in", "normal")

        def multiplied(inputs: Array, kernel: Array, *_: Any, **__: Any) -> Array:
            return matrix_product(inputs, kernel)

        return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=begin, dot_general=multiplied,
                        name=name)(inputs)  # fmt: skip

    def normed(self, name: str, inputs: Array) -> Array:
        """The inputs, normalized over their last axis, times gains that are learned."""
        kinds = {"rms": nn.RMSNorm, "layer": partial(nn.LayerNorm, use_bias=False)}
        return inputs if self.norm == "none" else kinds[self.norm](dtype=self.dtype, name=name)(inputs)


def unit(inputs: Array) -> Array:
    """The inputs at a root mean square of 1 along the last axis."""
    return inputs * jax.lax.rsqrt(jnp.mean(jnp.square(inputs), axis=-1, keepdims=True) + 1e-6)


def turned(inputs: Array) -> Array:
    """Rotary positions: pair k of f[b, t, heads, d] at position t is turned by t BASE^(-2k/d)."""
    length, half = inputs.shape[1], inputs.shape[-1] // 2
    angles = jnp.arange(length)[:, None] * BASE ** (-jnp.arange(half) / half)  # [t, d/2]
    cos, sin = (part[:, None, :].astype(inputs.dtype) for part in (jnp.cos(angles), jnp.sin(angles)))
    one, other = inputs[..., :half], inputs[..., half:]
    return jnp.concatenate([one * cos - other * sin, one * sin + other * cos], axis=-1)


def causal_attention(query: Array, key: Array, value: Array) -> Array:
    """softmax(q k' / sqrt(d)) v over the tokens up to each, of f[b, t, heads, d] each; f[b, t, heads, d].

    Source: Vaswani et al. (2017), equation 1.
    """
    length = query.shape[1]
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    seen = jnp.tril(jnp.ones((length, length), bool))
    shares = nn.softmax(jnp.where(seen, scores.astype(jnp.float32), -jnp.inf)).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", shares, value)
