"""Decay that an optimizer takes for a gradient, found by the gradient that undoes it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.audit.twins import RUNS, Stepper, clocks
from wd_research.decay.masks import leaf_name
from wd_research.types import Params

LOOSE = 0.02  # what may be left of a trace beside 1

# What such a decay may pull along, at weights w and a start.
PULLS: dict[str, Callable[[Any, Any], Any]] = {
    "w": lambda w, start: w,
    "w - start": lambda w, start: w - start,
    "sign(w)": lambda w, start: w / abs(w),
}


def coupled_decay(ask: Stepper, numbers: Any, start: Params, weights: Params) -> tuple[list[float], list[str]]:
    """Decay that the optimizer takes for a gradient: the strength whose opposite leaves no trace in its memory.

    With the gradient -strength * pull(w) such a decay is cancelled, and the state changes as it does at rest. From two
    gradients the strength is guessed, a third proves it. Without a memory that belongs to leaves nothing is found.
    """
    treedef, zeros = jax.tree.structure(start), jax.tree.map(np.zeros_like, start)
    traces = partial(_traces, ask, numbers)
    directions = {name: jax.tree.map(pull, weights, start) for name, pull in PULLS.items()}
    rest, alone, *against = traces(
        [(zeros, zeros, zeros), (start, zeros, weights)]
        + [(start, jax.tree.map(np.negative, direction), weights) for direction in directions.values()]
    )
    seen = _minus(alone, rest)
    strengths, pulls = [0.0] * len(seen), ["w"] * len(seen)
    if not any(np.any(array) for arrays in seen for array in arrays):
        return strengths, pulls
    for (name, direction), other in zip(directions.items(), against, strict=True):
        guesses = list(_guesses(seen, _minus(other, rest)))
        undoing = [
            jax.tree.map(lambda g, d: (-g * d).astype(d.dtype), jax.tree.unflatten(treedef, guess), direction)
            for guess in guesses
        ]
        for guess, left in zip(guesses, traces([(start, undo, weights) for undo in undoing]), strict=True):
            remains = _minus(left, rest)
            for leaf, strength in enumerate(guess):
                size, over = (sum(_dot(a, a) for a in arrays[leaf]) for arrays in (seen, remains))
                if strengths[leaf] == 0 and size > 0 and over < LOOSE**2 * size:
                    strengths[leaf], pulls[leaf] = float(strength), name
    return strengths, pulls


def _traces(ask: Stepper, numbers: Any, questions: list[tuple[Params, Params, Params]]) -> list[list[list[Any]]]:
    """What a step with a gradient, at weights, from a start, changes in the memory of each leaf; one per question."""
    found = []
    for first in range(0, len(questions), len(RUNS)):
        asked = questions[first : first + len(RUNS)]
        full = asked + [asked[0]] * (len(RUNS) - len(asked))
        starts, gradients, at = (
            jax.tree.map(lambda *leaves: np.stack(leaves), *trees) for trees in zip(*full, strict=True)
        )
        before = ask.init(numbers, starts)
        none = np.zeros(len(clocks(before)), np.float32)
        after = ask.step(numbers, before, gradients, at, before, np.float32(0), none)[1]
        changes = _minus(_by_leaf(after, starts), _by_leaf(before, starts))
        found += [[[array[row] for array in arrays] for arrays in changes] for row in range(len(asked))]
    return found


def _guesses(seen: list[list[Any]], against: list[list[Any]]) -> Iterator[list[float]]:
    """Strengths of each leaf's decay, from the traces of decay alone and of decay with the gradient -1 * pull.

    With the strength s a trace is in proportion to s and to s - 1 (a momentum), or to their squares (a second moment).
    """
    for array in range(max(map(len, seen), default=0)):
        pairs = [
            (a[array], b[array]) if array < len(a) else (np.zeros(1),) * 2 for a, b in zip(seen, against, strict=True)
        ]
        ratios = np.array([_dot(b, a) / max(_dot(a, a), 1e-300) for a, b in pairs])
        roots = np.sqrt(np.maximum(ratios, 0))
        for ratio in (ratios, roots, -roots):
            yield list(1 / np.where(ratio == 1, np.inf, 1 - ratio))


def _by_leaf(state: Any, params: Params) -> list[list[Any]]:
    """The arrays of a state that belong to each leaf, by the end of their path."""
    names = [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    arrays = [(leaf_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    owned: dict[str, list[Any]] = {name: [] for name in names}
    for path, leaf in arrays:
        owners = [name for name in names if f"/{path}".endswith(f"/{name}" if name else "")]
        if owners and jnp.issubdtype(leaf.dtype, jnp.inexact):
            exact = np.complex128 if jnp.iscomplexobj(leaf) else np.float64
            owned[max(owners, key=len)].append(np.asarray(leaf, exact))
    return list(owned.values())


def _minus(first: list[list[Any]], second: list[list[Any]]) -> list[list[Any]]:
    return [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(np.real(np.conj(first) * second)))


def undoing(strengths: list[float], pulls: list[str], start: Params, at: Params) -> Params:
    """The gradients that undo decay before the optimizer."""
    leaves = zip(strengths, pulls, jax.tree.leaves(at), jax.tree.leaves(start), strict=True)
    return jax.tree.unflatten(
        jax.tree.structure(start),
        [(-np.nan_to_num(c) * PULLS[pull](w, s)).astype(w.dtype) for c, pull, w, s in leaves],
    )
