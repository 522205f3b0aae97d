"""Mirrored twins: runs of one optimizer that get the same gradients, and see the weights w and -w.

Half the difference between the updates of twins comes from the weights: decay. What heeds the size of weights alone,
such as a trust ratio, does not differ. Held twins see the same weights at every step; moving ones are run as training
runs them. The leaves keep their dtypes, so that what rounding takes is seen too. A step of all runs is one compiled
call and the rest is NumPy's, because compiling more takes longer than it saves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.audit.clock import Samples, is_clock, jump
from wd_research.audit.rows import Rows
from wd_research.decay.masks import leaf_name
from wd_research.types import Params

TRACE = 1e-12  # a gradient beside which what an optimizer adds to its memory's root counts alone
TOGETHER = 25  # steps whose sums NumPy takes in one call
TURNED_FOR = 3  # steps for which the run that tells a memory of decay sees the mirror image


class Run(NamedTuple):
    """What one of the runs that go side by side starts from, sees and gets."""

    start: float = 1  # of the start: the optimizer is initialised there
    seen: float = 1  # of the weights where it is asked; of the start where it moves
    moves: bool = False
    gradient: str = ""  # "own", "one" or "trace" (at every entry), or none
    signs: bool = False  # the gradient comes with a random sign at every step
    once: bool = False  # the gradient comes at the first step alone
    undone: bool = False  # gets the gradient that undoes decay before the optimizer
    turns: bool = False  # sees the mirror image for its first steps, and then what it should
    forgets: bool = False  # its memory, counters excepted, is that of the start at every step (`SINGLE` alone)


def _twins(**options: Any) -> tuple[Run, Run]:
    """A run and its mirror image; held twins share a start, so that a pull toward it does not look like one to 0."""
    return Run(1, 1, **options), Run(-1 if options.get("moves") else 1, -1, **options)


RUNS = (
    *_twins(),
    *_twins(gradient="own", signs=True),
    *_twins(gradient="own", signs=True, undone=True),
    *_twins(gradient="own", moves=True),
    *_twins(moves=True),
    *_twins(gradient="own", signs=True, moves=True),
    *_twins(gradient="own"),
    Run(turns=True),
    Run(moves=True, gradient="one", once=True),
    Run(0, 0, gradient="one"),
    Run(0, 0, gradient="trace", forgets=True),
)
PAIRS = {
    "rest": 0,
    "noise": 2,
    "clean": 4,
    "lasting": 6,
    "free": 8,
    "moving": 10,
    "pushed": 12,
}  # where the twins begin
MOVING = PAIRS["lasting"], PAIRS["free"], PAIRS["moving"]
TURNED, PULSE, PUSHED, SINGLE = 14, 15, 16, 17
MOVES, SIGNED, ONCE, TURNS = (
    np.array([getattr(run, name) for run in RUNS]) for name in ("moves", "signs", "once", "turns")
)


class Stepper(NamedTuple):
    """An optimizer that is built from numbers, for as many runs side by side as there are `RUNS`.

    Compiled when first called, and other numbers compile nothing. All trees have the axis of runs in front.
    """

    init: Callable[..., Any]  # (numbers, starts) -> states
    step: Callable[..., tuple[Any, Any]]  # (numbers, states, gradients, weights, initial states, gap, gains)
    # -> updates, and the states `gap` steps further


def stepper(
    optimizer_of: Callable[[Any], optax.GradientTransformation], update: Callable[..., Any], level: int
) -> Stepper:
    """The stepper of the optimizer that `optimizer_of` builds from traced numbers, compiled at an optimization level.

    `update` is a step, (numbers, state, gradients, weights) -> (updates, state).
    """

    def init(numbers: Any, starts: Params) -> Any:
        return jax.vmap(optimizer_of(numbers).init)(starts)

    def step(numbers: Any, states: Any, gradients: Params, at: Params, initial: Any, gap: Any, gains: Any) -> Any:
        updates, states = jax.vmap(partial(update, numbers))(states, gradients, at)
        if not jax.tree.leaves(states):
            return updates, states
        states = jax.tree.map(_forgotten, states, initial)
        return updates, jax.vmap(lambda state: jump(state, gains, gap))(states)

    compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": level})
    return Stepper(compiled(init), compiled(step))


def _forgotten(leaf: Any, initial: Any) -> Any:
    """One leaf of all states, with the initial memory in the run that forgets; counters stay."""
    if leaf.ndim == 1 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    forgets = (np.arange(len(RUNS)) == SINGLE).reshape(-1, *[1] * (leaf.ndim - 1))
    return jnp.where(forgets, initial[SINGLE], leaf)


class Inputs(NamedTuple):
    """What the runs are made of: trees of NumPy arrays, of the leaves' own dtypes."""

    start: Params
    weights: Params  # where held runs are asked
    gradients: Params  # the model's own
    undoing: tuple[Params, Params]  # the gradients that undo decay before the optimizer, at w and at -w


