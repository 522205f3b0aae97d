"""A step of training as its five parts, composed by hand: initialise, forward, loss, backward, update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import BATCH_SIZE

PARTS = ("initialise", "forward", "loss", "backward", "update")


class Part(NamedTuple):
    """A part of the first step."""

    part: np.ndarray  # its index in PARTS


def first_step(arm: wd.Arm) -> wd.ComputedArm:
    """The first step on digits, at the largest rate, composed by hand of its five parts, and `train_step` beside it.

    "norm": of the weights, the logits, the loss, the gradient and the new weights, part by part. "apart": the largest
    difference of the new weights from those of `train_step`, over the largest change of a weight.
    """
    predict: Any = arm.task.predict
    hypers = jax.tree.map(lambda leaf: leaf[-1], arm.points)

    def of_seed(seed: int) -> tuple[np.ndarray, float]:
        key, split = jax.random.key(seed), arm.task.split(seed)
        batch = arm.task.gather(arm.task.data, split, jnp.arange(BATCH_SIZE))

        # initialise
        params, extras = arm.task.init(key)
        optimizer = arm.optimizer(hypers)
        # forward
        logits, back_through_net = jax.vjp(lambda params: predict(params, extras, batch.inputs), params)
        # loss
        value, back_through_loss = jax.vjp(lambda logits: wd.cross_entropy(logits, batch.targets), logits)
        # backward
        (gradients,) = back_through_net(*back_through_loss(jnp.ones(())))
        # update
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        after = jax.tree.map(jnp.add, params, updates)

        trained, _ = wd.train_step(arm, hypers, wd.init_state(arm, hypers, key), batch, key)
        difference, change = (
            max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (after, other)), strict=True))
            for other in (trained.params, params)
        )
        norms = [float(optax.tree.norm(tree)) for tree in (params, logits, value, gradients, after)]
        return np.array(norms), difference / change

    def computed(seeds: int) -> wd.Results:
        norms, apart = zip(*(of_seed(seed) for seed in range(seeds)), strict=True)
        metrics = {"norm": np.stack(norms), "apart": np.repeat(np.array(apart)[:, None], len(PARTS), axis=1)}
        return wd.labelled(Part(np.arange(len(PARTS))), "part", 1, metrics)

    return computed


def draw_parts(panel: wd.Axes, results: wd.Results) -> None:
    """The norm of what each part of the first step makes."""
    mean, low, high = wd.means(wd.final(results, "norm")).T
    panel.barh(np.arange(len(PARTS)), mean, xerr=(mean - low, high - mean), color=wd.STYLES[1].color, capsize=2)
    of = ("the weights", "the logits", "the loss", "the gradient", "the new weights")
    panel.set_yticks(np.arange(len(PARTS)), [f"{part}: {what}" for part, what in zip(PARTS, of, strict=True)])
    for k, value in enumerate(mean):
        panel.text(value * 1.15, k, f"{value:.3g}", va="center", fontsize=8)
    panel.invert_yaxis()
    panel.set(title="the first step on digits", xlabel="norm", xscale="log")
    panel.set_xlim(mean.min() / 2, mean.max() * 4)
