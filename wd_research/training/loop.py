"""The loop: an arm trains segment by segment, is evaluated after each, and observers are told where it stands."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

import jax
import numpy as np

from wd_research.results import joined, labelled
from wd_research.training.plan import Plan, Segments, points_at
from wd_research.training.population import Population
from wd_research.types import Arm, Observer, Position, Results

Seconds = dict[str, float]  # wall clock by what it went into
PIECE = 1.0  # seconds that a call may take
_told: ContextVar[Callable[[int], None]] = ContextVar("told", default=lambda member_steps: None)


def train_arm(
    name: str, arm: Arm, plan: Plan, segments: Segments, observers: Sequence[Observer], seconds: Seconds,
    first: int = 0, points: Sequence[int] | None = None,
) -> Results:  # fmt: skip
    """Train an arm to its end, one wave of points after the other, and return every evaluation of all its points.

    Its seeds are those from `first` on, as many as the plan is for. `points` are the numbers of those that are trained,
    by default all of them.
    """
    every = np.arange(arm.size) if points is None else np.asarray(points)

    def publish(position: Position) -> None:
        with booked(seconds, "write"):
            for observe in observers:
                observe(name, position)

    waves = []
    for start in range(0, len(every), plan.points_per_wave):
        numbers = every[start : start + plan.points_per_wave]
        wave = points_at(arm, np.pad(numbers, (0, plan.points_per_wave - len(numbers)), mode="edge"))
        position = None
        piece = max(1, int(PIECE / plan.seconds_per_step)) if plan.seconds_per_step else None
        for position in train_wave(plan.population, wave, numbers, segments, seconds, first, piece):
            publish(position._replace(points=len(every)))
        waves += [position.results] if position else []
    return joined(waves, "point")


def train_wave(
    population: Population, wave: Arm, numbers: np.ndarray, segments: Segments, seconds: Seconds, first: int = 0,
    piece: int | None = None,
) -> Iterator[Position]:  # fmt: skip
    """Train one wave, and yield its position after every segment.

    Its results are of the first points, which have these numbers in their arm; the rest fill up the wave. A call takes
    at most `piece` steps, because a signal waits until it returns.
    """
    attributes = {"loss_unit": wave.task.loss_unit, **split_sizes(wave)}
    with booked(seconds, "compile"):
        inputs = population.put(wave, first)
        members, results = population.init(inputs), None
    for start, length in segments:
        with booked(seconds, "train"):
            size = members.diverged_at.shape[0] * len(numbers)
            members, running = advance_in_pieces(population, members, inputs, start, length, piece or length, size)
        with booked(seconds, "evaluate"):
            fetched = population.fetch((population.evaluate(members, inputs), running, members.diverged_at))
            now = evaluation(wave, start + length, *fetched).isel(point=slice(len(numbers)))
            now = now.assign_coords(point=numbers, seed=now["seed"] + first).assign_attrs(attributes)
            results = followed(results, now)
        yield Position(start + length, members, results, len(numbers))


def advance_in_pieces(
    population: Population, members: Any, inputs: Any, start: int, length: int, most: int, size: int
) -> tuple[Any, Any]:
    """Advance by `length` steps, at most so many at a time; the metrics are means over all of them.

    Of the members `size` count: whoever wants to be told of pieces is told how many member-steps each of them took.

    It is one program for any number of steps, and a step sees the same examples wherever a call begins.
    """
    means: Any = None
    for first in range(0, length, most):
        steps = min(most, length - first)
        members, of_piece = jax.block_until_ready(
            population.advance(members, inputs, np.int32(start + first), np.int32(steps))
        )
        _told.get()(steps * size)
        means = of_piece if means is None else _mean(means, of_piece, np.float32(steps / (first + steps)))
    return members, means


@contextmanager
def told_of_pieces(listener: Callable[[int], None]) -> Iterator[None]:
    """Tell a listener of every piece that is trained inside a block: how many member-steps it took.

    Observers hear of evaluations alone, and there may be minutes between two of them.
    """
    token = _told.set(listener)
    try:
        yield
    finally:
        _told.reset(token)


def _mean(means: Any, others: Any, share: np.float32) -> Any:
    return jax.tree.map(lambda mean, other: mean + share * (other - mean), means, others)


def split_sizes(arm: Arm) -> dict[str, int]:
    """How many targets each split of a seed has: `test_examples` and so on."""
    splits = jax.eval_shape(arm.task.splits, arm.task.data, arm.task.split(0))
    return {
        f"{name}_examples": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(split.targets))
        for name, split in splits.items()
    }


def evaluation(
    arm: Arm, step: int, evaluated: Mapping[str, Mapping[str, Any]], running: Mapping[str, Any], diverged_at: Any
) -> Results:
    """Label one evaluation: `train_accuracy` and so on are of whole splits, `weights_norm` and so on of the weights.

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
def booked(seconds: Seconds, what: str) -> Iterator[None]:
    """Book the time that a block takes under `what`."""
    begin = perf_counter()
    try:
        yield
    finally:
        seconds[what] = seconds.get(what, 0.0) + perf_counter() - begin
