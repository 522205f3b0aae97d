"""Labels that are wrong by chance, drawn anew at every step: noise that a net cannot memorise."""

import jax
import jax.numpy as jnp

import wd_research as wd


def noisy(task: wd.Task, share: float, classes: int) -> wd.Task:
    """The task with a share of each training batch's labels made another class, each other class equally likely."""

    def loss(hypers: wd.Hypers) -> wd.Loss:
        clean = task.loss(hypers)

        def of_batch(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            whether, which = jax.random.split(key)
            wrong = jax.random.uniform(whether, batch.targets.shape) < share
            shift = jnp.where(wrong, jax.random.randint(which, batch.targets.shape, 1, classes), 0)
            return clean(params, extras, batch._replace(targets=(batch.targets + shift) % classes), key)

        return of_batch

    return task._replace(loss=loss)
