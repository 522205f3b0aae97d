"""One member, one step: initialise; then forward, loss, backward, update."""

import jax
import optax

from wd_research.types import Arm, Batch, Hypers, Key, Metrics, State
from wd_research.updates import update


def init_state(arm: Arm, hypers: Hypers, key: Key) -> State:
    """Initialise: weights and extras from the key, and the optimizer's state for them."""
    params, extras = arm.task.init(key)
    return State(params, extras, arm.optimizer(hypers).init(params))


def train_step(arm: Arm, hypers: Hypers, state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
    """Take one step: w <- w + update(grad objective(w)).

    Objective and optimizer are built here from the hyperparameters f32[], so each of their numbers may be traced.
    The metrics are the loss's own, those that `arm.observe(hypers)` takes of the step, and "objective": what was
    minimised, penalties included.
    """
    objective, optimizer = arm.minimised(hypers), arm.optimizer(hypers)

    # forward, loss, backward
    gradient = jax.value_and_grad(objective, has_aux=True)
    (value, (extras, metrics)), gradients = gradient(state.params, state.extras, batch, key)

    # update
    updates, opt_state = update(optimizer, gradients, state.opt_state, state.params, value)
    params = optax.apply_updates(state.params, updates)

    observed = arm.observe(hypers)(state.params, gradients, params)
    return State(params, extras, opt_state), {**metrics, **observed, "objective": value}
