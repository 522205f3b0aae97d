"""One member, a net with one seed at one point: how it begins, trains for a segment of steps, and is evaluated.

No seeds, points or devices here: `population` maps these functions over all of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from wd_research.training.probes import weight_statistics
from wd_research.training.step import init_state, train_step
from wd_research.types import Arm, Array, Batch, Hypers, Key, Metrics, State

INIT, ORDER, NOISE = range(3)  # purposes of a seed's randomness: fold_in(fold_in(seed, purpose), step)
NEVER = -1


class Member(NamedTuple):
    """What training changes."""

    state: State
    diverged_at: Array  # i32[]: the first step whose loss or new weights were not finite, or NEVER
    totals: Metrics  # sums of what every step measured, over the steps since the evaluation before


class Seed(NamedTuple):
    """What all members of one seed share."""

    data: Any  # shared by all seeds too
    split: Any
    key: Key


def init_member(arm: Arm, seed: Seed, hypers: Hypers) -> Member:
    """A member before its first step; its weights are the seed's, the same at every point."""
    state = init_state(arm, hypers, jax.random.fold_in(seed.key, INIT))

    def measured(state: State) -> Metrics:
        batch = arm.task.gather(seed.data, seed.split, draw_order(arm, seed.key, jnp.int32(0), 1)[0])
        return _recordable(train_step(arm, hypers, state, batch, seed.key)[1])

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(measured, state))
    return Member(state, jnp.int32(NEVER), nothing)


def draw_order(arm: Arm, key: Key, start: Array, length: int) -> Array:
    """The training examples of `length` steps from step `start` on, i32[length, b]; the same for all members."""
    return arm.task.order(jax.random.fold_in(key, ORDER), start, length)


def train_segment(
    arm: Arm, seed: Seed, order: Array, start: Array, steps: Array, fresh: Array, member: Member, hypers: Hypers,
    own_batch: bool = False,
) -> Member:  # fmt: skip
    """Take `steps` steps, of those that `order` has, from step `start` on; if `fresh`, sums of metrics begin anew.

    The sums run on from call to call, in the order of the steps, so that it does not matter where a call ends.

    Nothing of a batch depends on the point, so under vmap it is gathered and its noise drawn once per seed, unless
    `own_batch` gives every member one of its own.
    """

    def step(number: Array, member: Member) -> Member:
        batch = arm.task.gather(seed.data, seed.split, order[number])
        if own_batch:
            batch = _own(batch, member)
        noise = jax.random.fold_in(jax.random.fold_in(seed.key, NOISE), start + number)
        return _step_or_stay(arm, hypers, member, batch, noise, start + number)

    totals = jax.tree.map(lambda total: jnp.where(fresh, 0, total), member.totals)
    return jax.lax.fori_loop(0, steps, step, member._replace(totals=totals))


def evaluate_member(arm: Arm, splits: Any, state: State) -> dict[str, Metrics]:
    """Every metric of each split, f32[], and what is measured of the weights alone.

    "weights" are `probes.weight_statistics`; under "" stand the task's own measurements of the weights.
    """
    task, params, extras = arm.task, state.params, state.extras
    evaluated = {name: task.evaluate(params, extras, batch, name) for name, batch in splits.items()}
    return _recordable({**evaluated, "": task.measure(params, extras), "weights": weight_statistics(params)})


def _recordable(metrics: Any) -> Any:
    """The metrics in float32 at least: sums of booleans, of small integers or in half precision would be wrong."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.promote_types(jnp.result_type(leaf), jnp.float32)), metrics)


def _own(batch: Batch, member: Member) -> Batch:
    """The batch that all members share, as one that vmap takes for the member's own.

    With a shared one XLA joins the members' first layers to one wide product, for which a GPU transposes weights and
    gradients at every step: a tenth of its time. On a CPU the wide product is the faster one (docs/benchmarks.md).
    """
    nothing = 0 * member.diverged_at
    return jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), batch)


def _step_or_stay(arm: Arm, hypers: Hypers, member: Member, batch: Batch, key: Key, time: Array) -> Member:
    """One step, unless the member has diverged: then its last finite weights stay.

    Where a new weight is not finite that weight stays, and from the next step on all of them do: were none written
    before all are known to be finite, a GPU would read and write them twice (docs/benchmarks.md). The optimizer's state
    goes on: nothing reads it any more, and selecting it costs.
    """
    old = member.state
    new, metrics = train_step(arm, hypers, old, batch, key)
    alive = (member.diverged_at == NEVER) & jnp.isfinite(metrics["objective"])
    diverged_at = jnp.where((member.diverged_at == NEVER) & ~(alive & all_finite(new.params)), time, member.diverged_at)
    params = jax.tree.map(lambda w, before: jnp.where(alive & jnp.isfinite(w), w, before), new.params, old.params)
    extras = jax.tree.map(lambda now, before: jnp.where(alive, now, before), new.extras, old.extras)
    totals = jax.tree.map(jnp.add, member.totals, _recordable(metrics))
    return Member(State(params, extras, new.opt_state), diverged_at, totals)


def all_finite(params: Any) -> Array:
    """Whether no entry is NaN or infinite, nor so large that a sum along the first axis overflows; bool[].

    By sums, which vectorize where a reduction of booleans does not (docs/benchmarks.md).
    """
    return jnp.stack(
        [jnp.isfinite(leaf.sum(axis=0)).all() for leaf in map(jnp.atleast_1d, jax.tree.leaves(params))]
    ).all()
