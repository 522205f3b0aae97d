"""The loop: a tile trains segment by segment, in pieces after each of which it can stop and go on, and is evaluated."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.results import joined, labelled
from wd_research.training.plan import Segments, points_at
from wd_research.training.population import Population
from wd_research.types import Arm, Position, Results

Seconds = dict[str, float]  # wall clock by what it went into
PIECE = 1.0  # seconds that a call may take
USUAL, BORNE = 10, 0.1  # evaluations of a training, and the share of its time that they may take


class Pace:
    """How many steps a call takes: about as many as a second has, because a signal waits until it returns."""

    def __init__(self, steps: int = 1) -> None:
        """Begin with so many."""
        self.steps = steps

    def learn(self, steps: int, seconds: float) -> None:
        """So many steps took so long."""
        self.steps = max(1, min(2 * self.steps, int(steps * PIECE / max(seconds, 1e-9))))


def train_tile(
    population: Population, arm: Arm, numbers: Sequence[int], segments: Segments, seconds: Seconds,
    seeds: range | None = None, pace: Pace | None = None, since: Position | None = None,
) -> Iterator[Position]:  # fmt: skip
    """Train the points of an arm that have these numbers, and yield the position after every call.

    A position is all that the rest of the training depends on: `since` one of them it goes on as if it had never
    stopped, bit for bit, and however it is cut into pieces. The next piece takes the members of a position away. Seeds
    are by default as many as the population has, from 0 on; where points or seeds are fewer, copies of the last fill it
    up, which train along only where all points advance together.
    """
    seeds = range(population.seeds) if seeds is None else seeds
    tile = points_at(arm, numbers)
    with booked(seconds, "compile"):
        inputs = population.put(points_at(arm, population.laid_out(numbers)), seeds, len(numbers))
        members = population.init(inputs) if since is None else population.put_back(since.members)
    step: int = since.step if since else 0
    results: Any = since.results if since else None
    pace, upcoming = pace or Pace(population.length), 0
    steps = call_from(step, segments, population, pace)
    inputs = population.feed(inputs, seeds, step, steps)
    for start, length in segments:
        while step < start + length:
            with booked(seconds, "train"):
                begin, clock = perf_counter(), (np.int32(step), np.int32(steps), np.bool_(step == start))
                members = population.advance(members, inputs, *clock)
                if arm.task.pool:  # what the next call reads is made meanwhile
                    upcoming = call_from(step + steps, segments, population, pace)
                    inputs = population.feed(inputs, seeds, step + steps, upcoming) if upcoming else inputs
                jax.block_until_ready(members)
                pace.learn(steps, perf_counter() - begin)
            step += steps
            steps = upcoming if arm.task.pool else call_from(step, segments, population, pace)
            if step == start + length:
                with booked(seconds, "evaluate"):
                    now = evaluated(population, tile, len(seeds), members, inputs, step, length)
                    now = now.assign_coords(point=np.asarray(numbers), seed=np.array(seeds))
                    results = followed(results, now.assign_attrs(steps=sum(segments[-1])))
            yield Position(step, members, results)


def call_from(step: int, segments: Segments, population: Population, pace: Pace) -> int:
    """How many steps the call from a step on takes; 0 behind the last."""
    end = next((start + length for start, length in segments if start + length > step), step)
    return min(pace.steps, population.length, end - step)


def evaluated(
    population: Population, tile: Arm, seeds: int, members: Any, inputs: Any, step: int, length: int
) -> Results:  # fmt: skip
    """The evaluation of a tile after a step, with the means of what the `length` steps before it measured."""
    metrics, totals, diverged_at = population.fetch(
        (population.evaluate(members, inputs), members.totals, members.diverged_at),
        seeds, places=population.places(tile.size),
    )  # fmt: skip
    running = jax.tree.map(lambda total: total / total.dtype.type(length), totals)
    results = evaluation(tile, step, metrics, running, diverged_at)
    return results.assign_attrs(loss_unit=tile.task.loss_unit, **split_sizes(tile))


def split_sizes(arm: Arm) -> dict[str, int]:
    """How many targets of each split of a seed are evaluated: `test_examples` and so on."""
    splits = jax.eval_shape(arm.task.splits, arm.task.data, arm.task.split(0))
    return {
        f"{name}_examples": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(split.targets))
        for name, split in splits.items()
    }


def bearable(arm: Arm, steps: int) -> int:
    """How many evaluations a training of so many steps can bear: ten, or as many as cost a tenth of it; at least one.

    To evaluate an example costs a third of what a step takes for one.
    """
    task, split = arm.task, arm.task.split(0)
    order = jax.eval_shape(lambda: task.order(jax.random.key(0), jnp.int32(0), 1))
    batch = jax.eval_shape(lambda data, split, order: task.gather(data, split, order[0]), task.data, split, order)
    parts = jax.eval_shape(task.splits, task.data, split)
    trained, evaluated = steps * examples_of(batch), sum(map(examples_of, parts.values()))
    return min(USUAL, max(1, int(BORNE * 3 * trained / evaluated))) if trained and evaluated else USUAL


def examples_of(batch: Any) -> int:
    """How many examples a batch has: the length of its longest array."""
    return max((leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim), default=0)


def evaluation(
    arm: Arm, step: int, evaluated: Mapping[str, Mapping[str, Any]], running: Mapping[str, Any], diverged_at: Any
) -> Results:
    """Label one evaluation: `train_accuracy` and so on are of the splits, `weights_norm` and so on of the weights.

    `running_loss` and so on are means over the segment's batches; the task's measurements of the weights keep the names
    that it gave them.
    """
    named = {
        "_".join(filter(None, (part, name))): metric
        for part, metrics in evaluated.items()
        for name, metric in metrics.items()
    }
    means = {f"running_{name}": metric for name, metric in running.items()}
    return labelled(arm.points, arm.axis, step, {**named, **means}, diverged_at)


def followed(before: Results | None, now: Results) -> Results:
    """The evaluations so far and one more; `diverged_at` is that of the last."""
    if before is None:
        return now
    both = joined([part.drop_vars("diverged_at") for part in (before, now)], "step")
    return both.assign(diverged_at=now.diverged_at)


@contextmanager
def booked(seconds: Seconds, what: str) -> Generator[None]:
    """Book the time that a block takes under `what`."""
    begin = perf_counter()
    try:
        yield
    finally:
        seconds[what] = seconds.get(what, 0.0) + perf_counter() - begin