def run_side_by_side(
    ask: Stepper, numbers: Any, inputs: Inputs, looked: Samples, gains: np.ndarray
) -> dict[str, np.ndarray]:
    """Go through all `RUNS`; sums over the first entries of every axis of each leaf, f64[samples, leaves].

    What is summed `_products` names; `gains` of the counters are f64[counters].
    """
    s, w, own, *undo = map(jax.tree.leaves, (*inputs[:3], *inputs.undoing))
    rows = Rows(s, len(RUNS))
    pushes = {"own": own, "one": [np.ones_like(leaf) for leaf in s], "": [np.zeros_like(leaf) for leaf in s]}
    pushes["trace"] = [np.full_like(leaf, max(TRACE, jnp.finfo(leaf.dtype).smallest_normal)) for leaf in s]

    starts = rows.filled([[run.start * leaf for leaf in s] for run in RUNS], s)
    at = begun = rows.filled([[run.seen * leaf for leaf in (s if run.moves else w)] for run in RUNS], s)
    gradients = rows.filled([pushes[run.gradient] for run in RUNS], s)
    undoing = rows.filled([undo[run.seen < 0] if run.undone else pushes[""] for run in RUNS], s)
    treedef, corner = jax.tree.structure(inputs.start), rows.corner(starts)
    initial = states = ask.init(numbers, jax.tree.unflatten(treedef, rows.leaves(starts)))
    memories = _memories(states, inputs.start, [bool(np.any(undone)) for undone in undo[0]])
    signs = np.random.default_rng(3).choice([-1.0, 1.0], len(looked.steps))
    began, sums, first = 0, [], np.zeros(0)
    kept: list[list[np.ndarray]] = []  # updates, and weights before and after them, whose products are to be summed
    past: list[dict[int, np.ndarray]] = []  # memories since the last gap
    for step, (sign, gap) in enumerate(zip(signs, looked.gaps, strict=True)):
        factors = np.where(SIGNED, sign, 1.0) * np.where(ONCE & (step > 0), 0.0, 1.0)
        mirror = np.where(TURNS & (step < TURNED_FOR), -1.0, 1.0)
        pushed = [_times(factors, g) + c for g, c in zip(gradients, undoing, strict=True)]
        seen = [_times(mirror, part) for part in at] if step < TURNED_FOR else at
        updates, states = ask.step(
            numbers, states, *(jax.tree.unflatten(treedef, rows.leaves(parts)) for parts in (pushed, seen)), initial,
            np.float32(gap), np.float32(gains),
        )  # fmt: skip
        u = rows.gathered(jax.tree.leaves(updates))
        landed = [_landed(part, update) for part, update in zip(at, u, strict=True)]
        kept.append([rows.corner(parts) for parts in (u, at, landed)])
        first = kept[0][0] if step == 0 else first
        if len(kept) == TOGETHER or step == len(signs) - 1:
            sums.append(
                rows.summed(_products(first, corner, *(np.stack(of_steps, 1) for of_steps in zip(*kept, strict=True))))
            )
            kept = []
        at = landed
        if memories:
            now = jax.tree.leaves(states)
            past.append({index: np.asarray(now[index]) for index, _ in memories})
        if gap:
            at = [part.copy() for part in landed]
            leaves = zip(rows.leaves(at), rows.leaves(begun), strict=True)
            shrunk = [_forward(leaf, was, gap / (step + 1 - began)) for leaf, was in leaves]
            states = _remembered(states, past, memories, gap, shrunk)
            past, began, begun = [], step + 1, at
    return {name: np.concatenate([of_steps[name] for of_steps in sums]) for name in sums[0]}


def _times(factors: np.ndarray, part: np.ndarray) -> np.ndarray:
    return factors.astype(part.dtype)[:, None] * part


def _landed(part: np.ndarray, update: np.ndarray) -> np.ndarray:
    """The weights after a step, in their own dtype; held ones stay."""
    landed = part.copy()
    landed[MOVES] += update[MOVES]
    return landed


def _forward(leaf: np.ndarray, begun: np.ndarray, blocks: float) -> list[float]:
    """Moving twins after a gap, in which every entry of what differs between them goes on as over the last block.

    The factor by which that changes for each pair is returned.
    """
    factors = []
    exact = np.complex128 if np.iscomplexobj(leaf) else np.float64
    for first in MOVING:
        pair = slice(first, first + 2)
        (half, middle), (was, _) = _halves(leaf[pair].astype(exact), 0), _halves(begun[pair].astype(exact), 0)
        was = np.abs(was)
        grown = np.divide(np.abs(half), was, out=np.zeros_like(was), where=was > 0)
        largest = np.max(np.abs(half), initial=0) / max(np.max(was, initial=0), 1e-300)
        most = max(1.0, largest)  # more is rounding beside gradients
        size = np.linalg.norm(half)
        half = half * np.minimum(grown, most) ** blocks
        factors.append(float(np.linalg.norm(half) / size) if size else 1.0)
        leaf[pair] = middle + half, middle - half
    return factors


