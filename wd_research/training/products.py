"""The product of a batch with a matrix, whose gradient lies as the matrix does."""

import jax

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
