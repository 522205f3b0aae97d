"""What the experiments on scale-invariant weights share: a random walk, a norm without parameters, lengths."""

import jax
import jax.numpy as jnp

from wd_research import checks
from wd_research.types import Array, Batch, Extras, Hypers, Key, Loss, Params, Task

SIDE = 16  # of the walking matrix


def random_walk(side: int) -> Task:
    """A matrix f32[side, side] whose gradient is noise orthogonal to it, of the size h.scale / |w|: no data, no parts.

    The loss is <noise, w / |w|> with the noise h.scale * N(0, 1) drawn anew at each step, so it does not change with
    the size of w, as under a norm, and has nothing to learn. The walk starts at norm 2.

    Source: the random walk of Kosson et al. (2305.17212).
    """

    def init(key: Key) -> tuple[Params, Extras]:
        return {"w": 2 * unit(jax.random.normal(key, (side, side)))}, {}

    def loss(hypers: Hypers) -> Loss:
        def of_step(params: Params, extras: Extras, batch: Batch, key: Key):
            del batch
            noise = hypers.scale * jax.random.normal(key, (side, side))
            return jnp.sum(noise * unit(params["w"])), (extras, {})

        return of_step

    return Task(
        data=(),
        split=lambda seed: (),
        init=init,
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, split, indices: Batch(indices, indices),
        parts=lambda data, split: {},
        loss=loss,
        evaluate=lambda params, extras, part: {},
    )


def normalized(hidden: Array) -> Array:
    """Each example's units f32[b, n] at mean 0 and mean square 1, without scale or bias of their own.

    Source: Ba, Kiros & Hinton (1607.06450), with an epsilon so small that the output does not change with the kernel's
    size.
    """
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-12)


def length(tensor: Array) -> Array:
    """The root of the sum of squares, f32[]."""
    return jnp.sqrt(jnp.sum(tensor**2))


def unit(tensor: Array) -> Array:
    """The tensor divided by its length."""
    return tensor / length(tensor)


def check_widths(widths: tuple[int, ...]) -> None:
    """Raise ValueError, with one sentence, unless there are hidden layers with units."""
    if not widths:
        raise ValueError("--widths is empty: give the units of at least one hidden layer, e.g. --widths 32")
    for width in widths:
        checks.counts(widths=width)
