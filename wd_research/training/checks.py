"""What an arm is made of, before anything is compiled: its net, objective and optimizer are traced, and that is all."""

import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.decay.masks import leaf_name
from wd_research.flags import UserError
from wd_research.names import check_name
from wd_research.results import EDGES
from wd_research.training.member import evaluate_member
from wd_research.training.step import train_step
from wd_research.types import Arm, Array, Batch, Extras, Hypers, Params, State


def check_arm(name: str, arm: Arm) -> None:
    """Raise UserError, with one sentence that names the arm, unless it can be trained as it is.

    Whatever else its functions raise is raised, with a note that names the arm.
    """
    seed = jax.eval_shape(lambda: jax.random.key(0))
    hypers = jax.tree.map(lambda column: jax.ShapeDtypeStruct((), jnp.float32), arm.points)
    split = arm.task.split(0)
    try:
        params, extras = jax.eval_shape(arm.task.init, seed)
        check_weights(params)
        batch = jax.eval_shape(lambda data, split, key: _first_batch(arm, data, split, key), arm.task.data, split, seed)
        check_objective(arm, hypers, params, extras, batch, seed)
        check_optimizer(arm, hypers, params, extras, batch, seed)
        check_measurements(arm, split, State(params, extras, ()))
    except UserError as error:
        raise type(error)(f"{name}: {error}") from error
    except jax.errors.TracerBoolConversionError as error:
        raise UserError(
            f"{name}: {_line(error)} branches on a hyperparameter, which is not known when its program is made: "
            "multiply instead (a schedule with peak 1, and the learning rate times it), or use jnp.where"
        ) from error
    except Exception as error:
        error.add_note(f"This came up when {name} was looked at before its training.")
        raise


def _first_batch(arm: Arm, data: Any, split: Any, key: Array) -> Batch:
    return arm.task.gather(data, split, arm.task.order(key, jnp.int32(0), 1)[0])


def check_weights(params: Params) -> None:
    """Raise UserError unless the params are arrays of floating or complex numbers, at least one."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise UserError("the net has no weights, so there is nothing to train: give a net that has some")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise UserError(
                f"the weight {leaf_name(path)} is of type {leaf.dtype}, and no gradient reaches it: make it float32, "
                "or keep it outside the weights"
            )
        if getattr(leaf, "weak_type", False):
            raise UserError(
                f"the weight {leaf_name(path)} is a Python number, whose type changes with what it is added to: make "
                "it jnp.float32(...)"
            )


def check_objective(arm: Arm, hypers: Hypers, params: Params, extras: Extras, batch: Batch, key: Array) -> None:
    """Raise UserError unless the objective returns (number, (extras, metrics))."""
    made = jax.eval_shape(lambda h, *inputs: arm.minimised(h)(*inputs), hypers, params, extras, batch, key)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], tuple) and len(made[1]) == 2):
        raise UserError(
            "the objective returns one thing, and not (loss, (extras, metrics)): wrap the task's own, as "
            "wd.penalized(task.loss(h), penalty, strength) does"
        )
    value, (after, metrics) = made
    if getattr(value, "shape", None) != ():
        raise UserError(f"the objective makes an array of shape {getattr(value, 'shape', '?')}: sum it, or take its "
                        "mean, so that it is one number")  # fmt: skip
    for name, metric in metrics.items():
        check_metric(name, metric)
    _check_same("the objective", "extras", extras, after)


def check_measurements(arm: Arm, split: Any, state: State) -> None:
    """Raise UserError unless every metric of a split, and of the weights, is one number, or one for each edge."""
    splits = jax.eval_shape(arm.task.splits, arm.task.data, split)
    evaluated = jax.eval_shape(lambda splits, state: evaluate_member(arm, splits, state), splits, state)
    for metrics in evaluated.values():
        for name, metric in metrics.items():
            if metric.shape != EDGES.shape:
                check_metric(name, metric)


def check_metric(name: str, metric: Any) -> None:
    """Raise UserError unless a metric is one number, by a name that files can hold."""
    check_name("metric", name)
    shape = np.shape(metric)
    if shape != ():
        raise UserError(f"the metric {name} is of shape {shape}: give one number, such as its mean")


def check_optimizer(arm: Arm, hypers: Hypers, params: Params, extras: Extras, batch: Batch, key: Array) -> None:
    """Raise UserError unless a step keeps structure, shapes and types of weights and of the optimizer's state, and what
    is observed of it is numbers.
    """
    state = jax.eval_shape(lambda h, p: arm.optimizer(h).init(p), hypers, params)
    before = State(params, extras, state)
    after, metrics = jax.eval_shape(lambda h, *inputs: train_step(arm, h, *inputs), hypers, before, batch, key)
    _check_same("a step of the optimizer", "weights", params, after.params)
    _check_same("a step of the optimizer", "its state", state, after.opt_state)
    for name, metric in metrics.items():
        check_metric(name, metric)


def _check_same(who: str, what: str, before: Any, after: Any) -> None:
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise UserError(f"{who} changes the structure of {what}: it must stay what it was at the beginning")
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise UserError(
                f"{who} makes {leaf_name(path)} of {what} {new.dtype}{list(new.shape)} of {old.dtype}"
                f"{list(old.shape)}: keep its shape and type, as jnp.asarray(..., {old.dtype}) does"
            )


def _line(error: Exception) -> str:
    """The last line of a person's own code on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and "wd_research" not in frame.filename]
    return f"{own[-1].filename}, line {own[-1].lineno}, or what it calls," if own else "the arm"
