"""The steps of a long run that an audit looks at, and how an optimizer's counters get from one block to the next.

A short run is looked at from end to end. Of a longer one blocks of consecutive steps are, with random gaps between
them, so that a schedule of any period is seen at all its phases; what counts steps jumps over the gaps.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WATCHED = (20, 100, 3_000)  # steps in which a plain counter shows, and one that has a period, a long one at last
EARLY = 4  # one of so many gaps is a short one at the beginning


class Samples(NamedTuple):
    """The steps that are looked at; all f64[samples] or i64[samples]."""

    steps: np.ndarray  # their numbers
    gaps: np.ndarray  # steps left out after each
    weights: np.ndarray  # steps that each stands for; they sum to the run


def samples(steps: int, most: int, block: int, period: int = 1) -> Samples:
    """At most about `most` of `steps` steps, in blocks whose gaps are multiples of a period of the optimizer.

    Where a period fits, blocks are of whole periods, so that what comes once in each is in every block once.
    """
    whole = period * -(-block // period)
    block = whole if whole <= most else block
    blocks = max(most // block, 2)
    if steps <= max(most, blocks * block):
        return Samples(np.arange(steps), np.zeros(steps, np.int64), np.ones(steps))
    units = (steps - blocks * block) // period  # periods to leave out
    sizes = _gaps(max(units / (blocks - 1), 1.0), blocks - 1)
    jitter = np.random.default_rng(4).uniform(-0.5, 0.5, blocks - 2) * np.minimum(sizes[:-1], sizes[1:])
    cuts = np.concatenate([[0], (np.cumsum(sizes)[:-1] + jitter) / sizes.sum(), [1]])
    gaps = np.append(np.diff(np.floor(units * cuts)).astype(np.int64) * period, 0)
    firsts = np.concatenate([[0], np.cumsum(gaps + block)[:-1]])
    before = np.append(0, gaps[:-1])
    weights = (block + (before + gaps) / 2) / block
    weights *= steps / (block * weights.sum())
    lasts = np.zeros((blocks, block), np.int64)
    lasts[:, -1] = gaps
    return Samples((firsts[:, None] + np.arange(block)).ravel(), lasts.ravel(), np.repeat(weights, block))


def _gaps(size: float, number: int) -> np.ndarray:
    """Sizes of gaps in proportion: a part of them grows geometrically from 1, the others are of a size."""
    early = number // EARLY
    return np.append(size ** (np.arange(early) / max(early, 1)), np.full(number - early, size))


def is_clock(leaf: Any) -> bool:
    """Whether a leaf of a state may count steps: one number, no key."""
    return np.ndim(leaf) == 0 and (jnp.issubdtype(leaf.dtype, jnp.integer) or jnp.issubdtype(leaf.dtype, jnp.floating))


def advances(watched: list[np.ndarray]) -> tuple[list[float], int]:
    """What each counter gains per step, from its values at consecutive steps, and a period common to all.

    A counter may count micro-steps and begin again (it gains nothing over its period), count every k-th step only, or
    count in floats. A number that does none of these gains nothing.
    """
    gains, periods = zip(*map(_gain, watched), strict=True) if watched else ((), ())
    return list(gains), math.lcm(*periods)


def _gain(values: np.ndarray) -> tuple[float, int]:
    """The gain per step and the period of one counter; (0, 1) where it is none."""
    values = np.asarray(values, np.float64)[len(values) // 4 :]
    for period in range(1, len(values) // 2):
        differences = values[period:] - values[:-period]
        if np.ptp(differences) <= 1e-6 * np.max(np.abs(values)):
            return float(differences[0]) / period, period
    return 0.0, 1


def jump(state: Any, gains: Any, gap: Any) -> Any:
    """The state with its counters `gap` steps further; `gains` f32[counters]."""
    leaves, treedef = jax.tree.flatten(state)
    left = iter(gains)

    def moved(leaf: Any) -> Any:
        if not is_clock(leaf):
            return leaf
        gained = next(left) * gap
        return leaf + (jnp.round(gained) if jnp.issubdtype(leaf.dtype, jnp.integer) else gained).astype(leaf.dtype)

    return jax.tree.unflatten(treedef, list(map(moved, leaves)))
