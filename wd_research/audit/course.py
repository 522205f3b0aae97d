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
WITHIN = np.linspace(0, 1, 65)[1:]  # parts of a gap after which the course is known


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
    ends = np.flatnonzero(looked.gaps)
    blocks = np.split(of_steps, ends + 1)
    rest = round(looked.weights.sum()) - int(looked.steps[-1]) - 1
    gaps = np.append(looked.gaps[ends], max(rest, 0))
    means, sizes = np.array([block.mean() for block in blocks]), np.array(list(map(len, blocks)))
    slopes, bends = _lines(means, gaps[:-1] + (sizes[:-1] + sizes[1:]) / 2)
    nodes = [np.zeros((1, 5))]  # steps, sum, its error, that squared, and the variance where pulses have one per step
    for block, gap, mean, slope, bend in zip(blocks, gaps, means, slopes, bends, strict=True):
        here, none = nodes[-1][-1], np.zeros(len(block))
        nodes.append(here + np.stack([np.arange(1.0, len(block) + 1), np.cumsum(block), none, none, none], 1))
        steps, off = WITHIN * gap, np.minimum(2 * WITHIN, 1) * bend * gap
        added = (mean + slope * len(block) / 2) * steps + slope * steps**2 / 2
        nodes.append(nodes[-1][-1] + np.stack([steps, added, off, off**2, steps + steps**2 / len(block)], 1))
    times, sums, linear, squared, variance = np.concatenate(nodes).T
    errors = np.minimum(linear, SURE * np.sqrt(squared))
    return Course(times, sums, np.maximum(errors, SURE * np.sqrt(_pulses(blocks) * variance)))


def _lines(means: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slope of the line through each gap, and how far the mean there may be from that of the line.

    Nothing is known of what follows the last block, and it is less than a period.
    """
    jumps = np.diff(means)
    turns = np.abs(np.diff(jumps / distances))
    around = np.maximum(np.append(turns, 0), np.append(0, turns)) if len(turns) else np.full(1, np.inf)
    return np.append(jumps / distances, 0), np.append(np.minimum(np.abs(jumps), around * distances) / 2, 0)


def _pulses(blocks: list[np.ndarray]) -> float:
    """The variance per step of what comes and goes within blocks, in some more often than in others."""
    means = np.array([np.abs(block).mean() for block in blocks])
    counts, sizes = np.zeros(len(blocks)), np.zeros(len(blocks))
    for index, block in enumerate(map(np.abs, blocks)):
        before, after = (means[near] if 0 <= near < len(means) else 0.0 for near in (index - 1, index + 1))
        falls = (block[1:] < block[:-1] / 2) & (before < block[:-1] / 2)
        rises = (block[:-1] < block[1:] / 2) & (after < block[1:] / 2)
        if falls.any() or rises.any():
            counts[index], sizes[index] = np.sum(block > block.max() / 2), block.max()
    if not counts.any():
        return 0.0
    return float(np.mean(sizes[counts > 0] ** 2) * np.sum(np.diff(counts) ** 2) / 2 / sum(map(len, blocks)))
