"""The decay inside an optimizer, leaf by leaf, whatever it is made of: what differs between mirrored twins.

No option of the optimizer is read. It is run on a few entries of every axis of a leaf, where a step computes entry by
entry, and on whole leaves otherwise.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.audit.clock import WATCHED, Samples, advances, samples
from wd_research.audit.coupled import coupled_decay, undoing
from wd_research.audit.reading import LeafDecay, read_leaf
from wd_research.audit.twins import RUNS, Inputs, Stepper, clocks, run_side_by_side, stepper
from wd_research.types import Params
from wd_research.updates import update

ENTRIES = 8  # of every axis of a leaf
SAMPLES, FEWEST, CALLS = 2_000, 120, 12_000  # steps that are looked at: fewer where there are many leaves
BLOCK = 10  # how many of them follow one another in a longer run
FEWEST_WHOLE, ENTRIES_SEEN = 48, 7e6  # the same where leaves cannot be cut: fewer where there are many entries
ACROSS = re.compile(r"reduce_.*|dot_general|cum.*|sort|top_k|arg.*|fft|conv_general.*|cholesky|qr|svd|eigh?|lu")


class Probes(NamedTuple):
    """The questions to an optimizer that is built from numbers."""

    program: Callable[..., Any]  # (numbers, params) -> the operations of a step
    stepper: Stepper


def probes(optimizer_of: Callable[[Any], optax.GradientTransformation]) -> Probes:
    """All that is asked of the optimizer that `optimizer_of` builds from traced numbers; other ones compile nothing.

    Where an optimizer wants the value of the loss it gets 1.
    """

    def built(numbers: Any) -> optax.GradientTransformation:
        optimizer = optimizer_of(numbers)

        def step(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
            return update(optimizer, updates, state, params, jnp.float32(1))

        return optax.GradientTransformation(optimizer.init, step)

    def program(numbers: Any, params: Params) -> Any:
        state = jax.eval_shape(lambda numbers: built(numbers).init(params), numbers)
        return jax.make_jaxpr(lambda n, s, w: built(n).update(w, s, w))(numbers, state, params).jaxpr

    return Probes(program, stepper(built))


def probe(ask: Probes, numbers: Any, params: Params, gradients: Params, steps: int) -> list[LeafDecay]:
    """Find what an optimizer does to each leaf of `params` over `steps` steps, `gradients` being the model's own."""
    with jax.default_device(_processor()):
        start, cut = awake(params), _cut(awake(params))
        alike = _decay_alike(ask, numbers, start, cut)
        if alike:
            start, gradients = cut, _cut(gradients)
        weights = _like(start, 1)
        gains, period = _clocks(ask.stepper, numbers, cut, _cut(gradients))
        if gains is None:
            gains, period = _clocks(ask.stepper, numbers, start, gradients)
        most, block = _most(start, alike)
        looked = samples(steps, most, block, period)
        strengths, pulls = coupled_decay(ask.stepper, numbers, start, weights)
        undo = tuple(undoing(strengths, pulls, start, at) for at in (weights, jax.tree.map(np.negative, weights)))
        inputs = Inputs(start, weights, _not_smaller(gradients, undo[0]), undo)

        def read(looked: Samples) -> list[LeafDecay]:
            sums = run_side_by_side(ask.stepper, numbers, inputs, looked, np.array(gains), ENTRIES)
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


def _most(start: Params, alike: bool) -> tuple[int, int]:
    """How many steps to look at, and how many of them to follow one another, so that all take a few seconds."""
    leaves = jax.tree.leaves(start)
    if alike:
        return min(max(CALLS // len(leaves), FEWEST), SAMPLES), BLOCK
    most = int(min(max(ENTRIES_SEEN / sum(map(np.size, leaves)), FEWEST_WHOLE), SAMPLES))
    return most, min(BLOCK, most // 12)


def _clocks(ask: Stepper, numbers: Any, start: Params, gradients: Params) -> tuple[list[float] | None, int]:
    """What the counters of the state gain per step, and their common period; None where cut leaves do not fit."""
    at, pushes = (jax.tree.map(lambda leaf: np.stack([leaf] * len(RUNS)), tree) for tree in (start, gradients))
    watched: list[np.ndarray] = []
    gains, period = [], 1
    try:
        initial = states = ask.init(numbers, at)
        none = np.zeros(len(clocks(states)), np.float32)
        for enough in WATCHED:
            while len(none) and len(watched) < enough:
                _, states = ask.step(numbers, states, pushes, at, initial, np.float32(0), none)
                watched.append(clocks(states))
            gains, period = advances(list(np.array(watched).T))
            if all(gains) or (period > 1 and enough > WATCHED[0]):
                break
    except (TypeError, ValueError):
        return None, 1
    return gains, period


def _processor() -> Any:
    """A CPU, where small programs compile fast; None, the default, without one."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _cut(tree: Params) -> Params:
    """A few entries of every axis, from all along it."""
    return jax.tree.map(lambda leaf: leaf[tuple(slice(None, None, max(1, -(-n // ENTRIES))) for n in leaf.shape)], tree)


def _like(tree: Params, seed: int) -> Params:
    """Random weights as large as the tree's, none near 0."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: np.ndarray) -> np.ndarray:
        size = np.sqrt(np.mean(np.abs(leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)) ** 2))
        turned = rng.choice([-1.0, 1.0], leaf.shape) * rng.uniform(0.5, 1.5, leaf.shape)
        return np.asarray(size * turned).astype(leaf.dtype)

    return jax.tree.map(drawn, tree)


def awake(tree: Params, of_all: bool = False) -> Params:
    """The tree with other weights for leaves of zeros, whose decay could not be seen, or for all leaves."""
    alive = jax.tree.map(lambda leaf: leaf if leaf.any() else np.full_like(leaf, 0.1), tree)
    others = _like(alive, 0)
    return jax.tree.map(lambda leaf, other: leaf if leaf.any() and not of_all else other, tree, others)


def _decay_alike(ask: Probes, numbers: Any, whole: Params, cut: Params) -> bool:
    """Whether cut leaves decay as whole ones do, from the program of a step.

    It must compute entry by entry (a norm to clip by is one of all), and the same of both (a mask may depend on sizes,
    a target on shapes).
    """
    if jax.tree.map(np.shape, whole) == jax.tree.map(np.shape, cut):
        return True
    try:
        programs = [list(_operations(ask.program(numbers, tree))) for tree in (whole, cut)]
    except (TypeError, ValueError):  # the shapes of what the optimizer holds do not fit cut leaves
        return False
    return programs[0] == programs[1] and not any(ACROSS.fullmatch(name) for name, _ in programs[0])


def _operations(program: Any) -> Iterator[tuple[str, list[Any]]]:
    """The name of each operation and what it is of, those inside others included, whatever the shapes."""
    numbers = {variable: number for number, variable in enumerate([*program.constvars, *program.invars])}
    for equation in program.eqns:
        yield (
            equation.primitive.name,
            [repr(of.val) if hasattr(of, "val") else numbers.get(of) for of in equation.invars],
        )
        numbers |= {variable: len(numbers) + number for number, variable in enumerate(equation.outvars)}
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _operations(inner)


def _not_smaller(gradients: Params, others: Params) -> Params:
    """The gradients, where they are not smaller than others: beside what rounding leaves of those, they must count."""
    return jax.tree.map(
        lambda g, other: np.where(np.abs(g) < np.abs(other), np.abs(other), g).astype(g.dtype), gradients, others
    )
