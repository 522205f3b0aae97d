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
from wd_research.types import Params

TURNED_FOR = 3  # steps for which the run that tells a memory of decay sees the mirror image


class Run(NamedTuple):
    """What one of the runs that go side by side starts from, sees and gets."""

    start: float = 1  # of the start: the optimizer is initialised there
    seen: float = 1  # of the weights where it is asked; of the start where it moves
    moves: bool = False
    gradient: str = ""  # "own", "one" (at every entry) or none
    signs: bool = False  # the gradient comes with a random sign at every step
    once: bool = False  # the gradient comes at the first step alone
    undone: bool = False  # gets the gradient that undoes decay before the optimizer
    turns: bool = False  # sees the mirror image for its first steps, and then what it should
    forgets: bool = False  # its memory, counters excepted, is that of the start at every step


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
    Run(0, 0, gradient="one", forgets=True),
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
TURNED, PULSE, PUSHED, SINGLE = 14, 15, 16, 17
MOVES, SIGNED, ONCE, TURNS, FORGETS = (
    np.array([getattr(run, name) for run in RUNS]) for name in ("moves", "signs", "once", "turns", "forgets")
)


class Stepper(NamedTuple):
    """An optimizer that is built from numbers, for as many runs side by side as there are `RUNS`.

    Compiled when first called, and other numbers compile nothing. All trees have the axis of runs in front.
    """

    init: Callable[..., Any]  # (numbers, starts) -> states
    step: Callable[..., tuple[Any, Any]]  # (numbers, states, gradients, weights, initial states, gap, gains)
    # -> updates, and the states `gap` steps further


def stepper(optimizer_of: Callable[[Any], optax.GradientTransformation]) -> Stepper:
    """The stepper of the optimizer that `optimizer_of` builds from traced numbers."""

    def init(numbers: Any, starts: Params) -> Any:
        return jax.vmap(optimizer_of(numbers).init)(starts)

    def step(numbers: Any, states: Any, gradients: Params, at: Params, initial: Any, gap: Any, gains: Any) -> Any:
        updates, states = jax.vmap(optimizer_of(numbers).update)(gradients, states, at)
        if not jax.tree.leaves(states):
            return updates, states
        states = jax.tree.map(_forgotten, states, initial)
        return updates, jax.vmap(lambda state: jump(state, gains, gap))(states)

    # run few times per compilation: at full optimization the compiler takes longer than all that it saves
    compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    return Stepper(compiled(init), compiled(step))


def _forgotten(leaf: Any, initial: Any) -> Any:
    """One leaf of all states, with the initial memory in the runs that forget; counters stay."""
    if leaf.ndim == 1 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    return jnp.where(FORGETS.reshape(-1, *[1] * (leaf.ndim - 1)), initial, leaf)


class Inputs(NamedTuple):
    """What the runs are made of: trees of NumPy arrays, of the leaves' own dtypes."""

    start: Params
    weights: Params  # where held runs are asked
    gradients: Params  # the model's own
    undoing: tuple[Params, Params]  # the gradients that undo decay before the optimizer, at w and at -w


def run_side_by_side(
    ask: Stepper, numbers: Any, inputs: Inputs, looked: Samples, gains: np.ndarray, entries: int
) -> dict[str, np.ndarray]:
    """Go through all `RUNS`; sums over the first entries of every axis of each leaf, f64[samples, leaves].

    What is summed `_products` names; `gains` of the counters are f64[counters].
    """
    s, w, own, *undo = map(jax.tree.leaves, (*inputs[:3], *inputs.undoing))
    treedef, zeros = jax.tree.structure(inputs.start), [np.zeros_like(leaf) for leaf in s]
    pushes = {"own": own, "one": [np.ones_like(leaf) for leaf in s], "": zeros}

    def stacked(of_run: Callable[[Run], list[np.ndarray]]) -> list[np.ndarray]:
        return [np.stack(leaves) for leaves in zip(*map(of_run, RUNS), strict=True)]

    starts = stacked(lambda run: [(run.start * leaf).astype(leaf.dtype) for leaf in s])
    at = stacked(lambda run: [(run.seen * leaf).astype(leaf.dtype) for leaf in (s if run.moves else w)])
    gradients = stacked(lambda run: pushes[run.gradient])
    undoing = stacked(lambda run: undo[run.seen < 0] if run.undone else zeros)
    corner = _Corner(s, entries)
    initial = states = ask.init(numbers, jax.tree.unflatten(treedef, starts))
    signs = np.random.default_rng(3).choice([-1.0, 1.0], len(looked.steps))
    began, begun = 0, at
    sums, first = [], gradients
    for step, (sign, gap) in enumerate(zip(signs, looked.gaps, strict=True)):
        factors = np.where(SIGNED, sign, 1.0) * np.where(ONCE & (step > 0), 0.0, 1.0)
        mirror = np.where(TURNS & (step < TURNED_FOR), -1.0, 1.0)
        updates, states = ask.step(
            numbers, states,
            jax.tree.unflatten(treedef, [_times(factors, g) + c for g, c in zip(gradients, undoing, strict=True)]),
            jax.tree.unflatten(treedef, [_times(mirror, leaf) for leaf in at]),
            initial, np.float32(gap), np.float32(gains),
        )  # fmt: skip
        u = list(map(np.asarray, jax.tree.leaves(updates)))
        first = u if step == 0 else first
        landed = [_landed(leaf, update) for leaf, update in zip(at, u, strict=True)]
        sums.append(corner.summed(_products(*map(corner.of, (u, first, at, landed, starts)))))
        at = landed
        if gap:
            at = [_forward(*leaves, gap / (step + 1 - began)) for leaves in zip(landed, begun, strict=True)]
            began, begun = step + 1, at
    return {name: np.stack([of_step[name] for of_step in sums]) for name in sums[0]}


