"""The course of a sum over a run of which blocks of steps were looked at, and how far it may be off.

Between two blocks the summand goes from the mean of one to that of the other along a line. Where the line bends it may
as well jump anywhere in the gap; and what comes in pulses of few steps may come unseen. What is read from one course
never contradicts itself.
"""

import math
from typing import NamedTuple

import numpy as np

from wd_research.audit.clock import Samples

SURE = 4  # standard errors that are said, where errors are chance
WITHIN = np.linspace(0, 1, 33)[1:]  # parts of a gap after which the course is known


class Course(NamedTuple):
    """The course of a sum; all f64[nodes], the first of which is the beginning of the run."""

    times: np.ndarray  # steps that are done
    sums: np.ndarray
    errors: np.ndarray  # of the sums, at most

    def total(self) -> tuple[float, float]:
        """The sum over the run, and its relative error."""
        total, error = float(self.sums[-1]), float(self.errors[-1])
        return total, error / abs(total) if total else math.inf if error else 0.0

    def reaches(self, level: float) -> tuple[float, float]:
        """The first step after which the sum is at a level, and its relative error.

        If the run ends before, it goes on as on average; inf where it never gets there.
        """
        times = [
            _crossing(self.times, sums, level) for sums in (self.sums, self.sums + self.errors, self.sums - self.errors)
        ]
        total, error = self.total()
        if math.isfinite(times[0]):
            return math.ceil(times[0] - 1e-6), max(abs(time - times[0]) for time in times) / times[0]
        if math.isfinite(times[1]):  # it may be within the run
            error = math.inf
        return (float(self.times[-1]) * level / total, error) if total > 1e-12 else (math.inf, error)


def _crossing(times: np.ndarray, sums: np.ndarray, level: float) -> float:
    """When sums first are at a level, between nodes too; inf where they never are."""
    (beyond,) = np.nonzero(sums[1:] >= level - 1e-12)
    if not len(beyond):
        return math.inf
    (before, after), (begin, end) = (nodes[beyond[0] : beyond[0] + 2] for nodes in (sums, times))
    return float(begin + (end - begin) * min((level - before) / (after - before), 1.0))


def course(of_steps: np.ndarray, looked: Samples) -> Course:
    """The course of the sum of what was seen at the sampled steps, f64[samples]."""
    if not looked.gaps.any():
        times, sums = (np.append(0, np.cumsum(looked.weights * of_step)) for of_step in (1.0, of_steps))
        return Course(times, sums, np.zeros(len(sums)))
    gaps = looked.gaps.copy()
    gaps[-1] = max(round(looked.weights.sum()) - int(looked.steps[-1]) - 1, 0)
    ends = np.flatnonzero(np.append(looked.gaps[:-1], 1))
    gaps, begins = gaps[ends], np.append(0, ends[:-1] + 1)
    sizes, which = np.diff(np.append(begins, len(of_steps))), np.repeat(np.arange(len(ends)), ends - begins + 1)
    means = np.add.reduceat(of_steps, begins) / sizes
    slopes, bends = _lines(means, gaps[:-1] + (sizes[:-1] + sizes[1:]) / 2)
    inside = gaps[:, None] * WITHIN
    off = np.minimum(2 * WITHIN, 1) * (bends * gaps)[:, None]
    added = (means + slopes * sizes / 2)[:, None] * inside + slopes[:, None] * inside**2 / 2
    of_gaps = np.stack([inside, added, off, off**2, inside + inside**2 / sizes[:, None]])  # [what, gaps, nodes]
    none = np.zeros(len(of_steps))
    of_blocks = np.stack([none + 1, of_steps, none, none, none]).cumsum(1)  # gaps left out
    before = np.append(np.zeros((5, 1)), of_gaps[:, :, -1].cumsum(1), 1)  # what the gaps before each block add
    nodes = np.concatenate(
        [
            np.zeros((5, 1)),
            of_blocks + before[:, which],
            (of_gaps + (of_blocks[:, ends] + before[:, :-1])[:, :, None])[:, gaps > 0].reshape(5, -1),
        ],
        1,
    )
    times, sums, linear, squared, variance = nodes[:, np.argsort(nodes[0], kind="stable")]
    errors = np.minimum(linear, SURE * np.sqrt(squared))
    pulses = _pulses(np.abs(of_steps), begins, which)
    return Course(times, sums, np.maximum(errors, SURE * np.sqrt(pulses * variance)))


def _lines(means: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slope of the line through each gap, and how far the mean there may be from that of the line.

    Nothing is known of what follows the last block, and it is less than a period.
    """
    jumps = np.diff(means)
    turns = np.abs(np.diff(jumps / distances))
    around = np.maximum(np.append(turns, 0), np.append(0, turns)) if len(turns) else np.full(1, np.inf)
    return np.append(jumps / distances, 0), np.append(np.minimum(np.abs(jumps), around * distances) / 2, 0)


def _pulses(sizes: np.ndarray, begins: np.ndarray, which: np.ndarray) -> float:
    """The variance per step of what comes and goes within blocks, in some more often than in others.

    A pulse is what falls by half without being what the block before was, or rises so that it is not the block after.
    """
    means, largest = np.add.reduceat(sizes, begins) / np.bincount(which), np.maximum.reduceat(sizes, begins)
    before, after = np.append(0, means[:-1])[which], np.append(means[1:], 0)[which]
    falls = (sizes[1:] < sizes[:-1] / 2) & (before[:-1] < sizes[:-1] / 2)
    rises = (sizes[:-1] < sizes[1:] / 2) & (after[1:] < sizes[1:] / 2)
    has = np.bincount(which[1:], (falls | rises) & (which[1:] == which[:-1]), len(begins)) > 0
    if not has.any():
        return 0.0
    counts = np.where(has, np.bincount(which, sizes > largest[which] / 2), 0.0)
    return float(np.mean(largest[has] ** 2) * np.sum(np.diff(counts) ** 2) / 2 / len(sizes))
