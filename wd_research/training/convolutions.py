"""Convolutions that are as quick inside a loop, where every step of ours is, as outside of one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from wd_research.training.products import matrix_product
from wd_research.types import Array

WIDE = 16  # channels, from which on XLA's own convolution is ahead of patches on a CPU (docs/benchmarks.md)
Pairs = tuple[tuple[int, int], ...]
USUAL = ("lhs_dilation", "rhs_dilation", "dimension_numbers", "feature_group_count", "precision")


def convolution(inputs: Array, kernel: Array) -> Array:
    """The convolution of f32[b, y, x, i] with f32[rows, columns, i, o], stride 1, padded to f32[b, y, x, o].

    out[b, y, x] = sum over r, c of inputs[b, y + r - (rows-1)//2, x + c - (columns-1)//2] kernel[r, c], i. e. what
    flax's Conv does. On a CPU, 16 channels and more go through XLA's convolution, fewer through patches.
    """
    if kernel.shape[2] < WIDE:
        return by_patches(inputs, kernel)
    return lax.platform_dependent(inputs, kernel, cpu=by_xla, default=by_patches)


def by_patches(inputs: Array, kernel: Array) -> Array:
    """`convolution` as one matrix product, which a population of kernels leaves one (batched) product.

    Two neighbours along the width are made at once, from a patch that both see, by a kernel that stands in it twice,
    the second time a column further. A third of its products are with zeros; the patches are half as many and their
    product twice as wide, which is quicker wherever channels are few (docs/benchmarks.md).
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


def by_xla(inputs: Array, kernel: Array) -> Array:
    """`convolution` through XLA."""
    return strided(inputs, kernel, (1, 1), same(kernel))


def same(kernel: Array) -> Pairs:
    """The padding, below and above on each side, by which outputs are as large as inputs at stride 1."""
    return tuple(((size - 1) // 2, size // 2) for size in kernel.shape[:-2])


def strided(inputs: Array, kernel: Array, strides: tuple[int, ...], padding: Pairs) -> Array:
    """XLA's convolution of f32[b, ..., i] with f32[..., i, o]: f32[b, ..., o]. Reverse mode only, of any order.

    JAX's gradients of it name the axes in orders that XLA's library for CPUs does not know. XLA brings them into the
    one that it knows outside of loops alone, and inside its own kernels take 3 to 55 times as long (jax-ml/jax#12868;
    measured in docs/benchmarks.md). These move the axes themselves.
    """
    once, axes = (1,) * len(strides), tuple(range(len(strides)))

    @jax.custom_vjp
    def convolved(inputs: Array, kernel: Array) -> Array:
        return channels_last(inputs, kernel, window_strides=strides, padding=padding)

    def forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolved(inputs, kernel), (inputs, kernel)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        inputs, kernel = saved
        around, beside = [], []  # padding of the gradient by outputs, and of the inputs by the gradient
        for axis, (stride, (low, _)) in enumerate(zip(strides, padding, strict=True)):
            side, window = inputs.shape[1 + axis], kernel.shape[axis]
            seen = (gradient.shape[1 + axis] - 1) * stride + 1  # of a side, from the first window's start to the last's
            around.append((window - 1 - low, side + low - seen))
            beside.append((low, window - 1 - side - low + seen))
        turned = jnp.flip(kernel, axes).swapaxes(-1, -2)
        of_inputs = channels_last(gradient, turned, window_strides=once, padding=around, lhs_dilation=strides)
        swapped, last = inputs.swapaxes(0, -1), jnp.moveaxis(gradient, 0, -2)
        of_kernel = channels_last(swapped, last, window_strides=once, padding=beside, rhs_dilation=strides)
        return of_inputs, jnp.moveaxis(of_kernel, 0, -2)

    convolved.defvjp(forward, backward)
    return convolved(inputs, kernel)


def channels_last(inputs: Array, kernel: Array, **settings: Any) -> Array:
    """XLA's convolution of axes in the order that its library for CPUs knows."""
    return lax.conv_general_dilated(inputs, kernel, dimension_numbers=order(inputs.ndim), **settings)


def order(axes: int) -> lax.ConvDimensionNumbers:
    """Where so many axes have batch, channels and sides; inputs' channels, outputs' and sides of the kernel."""
    sides = tuple(range(1, axes - 1))
    images, kernels = (0, axes - 1, *sides), (axes - 1, axes - 2, *(side - 1 for side in sides))
    return lax.ConvDimensionNumbers(images, kernels, images)


def as_flax_calls(inputs: Array, kernel: Array, strides: Sequence[int], padding: Any, **settings: Any) -> Array:
    """What flax's Conv calls in place of `lax.conv_general_dilated`: the same numbers, on a CPU by what is quickest.

    A convolution with groups or dilation, of axes in another order, or with settings of rarer kinds stays JAX's own.
    """
    theirs = partial(lax.conv_general_dilated, window_strides=strides, padding=padding, **settings)
    numbers = lax.conv_dimension_numbers(inputs.shape, kernel.shape, settings.get("dimension_numbers"))
    spread = (settings.get("feature_group_count", 1), *settings["lhs_dilation"], *settings["rhs_dilation"])
    rarer = any(value is not None for name, value in settings.items() if name not in USUAL)
    if numbers != order(inputs.ndim) or max(spread) > 1 or rarer:
        return theirs(inputs, kernel)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:-1], kernel.shape[:-2], strides, padding)
    pairs = tuple((int(low), int(high)) for low, high in padding)

    def on_cpu(inputs: Array, kernel: Array) -> Array:
        if len(pairs) == 2 and max(strides) == 1 and pairs == same(kernel) and kernel.shape[-2] < WIDE:
            return by_patches(inputs, kernel)
        return strided(inputs, kernel, tuple(strides), pairs)

    return lax.platform_dependent(inputs, kernel, cpu=on_cpu, default=theirs)
