"""What the experiments on scale-invariant weights share: a random walk, and a net of normalized layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp

import wd_research as wd

SIDE = 16  # of the walking matrix


def random_walk(side: int) -> wd.Task:
    """A matrix f32[side, side] whose gradient is noise orthogonal to it, of the size h.scale / |w|, without data.

    The loss is <noise, w / |w|> with the noise h.scale * N(0, 1) drawn anew at each step, so it does not change with
    the size of w, as under a norm, and has nothing to learn. The walk starts at norm 2.

    Source: the random walk of Kosson et al. (2305.17212).
    """

    def init(key: wd.Key) -> tuple[wd.Params, wd.Extras]:
        return {"w": 2 * unit(jax.random.normal(key, (side, side)))}, {}

    def loss(hypers: wd.Hypers) -> wd.Loss:
        def of_step(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            del batch
            noise = hypers.scale * jax.random.normal(key, (side, side))
            return jnp.sum(noise * unit(params["w"])), (extras, {})

        return of_step

    return wd.Task(
        data=(),
        split=lambda seed: (),
        init=init,
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, split, indices: wd.Batch(indices, indices),
        loss=loss,
    )


class NormalizedMlp(nn.Module):
    """A multilayer perceptron with ReLU whose hidden layers have no biases and are followed by `normalized`.

    So their outputs do not change with the size of their kernels, and decay acts on nothing but the rate at which these
    rotate. That holds of the last layer, and of the logits f32[b, classes], too, unless `normalized_head` is False:
    then it is an ordinary one.
    """

    widths: tuple[int, ...]
    classes: int
    normalized_head: bool = True

    @nn.compact
    def __call__(self, inputs: wd.Array, train: bool = False) -> wd.Array:
        del train
        for width in self.widths:
            inputs = nn.relu(normalized(wd.dense(width, use_bias=False)(inputs)))
        if self.normalized_head:
            return normalized(wd.dense(self.classes, use_bias=False)(inputs))
        return wd.dense(self.classes)(inputs)


def normalized(hidden: wd.Array) -> wd.Array:
    """Each example's units f32[b, n] at mean 0 and mean square 1, without scale or bias of their own.

    Source: Ba, Kiros & Hinton (1607.06450), with an epsilon so small that the output does not change with the kernel's
    size.
    """
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-12)


def length(tensor: wd.Array) -> wd.Array:
    """The root of the sum of squares, f32[]."""
    return jnp.sqrt(jnp.sum(tensor**2))


def unit(tensor: wd.Array) -> wd.Array:
    """The tensor divided by its length."""
    return tensor / length(tensor)


def check_widths(widths: tuple[int, ...]) -> None:
    """Raise UserError, with one sentence, unless there are hidden layers with units."""
    if not widths:
        raise wd.UserError("--widths is empty: give the units of at least one hidden layer, e.g. --widths 32")
    for width in widths:
        wd.flags.counts(widths=width)