def _times(factors: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return factors.astype(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)) * leaf


def _landed(leaf: np.ndarray, update: np.ndarray) -> np.ndarray:
    """The weights after a step, in their own dtype; held ones stay."""
    return np.where(MOVES.reshape(-1, *[1] * (leaf.ndim - 1)), leaf + update, leaf).astype(leaf.dtype)


def _forward(leaf: np.ndarray, begun: np.ndarray, blocks: float) -> np.ndarray:
    """Moving twins after a gap, in which every entry of what differs between them goes on as over the last block."""
    exact = np.complex128 if np.iscomplexobj(leaf) else np.float64
    leaf, begun, dtype = leaf.astype(exact), begun.astype(exact), leaf.dtype
    for first in (PAIRS["lasting"], PAIRS["free"], PAIRS["moving"]):
        (half, middle), was = _halves(leaf, first), np.abs(_halves(begun, first)[0])
        grown = np.divide(np.abs(half), was, out=np.zeros_like(was), where=was > 0)
        most = max(1.0, np.linalg.norm(half) / max(np.linalg.norm(was), 1e-300))  # more is rounding beside gradients
        half = half * np.minimum(grown, most) ** blocks
        leaf[first], leaf[first + 1] = middle + half, middle - half
    return leaf.astype(dtype)


class _Corner:
    """The first entries of every axis of each leaf, as one vector of numbers, two for a complex one."""

    def __init__(self, leaves: list[np.ndarray], entries: int) -> None:
        self.slices = [(slice(None), *[slice(entries)] * leaf.ndim) for leaf in leaves]
        sizes = [self._numbers(leaf[None], where).shape[1] for leaf, where in zip(leaves, self.slices, strict=True)]
        self.empty = np.array(sizes) == 0
        self.begins = np.minimum(np.concatenate([[0], np.cumsum(sizes)[:-1]]), max(sum(sizes) - 1, 0)).astype(int)

    @staticmethod
    def _numbers(leaf: Any, where: tuple[slice, ...]) -> np.ndarray:
        rows = leaf[where].reshape(len(leaf), -1)
        return np.concatenate([rows.real, rows.imag], 1) if np.iscomplexobj(rows) else rows

    def of(self, leaves: list[np.ndarray]) -> np.ndarray:
        """f64[runs, numbers]."""
        return np.concatenate(list(map(self._numbers, leaves, self.slices)), 1).astype(np.float64)

    def summed(self, products: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The sum of each product over each leaf; f64[leaves]."""
        sums = np.add.reduceat(np.stack(list(products.values())), self.begins, axis=1)
        sums[:, self.empty] = 0
        return dict(zip(products, sums, strict=True))


def _products(
    u: np.ndarray, first: np.ndarray, at: np.ndarray, landed: np.ndarray, starts: np.ndarray
) -> dict[str, np.ndarray]:
    """What is summed after a step: of its updates and the first ones, the weights before and after it, and the starts.

    f64[numbers] each.
    """
    start = starts[0]
    products = {"entries": np.ones_like(start), "start": start**2}
    for name, begin in PAIRS.items():
        (odd, even), (weights, _), (after, _) = (_halves(rows, begin) for rows in (u, at, landed))
        products |= {
            f"{name} along": -odd * weights, f"{name} weights": weights**2, f"{name} odd": odd**2,
            f"{name} signs": -odd * np.sign(weights), f"{name} even": even**2, f"{name} to start": even * start,
            f"{name} gone": -(after - weights) * weights, f"{name} moved": (after - weights) ** 2,
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
