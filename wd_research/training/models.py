"""Nets: flax linen modules called as model(inputs, train, **settings), settings being numbers that may be traced."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.types import Array


class Dropout(nn.Module):
    """Set each unit to 0 with probability `rate`, scale the others by 1 / (1 - rate); the rate f32[] may be traced.

    Rates reach from 0 to below 1; a traced one cannot be checked here. flax's own Dropout branches on the rate.
    Source: Srivastava et al. (2014), the inverted form.
    """

    @nn.compact
    def __call__(self, inputs: Array, rate: Array | float) -> Array:
        uniform = jax.random.uniform(self.make_rng("dropout"), inputs.shape, inputs.dtype)
        return jnp.where(uniform >= rate, inputs / (1 - rate), 0)


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
            hidden = nn.Dense(width, use_bias=not self.batch_norm)(hidden)
            if self.batch_norm:
                hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
            hidden = nn.relu(hidden)
            if train and dropout is not None:
                hidden = Dropout()(hidden, dropout)
        return nn.Dense(self.classes)(hidden)
