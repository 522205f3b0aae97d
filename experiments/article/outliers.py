"""What is measured of a net: how far its weights have moved, the pulls of penalties, and what outlying inputs do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import wd_research as wd

OUTLIER = 10.0  # standard deviations of a pixel
SCALE = 3.0  # of a whole input
DRAWN = 12  # weights whose pulls are drawn


def observed(task: wd.Task) -> wd.Task:
    """The task with measurements of the weights, and of how outlying inputs move the output."""
    started = wd.with_start(task)
    predict: Any = started.predict

    def of_weights(params: wd.Params, extras: wd.Extras) -> wd.Metrics:
        return {**displacement(wd.entries(params), wd.entries(extras["start"])), **pulls(params)}

    def of_outputs(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
        return moved(lambda inputs: predict(params, extras, inputs), jnp.asarray(batch.inputs))

    return wd.with_metrics(started, of_outputs)._replace(measure=of_weights)


def displacement(weights: wd.Array, start: wd.Array) -> wd.Metrics:
    """The mean change of the weights f32[k] that began above 0 and below it, and the share of the norm that is left."""
    change = weights - start
    return {
        "rise_of_positive": jnp.mean(change, where=start > 0),
        "rise_of_negative": jnp.mean(change, where=start < 0),
        "left": jnp.linalg.norm(weights) / jnp.linalg.norm(start),
    }


def pulls(params: wd.Params) -> wd.Metrics:
    """The slope of log pull in log |w| for both penalties, over weights that are not 0, and DRAWN weights' pulls.

    The pull is |grad penalty(w)|, by jax.grad of the library's own penalties.
    """
    size, metrics = jnp.abs(wd.entries(params)), {}
    chosen = np.linspace(0, len(size) - 1, DRAWN).round().astype(int)
    for name, penalty in (("l2", wd.l2), ("l1", wd.l1)):
        pull = jnp.abs(wd.entries(jax.grad(penalty)(params)))
        metrics[f"slope_{name}"] = log_slope(size, pull)
        metrics |= {f"pull_{name}_{k}": pull[weight] for k, weight in enumerate(chosen)}
    return metrics | {f"size_{k}": size[weight] for k, weight in enumerate(chosen)}


def log_slope(x: wd.Array, y: wd.Array) -> wd.Array:
    """The least-squares slope of log y in log x over the entries with x > 0, f32[k], f32[k] -> f32[]."""
    there = x > 0
    x, y = (jnp.log(jnp.where(there, values, 1.0)) for values in (x, y))
    x, y = (jnp.where(there, values - jnp.mean(values, where=there), 0.0) for values in (x, y))
    return jnp.sum(x * y) / jnp.sum(x * x)


def moved(logits: Callable[[wd.Array], wd.Array], inputs: wd.Array) -> wd.Metrics:
    """How far outlying inputs move the output, averaged over inputs f32[b, d].

    "pixel": one pixel, another one in each image, is OUTLIER standard deviations higher; "scaled": the whole input is
    SCALE times as large. The output is the logits (Euclidean distance), the probabilities (half the sum of absolute
    differences), or the class (share that changes).
    """
    count, width = inputs.shape
    corrupted = {
        "pixel": inputs + OUTLIER * jax.nn.one_hot(jnp.arange(count) % width, width),
        "scaled": SCALE * inputs,
    }
    before, metrics = logits(inputs), {}
    for name, outlying in corrupted.items():
        after = logits(outlying)
        shift = jax.nn.softmax(after) - jax.nn.softmax(before)
        metrics[f"{name}_logits"] = jnp.mean(jnp.linalg.norm(after - before, axis=-1))
        metrics[f"{name}_probabilities"] = jnp.mean(jnp.sum(jnp.abs(shift), axis=-1)) / 2
        metrics[f"{name}_class"] = jnp.mean(after.argmax(-1) != before.argmax(-1), dtype=before.dtype)
    return metrics


# What is drawn


def draw_outliers(panel: wd.Axes, results: wd.Results) -> None:
    """How far outlying inputs move logits and probabilities over decay, relative to no decay."""
    x = results["decay"].to_numpy().astype(float)
    kinds = [(kind, output) for output in ("logits", "probabilities") for kind in ("pixel", "scaled")]
    for (kind, output), style in zip(kinds, wd.STYLES, strict=False):
        values = wd.surviving(results, f"test_{kind}_{output}")
        values = values / values[:, 0].mean()
        wd.draw_measured(
            panel, x, wd.means(values), style, f"{output}, {'one pixel' if kind == 'pixel' else 'scaled input'}"
        )
        panel.plot(x, values.mean(axis=0), color=style.color, linestyle=style.dashes, linewidth=1)
    wd.axis_from_zero(panel, x[1], x[-1])
    panel.set_xlabel(r"$\lambda$")
    panel.set(title="outlying inputs, digits", ylabel="change of output, 1 = no decay", yscale="log")
    panel.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    panel.yaxis.minorticks_off()


def draw_pulls(panel: wd.Axes, results: wd.Results) -> None:
    """The pull of both penalties on some weights of a trained net, without decay."""
    net = results.isel(seed=0, point=0, step=-1)
    sizes = np.array([float(net[f"size_{k}"]) for k in range(DRAWN)])
    order = sizes.argsort()
    for name, style in zip(("l2", "l1"), wd.STYLES, strict=False):
        pull = np.array([float(net[f"pull_{name}_{k}"]) for k in range(DRAWN)])
        panel.loglog(sizes[order], pull[order], marker=style.marker, color=style.color, linestyle=style.dashes,
                     markersize=4, linewidth=1,
                     label=f"{name.upper()}, slope {float(net[f'slope_{name}']):.3f}")  # fmt: skip
    panel.xaxis.set_minor_formatter("")
    panel.yaxis.set_minor_formatter("")
    panel.set(title=f"the pull on {DRAWN} trained weights", xlabel="|w|", ylabel="|gradient of the penalty|")
