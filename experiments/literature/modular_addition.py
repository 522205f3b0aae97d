"""A net that learns c = a + b mod p from some of the pairs, by Adam, with weights that are free or of a given norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.literature.scale_invariant import normalized


class Hypers(NamedTuple):
    """The hyperparameters of a net that adds."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[]
    norm: wd.Array  # f32[], at which that of all weights is held; 0 leaves it free
    temperature: wd.Array  # f32[], by which logits are divided before the loss


def task_of(modulus: int, share: float, width: int, normalize: bool) -> wd.Task:
    """Addition modulo p: logits f32[n, p] = relu(x W') U over h.temperature, x f32[n, 2p] one-hot a beside one-hot b.

    Row k of the only leaf f32[width, 3p] has the weights into hidden unit k and those out of it, N(0, 1 / width), so
    that its norm is that of all weights and logits grow as its square. `normalize` gives logits mean square 1.
    """
    pairs = np.stack(np.meshgrid(np.arange(modulus), np.arange(modulus), indexing="ij"), -1).reshape(-1, 2)
    inputs = np.eye(modulus, dtype=np.float32)[pairs].reshape(len(pairs), -1)
    pool = wd.Batch(inputs, (pairs.sum(axis=1) % modulus).astype(np.int32))
    count = round(share * len(pairs))

    def predict(params: wd.Params, extras: wd.Extras, inputs: wd.Numbers) -> wd.Array:
        del extras
        into, out = params["kernel"][:, : 2 * modulus], params["kernel"][:, 2 * modulus :]
        logits = jax.nn.relu(inputs @ into.T) @ out
        return normalized(logits) if normalize else logits

    def loss(hypers: Hypers) -> wd.Loss:
        def of_all(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            del key
            value = wd.cross_entropy(predict(params, {}, batch.inputs) / hypers.temperature, batch.targets)
            return value, (extras, {"loss": value})

        return of_all

    def evaluate(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
        del name
        return {"accuracy": jnp.mean(predict(params, extras, batch.inputs).argmax(-1) == batch.targets)}

    def of(pool: wd.Batch, chosen: wd.Numbers) -> wd.Batch:
        return wd.Batch(pool.inputs[chosen], pool.targets[chosen])

    return wd.Task(
        data=pool,
        split=lambda seed: np.random.default_rng(seed).permutation(len(pairs)).astype(np.int32),
        init=lambda key: ({"kernel": jax.random.normal(key, (width, 3 * modulus)) * width**-0.5}, {}),
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda pool, drawn, indices: of(pool, drawn[:count]),
        loss=loss,
        splits=lambda pool, drawn: {"train": of(pool, drawn[:count]), "test": of(pool, drawn[count:])},
        evaluate=evaluate,
        predict=predict,
    )


def optimizer(h: Hypers) -> optax.GradientTransformation:
    """AdamW with betas .9 and .98 at a constant learning rate; then the norm of all weights is brought to h.norm."""
    adam, flat = wd.cores.adam(0.9, 0.98), optax.constant_schedule(1.0)
    return optax.chain(wd.decoupled(adam, wd.decay_weights(h.decay), h.learning_rate, flat), held_at(h.norm))


def held_at(norm: wd.Number) -> optax.GradientTransformation:
    """The norm of all weights after a step: u <- norm (w + u) / |w + u| - w; a norm of 0 leaves u as it is.

    Source: the clamp of Truong et al. (2606.13753).
    """

    def held(updates: optax.Updates, params: wd.Params | None) -> optax.Updates:
        landed = jax.tree.map(jnp.add, params, updates)
        factor = norm / optax.tree.norm(landed)
        return jax.tree.map(lambda u, v, w: jnp.where(norm > 0, factor * v - w, u), updates, landed, params)

    return optax.stateless(held)