def _memories(states: Any, params: Params, coupled: list[bool]) -> list[tuple[int, int]]:
    """Which leaves of a state remember gradients of which leaves of the params, of those whose decay is a gradient."""
    names = [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    found = []
    for index, (path, memory) in enumerate(jax.tree_util.tree_leaves_with_path(states)):
        owners = [name for name in names if f"/{leaf_name(path)}".endswith(f"/{name}" if name else "")]
        if owners and memory.ndim > 1 and jnp.issubdtype(memory.dtype, jnp.inexact):
            owner = names.index(max(owners, key=len))
            found += [(index, owner)] if coupled[owner] else []
    return found


def _remembered(
    states: Any, past: list[dict[int, np.ndarray]], memories: list[tuple[int, int]], gap: int, shrunk: list[list[float]]
) -> Any:
    """The states after a gap: what moving twins remember alike goes on, what differs shrinks as the weights do."""
    if not memories:
        return states
    leaves, treedef = jax.tree.flatten(states)
    apart = (len(past) - 1) // 2
    for index, owner in memories:
        exact = np.complex128 if np.iscomplexobj(past[-1][index]) else np.float64
        memory = past[-1][index].astype(exact)
        for first, factor in zip(MOVING, shrunk[owner], strict=True):
            half, middle = _halves(memory, first)
            if apart and exact is np.float64:
                begun, between = (_halves(past[-1 - back * apart][index].astype(exact), first)[1] for back in (2, 1))
                middle = _gone_on(begun, between, middle, gap / apart)
            memory[first : first + 2] = middle + factor * half, middle - factor * half
        leaves[index] = memory.astype(past[-1][index].dtype)
    return jax.tree.unflatten(treedef, leaves)


def _gone_on(first: np.ndarray, second: np.ndarray, third: np.ndarray, times: float) -> np.ndarray:
    """Where three values at equal distances lead `times` as far, each change being the same part of the one before."""
    before, last = second - first, third - second
    part = np.clip(np.divide(last, before, out=np.zeros_like(last), where=before != 0), 0, 1)
    changes = np.where(part < 1, part * (1 - part**times) / np.where(part < 1, 1 - part, 1), times)
    return third + last * changes


def _products(
    first: np.ndarray, starts: np.ndarray, u: np.ndarray, at: np.ndarray, landed: np.ndarray
) -> dict[str, np.ndarray]:
    """What is summed after a step: of the first updates and the starts, f64[runs, numbers], and of its updates and the
    weights before and after them, f64[runs, steps, numbers].

    f64[steps, numbers] each, or f64[numbers] where all steps have the same.
    """
    start = starts[0]
    products = {"entries": np.ones_like(start), "start": start**2}
    for name, begin in PAIRS.items():
        (odd, even), (weights, _), (after, _) = (_halves(rows, begin) for rows in (u, at, landed))
        products |= {
            f"{name} along": -odd * weights, f"{name} weights": weights**2, f"{name} odd": odd**2,
            f"{name} signs": -odd * np.sign(weights), f"{name} even": even**2, f"{name} to start": even * start,
            f"{name} gone": -(after - weights) * weights, f"{name} moved": (after - weights) ** 2,
            f"{name} both": odd * even,
        }  # fmt: skip
    (rest, _), (noise, _) = (_halves(u, PAIRS[name]) for name in ("rest", "noise"))
    away = at[PULSE] - start
    return products | {
        "mixed": (noise - rest) ** 2, "half": (2 * noise - rest) ** 2,
        "lasting steps": u[PUSHED] ** 2, "single steps": u[SINGLE] ** 2,
        "remembered": (u[TURNED] - u[0]) ** 2, "asked": u[TURNED] ** 2 + u[0] ** 2,
        "steady": _halves(u, PAIRS["rest"])[1] * _halves(first, PAIRS["rest"])[1],
        "back": -u[PULSE] * away, "away": away**2,
    }  # fmt: skip


def _halves(rows: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Half the difference and half the sum of twins."""
    return (rows[first] - rows[first + 1]) / 2, (rows[first] + rows[first + 1]) / 2


def clocks(states: Any) -> np.ndarray:
    """What may count steps in the state of the first run; f64[counters]."""
    numbers = [leaf for leaf in jax.tree.leaves(states) if leaf.ndim == 1 and is_clock(leaf[0])]
    return np.array([np.asarray(leaf)[0] for leaf in numbers], np.float64)
