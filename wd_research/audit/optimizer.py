"""The decay inside an optimizer, leaf by leaf, whatever it is made of: what differs between mirrored twins.

No option of the optimizer is read. It is run on a few entries of every axis of a leaf, where these tell what whole
leaves do (`audit.program`), and on whole leaves otherwise.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.audit.clock import WATCHED, Samples, advances, samples
from wd_research.audit.coupled import coupled_decay, undoing
from wd_research.audit.program import Program, are_tiles, counters_alone, step_of, traced
from wd_research.audit.reading import LeafDecay, read_leaf
from wd_research.audit.rows import entries
from wd_research.audit.twins import RUNS, Inputs, Stepper, run_side_by_side, stepper
from wd_research.types import Params
from wd_research.updates import update

SAMPLES, FEWEST, CALLS = 1_200, 120, 12_000  # steps that are looked at: fewer where there are many leaves
BLOCK, SHORTEST, BLOCKS = 10, 3, 100  # how many of them follow one another in a longer run, and so many times
FEWEST_WHOLE, ENTRIES_SEEN = 48, 7e6  # the same where leaves cannot be cut: fewer where there are many entries


class Probes(NamedTuple):
    """The questions to an optimizer that is built from numbers, about params of one kind."""

    cut: bool  # whether a few entries of every axis tell what whole leaves do
    count: Callable[..., Any]  # what steps the counters of a state alone
    stepper: Stepper


def probes(optimizer_of: Callable[[Any], optax.GradientTransformation]) -> Callable[[Any, Params], Probes]:
    """The function (numbers, params) -> Probes of the optimizer that `optimizer_of` builds from traced numbers.

    It is traced for the shapes of the params, and other numbers trace and compile nothing. Where an optimizer wants
    the value of the loss it gets 1.
    """

    def built(numbers: Any) -> optax.GradientTransformation:
        optimizer = optimizer_of(numbers)

        def step(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
            return update(optimizer, updates, state, params, jnp.float32(1))

        return optax.GradientTransformation(optimizer.init, step)

    known: dict[Any, Probes] = {}

    def of_params(numbers: Any, params: Params) -> Probes:
        leaves, treedef = jax.tree.flatten(params)
        kind = treedef, tuple((np.shape(leaf), leaf.dtype) for leaf in leaves)
        if kind not in known:
            whole = traced(built, numbers, params)
            few = _tiles(partial(traced, built, numbers), whole, params)
            program = few or whole
            # tiles are run few times per compilation: the compiler would take longer than all that it saves
            ask = stepper(built, step_of(program, whole), level=0 if few else 1)
            known[kind] = Probes(few is not None, counters_alone(program), ask)
        return known[kind]

    return of_params


def _tiles(trace: Callable[[Params], Program], whole: Program, params: Params) -> Program | None:
    """The program of a few entries of every axis, where these tell what whole leaves do."""
    cut = cut_of(params)
    if jax.tree.map(np.shape, cut) == jax.tree.map(np.shape, params):
        return whole
    try:
        few = trace(cut)
    except (TypeError, ValueError):  # the shapes of what the optimizer holds do not fit
        return None
    return few if are_tiles(few.step, whole.step) else None


def probe(
    ask_of: Callable[[Any, Params], Probes], numbers: Any, params: Params, gradients: Params, steps: int
) -> list[LeafDecay]:
    """Find what an optimizer does to each leaf of `params` over `steps` steps, `gradients` being the model's own."""
    with jax.default_device(_processor()):
        start = awake(params)
        ask = ask_of(numbers, start)
        if ask.cut:
            start, gradients = cut_of(start), cut_of(gradients)
        weights = _like(start, 1)
        gains, period = _clocks(ask, numbers, start, gradients)
        most, block = _most(start, ask.cut)
        looked = samples(steps, most, block, period)
        strengths, pulls = coupled_decay(ask.stepper, numbers, start, weights)
        undo = tuple(undoing(strengths, pulls, start, at) for at in (weights, jax.tree.map(np.negative, weights)))
        inputs = Inputs(start, weights, _not_smaller(gradients, undo[0]), undo)

        def read(looked: Samples) -> list[LeafDecay]:
            sums = run_side_by_side(ask.stepper, numbers, inputs, looked, np.array(gains))
            return [
                read_leaf({name: array[:, leaf] for name, array in sums.items()}, looked, *of_leaf)
                for leaf, of_leaf in enumerate(
                    zip(strengths, pulls, map(_resolution, jax.tree.leaves(start)), strict=True)
                )
            ]

        found = read(looked)
        if looked.gaps.any() and any(leaf.by_moving for leaf in found):  # weights of its own know nothing of gaps
            whole = read(samples(most, most, block)._replace(weights=np.full(most, steps / most)))
            found = [again if leaf.by_moving else leaf for leaf, again in zip(found, whole, strict=True)]
    return found


