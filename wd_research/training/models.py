"""Nets: flax linen modules called as model(inputs, train, **settings), settings being numbers that may be traced."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.types import Array


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


def dense(features: int, use_bias: bool = True) -> nn.Dense:
    """flax's dense layer for inputs f32[b, i], with `matrix_product` in it."""
    return nn.Dense(features, use_bias, dot_general=lambda inputs, kernel, *_, **__: matrix_product(inputs, kernel))


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
            hidden = dense(width, use_bias=not self.batch_norm)(hidden)
            if self.batch_norm:
                hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
            hidden = nn.relu(hidden)
            if train and dropout is not None:
                hidden = Dropout()(hidden, dropout)
        return dense(self.classes)(hidden)
