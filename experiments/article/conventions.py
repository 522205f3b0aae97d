"""Every convention of decay side by side: the same net on the same batches, in double precision."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from wd_research.decay.setting import Setting
from wd_research.decay.units import convert


class Links(NamedTuple):
    """The rates of decay at every place of an optimizer; a convention sets one, the others are 0."""

    in_loss: wd.Number  # f64[], the strength of sum w^2 / 2 in the loss
    coupled: wd.Number  # f64[], rates of decay, named by their places
    decoupled: wd.Number
    independent: wd.Number
    constant: wd.Number
    learning_rate: wd.Number


def converted(decay: float, learning_rate: float, steps: int, batch_size: int, examples: int) -> dict[str, Links]:
    """Conventions by name, each with the rate that it defines, its number being that of `convert`.

    `decay` is the lambda of lambda/(2n) sum w^2.
    """
    b, n, epochs = batch_size, examples, steps * batch_size / examples
    setting = Setting(learning_rate, steps, optimizer="sgd", batch_size=b, examples=n)
    definitions: dict[str, tuple[str, Callable[[float], float]]] = {
        "l2-per-example": ("in_loss", lambda x: x / n),
        "l2-half": ("in_loss", lambda x: x),
        "l2": ("in_loss", lambda x: 2 * x),
        "sklearn-mlp": ("in_loss", lambda x: x / b),
        "keras-l2": ("in_loss", lambda x: 2 * x),
        "torch-coupled": ("coupled", lambda x: x),
        "torch-adamw": ("decoupled", lambda x: x),
        "keras-optimizer": ("decoupled", lambda x: x),
        "big-vision": ("independent", lambda x: x),
        "composer": ("independent", lambda x: x),
        "loshchilov-hutter": ("independent", lambda x: x),
        "lambda-norm": ("independent", lambda x: x * (b / (n * epochs)) ** 0.5),
        "time-scale-steps": ("independent", lambda x: 1 / x),
        "time-scale-epochs": ("independent", lambda x: b / (n * x)),
        "half-life": ("independent", lambda x: 1 - 0.5 ** (1 / x)),
        "constant": ("constant", lambda x: x),
    }
    off = Links(0.0, 0.0, 0.0, 0.0, 0.0, learning_rate)
    return {
        name: off._replace(**{place: number(convert(decay, "l2-per-example", name, setting))})
        for name, (place, number) in definitions.items()
    }


def all_places(links: Links) -> optax.GradientTransformation:
    """Gradient descent with a decay at each place; `wd_research.decay.places` has them one at a time."""
    return optax.chain(
        wd.decay_weights(links.coupled),
        wd.decay_weights(links.decoupled),
        optax.scale(links.learning_rate),
        wd.decay_weights(links.independent),
        optax.scale_by_schedule(optax.constant_schedule(1.0)),
        wd.decay_weights(links.constant),
        optax.scale(-1.0),
    )


def side_by_side(task: wd.Task, steps: int, conventions: Sequence[Links]) -> wd.ComputedArm:
    """The same net on the same batches under every convention, and once more without decay; in double precision.

    "apart": the largest distance over the steps from the weights of the first convention, over the distance of those
    from their start. In float32 a ReLU can make two trajectories diverge that differ by a rounding.
    """
    off = conventions[0]._replace(in_loss=0.0)
    points = jax.tree.map(lambda *column: np.array(column), *conventions, off)

    def init(key: wd.Key) -> tuple[wd.Params, wd.Extras]:
        params, extras = task.init(key)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params), extras

    def objective(links: Links) -> wd.Loss:
        return wd.penalized(task.loss(links), wd.l2, links.in_loss)

    arm = wd.Arm(task._replace(init=init), all_places, points, axis="learning_rate", objective=objective)

    @jax.jit
    def of_seed(points: Links, data: wd.Examples, split: wd.Split, key: wd.Key) -> wd.Array:
        start = jax.vmap(lambda links: wd.init_state(arm, links, key))(points)
        origin = jax.vmap(wd.entries)(start.params)[0]

        def step(carry: tuple[wd.State, wd.Array], indices: wd.Array):
            batch = task.gather(data, split, indices)
            after, _ = jax.vmap(lambda links, state: wd.train_step(arm, links, state, batch, key))(points, carry[0])
            weights = jax.vmap(wd.entries)(after.params)
            apart = jnp.linalg.norm(weights - weights[0], axis=-1) / jnp.linalg.norm(weights[0] - origin)
            return (after, jnp.maximum(carry[1], apart)), None

        order = task.order(jax.random.fold_in(key, 1), jnp.int32(0), steps)
        return jax.lax.scan(step, (start, jnp.zeros(len(conventions) + 1)), order)[0][1]

    def measured(seeds: int) -> wd.Results:
        with jax.enable_x64(True):
            rows = [of_seed(points, task.data, task.split(seed), jax.random.key(seed)) for seed in range(seeds)]
            return wd.labelled(points, arm.axis, steps, {"apart": np.stack(rows)})

    return measured