def _resolution(leaf: np.ndarray) -> float:
    """The relative step of a leaf's dtype."""
    return float(jnp.finfo(leaf.dtype).eps)


def _most(start: Params, cut: bool) -> tuple[int, int]:
    """How many steps to look at, and how many of them to follow one another, so that all take a few seconds."""
    leaves = jax.tree.leaves(start)
    if cut:
        most = min(max(CALLS // len(leaves), FEWEST), SAMPLES)
    else:
        most = int(min(max(ENTRIES_SEEN / sum(map(np.size, leaves)), FEWEST_WHOLE), SAMPLES))
    return most, min(BLOCK, max(most // BLOCKS, SHORTEST))


def _clocks(ask: Probes, numbers: Any, start: Params, gradients: Params) -> tuple[list[float], int]:
    """What the counters of the state gain per step, and their common period."""
    states = ask.stepper.init(numbers, jax.tree.map(lambda leaf: np.stack([leaf] * len(RUNS)), start))
    state = jax.tree.map(
        lambda leaf: leaf[0] if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)[0], states
    )
    counted = ask.count(jax.tree.leaves((numbers, state, gradients, start)))
    watched, gains, period = [], [], 1
    for enough in WATCHED:
        watched += [counted() for _ in range(enough - len(watched))]
        gains, period = advances(list(np.array(watched).T))
        if all(gains) or (period > 1 and enough > WATCHED[0]):
            break
    return gains, period


def _processor() -> Any:
    """A CPU, where small programs compile fast; None, the default, without one."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def cut_of(tree: Params) -> Params:
    """A few entries of every axis, from all along it, as large on average as all."""

    def of_leaf(leaf: np.ndarray) -> np.ndarray:
        most = entries(leaf.ndim)
        few = leaf[tuple(slice(None, None, max(1, -(-length // most))) for length in leaf.shape)]
        if few.size == leaf.size or not leaf.any():
            return few
        few = few if few.any() else np.ones_like(few)
        return (few * (_size(leaf) / _size(few))).astype(leaf.dtype)

    return jax.tree.map(of_leaf, tree)


def _size(leaf: np.ndarray) -> float:
    """The root mean square."""
    exact = leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)
    return float(np.sqrt(np.mean(np.abs(exact) ** 2))) if leaf.size else 0.0


def _like(tree: Params, seed: int) -> Params:
    """Random weights as large as the tree's, none near 0."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: np.ndarray) -> np.ndarray:
        turned = rng.choice([-1.0, 1.0], leaf.shape) * rng.uniform(0.5, 1.5, leaf.shape)
        return np.asarray(_size(leaf) * turned).astype(leaf.dtype)

    return jax.tree.map(drawn, tree)


def awake(tree: Params, of_all: bool = False) -> Params:
    """The tree with other weights for leaves of zeros, whose decay could not be seen, or for all leaves."""
    alive = jax.tree.map(lambda leaf: leaf if leaf.any() else np.full_like(leaf, 0.1), tree)
    others = _like(alive, 0)
    return jax.tree.map(lambda leaf, other: leaf if leaf.any() and not of_all else other, tree, others)


def _not_smaller(gradients: Params, others: Params) -> Params:
    """The gradients, where they are not smaller than others: beside what rounding leaves of those, they must count."""
    return jax.tree.map(
        lambda g, other: np.where(np.abs(g) < np.abs(other), np.abs(other), g).astype(g.dtype), gradients, others
    )
