"""How arms are trained on this machine: in tiles of points that fit in memory, in blocks that are fast."""

from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from wd_research.flags import UserError
from wd_research.training.hosts import compile_here, mesh_here
from wd_research.training.mapped import Block
from wd_research.training.population import Inputs, Population
from wd_research.training.programs import Compiled
from wd_research.types import Arm

LONGEST = 1_000  # steps of a call: it draws the order of the data for as many, whatever it takes of them
CHOOSING = 0.04  # the share of a run's time that timing its steps, and then choosing the block, may take
TIMED = 11  # steps that timing takes
FEW = 8  # small nets together, whose states stay in a CPU's cache (docs/benchmarks.md)
ROUNDS, HOPELESS = 3, 2.0  # of calls that choose a block; how many times as slow another is no candidate any more
Segments = Sequence[tuple[int, int]]  # the first step and the length of each
SegmentsOf = Callable[[Arm], Segments]


class PlanError(UserError):
    """A population does not fit."""


class Limits(NamedTuple):
    """What a population may take, and the blocks in which it may advance."""

    memory: float | None = None  # bytes that a tile may need, on all devices together
    blocks: tuple[Block, ...] = ()  # the first is taken, the others are timed against it where that pays; (): any
    tiles: int = 1  # that an arm is cut into at least, for other processes to share
    timed: bool = False  # whether steps are timed however few a run has


class Plan(NamedTuple):
    """How an arm is trained."""

    population: Population  # of one tile
    block: Block
    tiles: int
    seconds_per_step: float  # of a tile, measured before step 0 on copies that are thrown away; 0 where it is short
    compile_seconds: float

    def record(self) -> dict[str, Any]:
        """What the record of a run keeps of it."""
        of_tile = {"points_per_tile": self.population.points, "memory": self.population.memory}
        kept = {**self._asdict(), "block": format_block(self.block), **of_tile}
        return {name: value for name, value in kept.items() if name != "population"}


def blocks_here() -> tuple[Block, ...]:
    """A CPU trains points sequentially or a few at a time, whichever is faster; a GPU vmapped."""
    return (1, FEW) if jax.default_backend() == "cpu" else (None,)


def per_device(arm: Arm, mesh: Mesh) -> int:
    """How many of an arm's points the device that has most of them has."""
    return -(-arm.size // mesh.size)


def evened(block: Block, points: int) -> Block:
    """The block that fills as many groups evenly: of 9 points, at most 8 together, 5 and then 4."""
    return block and -(-points // -(-points // block))


def format_block(block: Block) -> str:
    """`sequential`, `vmapped`, or `4 at a time`."""
    return "vmapped" if block is None else "sequential" if block == 1 else f"{block} at a time"


def make_plans(
    arms: Mapping[str, Arm], seeds: Mapping[str, int], segments_of: SegmentsOf, limits: Limits,
    announce: Callable[[str], None], compiled: Compiled | None = None,
) -> dict[str, Plan]:  # fmt: skip
    """Plan and compile every arm for so many seeds; arms whose programs have equal texts share them, and the block is
    chosen once for all arms of one size.

    Raises PlanError when one point per device does not fit.
    """
    mesh, sizes = mesh_here(), {name: (seeds[name], *size_of(arm)) for name, arm in arms.items()}
    alike, chosen = Counter(sizes.values()), {}
    compiled, known, plans = {} if compiled is None else compiled, {}, {}
    for name, arm in arms.items():
        announce(f"compiling {name}")
        size, segments = sizes[name], segments_of(arm)
        length, steps = call_length(segments), sum(segments[-1])
        within = limits._replace(blocks=chosen.get(size, limits.blocks or blocks_here()))
        plan = make_plan(arm, seeds[name], length, steps * alike[size], mesh, within, compiled, known)
        plans[name], chosen[size] = plan, (plan.block,)
    return plans


def call_length(segments: Segments) -> int:
    """How many steps a call takes at most: a whole segment, unless that is long."""
    return min(segments[0][1], LONGEST)


def size_of(arm: Arm) -> tuple[Any, ...]:
    """How many points an arm has, and the shapes of its weights."""
    weights, _ = jax.eval_shape(arm.task.init, jax.random.key(0))
    return arm.size, *(leaf.shape for leaf in jax.tree.leaves(weights))


def make_plan(
    arm: Arm, seeds: int, length: int, steps: int, mesh: Mesh, limits: Limits, compiled: Compiled | None = None,
    known: MutableMapping[str, Plan] | None = None,
) -> Plan:  # fmt: skip
    """Compile an arm for segments of at most `length` steps, in tiles that fit, and choose the block.

    Timing is left out where it would take more than 4 % of a run of `steps` steps, and so is choosing. Programs that
    are in `compiled`, and plans that are `known` of equal programs, are taken from there. Raises PlanError when one
    point per device does not fit.
    """
    compiled, known = {} if compiled is None else compiled, {} if known is None else known
    plan = fitted(arm, seeds, length, mesh, limits, compiled)
    if plan.population.text in known:
        return known[plan.population.text]._replace(population=plan.population, tiles=plan.tiles)
    if limits.timed or CHOOSING * steps * plan.tiles >= TIMED:
        plan = timed(plan, points_of(arm, 0, plan.population.points), seeds, length, steps, mesh, limits, compiled)
    known[plan.population.text] = plan
    return plan


def timed(
    plan: Plan, tile: Arm, seeds: int, length: int, steps: int, mesh: Mesh, limits: Limits, compiled: Compiled
) -> Plan:  # fmt: skip
    """The plan with what a step takes, or a faster one with another block."""
    plan = plan._replace(seconds_per_step=seconds_of_step(plan.population, plan.population.put(tile), length))
    for block in limits.blocks[1:]:
        affordable = CHOOSING * steps * plan.tiles  # steps
        if plan.compile_seconds > affordable * plan.seconds_per_step or per_device(tile, mesh) == 1:
            break
        other = planned(tile, seeds, length, mesh, block, compiled)
        seconds = plan.compile_seconds + other.compile_seconds
        if limits.memory is None or other.population.memory <= limits.memory:
            each = max(1, min(5, length, int(affordable / (2 * ROUNDS))))
            plan = faster(plan, other._replace(tiles=plan.tiles), tile, each)
        plan = plan._replace(compile_seconds=seconds)
    return plan


def fitted(arm: Arm, seeds: int, length: int, mesh: Mesh, limits: Limits, compiled: Compiled) -> Plan:
    """The plan with as many of an arm's points to a tile as fit, compiled, nothing of it run yet."""
    points = -(-arm.size // limits.tiles)
    while True:
        tile = points_of(arm, 0, points)
        plan = planned(tile, seeds, length, mesh, limits.blocks[0], compiled)
        memory = plan.population.memory
        if limits.memory is None or memory <= limits.memory:
            return plan._replace(tiles=max(min(limits.tiles, arm.size), -(-arm.size // points)))
        if points <= mesh.size:
            raise PlanError(
                f"--memory {limits.memory / 1e9:g} is not enough: {points} point(s) at {seeds} seed(s) need "
                f"{memory / 1e9:.2g} GB, so give that or take fewer seeds"
            )
        # What all points share does not shrink with the tile; the rest is taken to be proportional to its points.
        inputs = plan.population.put(tile)
        shared = mesh.size * sum(leaf.nbytes for leaf in jax.tree.leaves((inputs.data, inputs.splits)))
        share = max(0.0, limits.memory - shared) / (memory - shared)
        points = max(mesh.size, min(int(points * share) // mesh.size * mesh.size, points - 1))


def planned(tile: Arm, seeds: int, length: int, mesh: Mesh, block: Block, compiled: Compiled) -> Plan:
    """The plan of one tile with this block, compiled, nothing of it run yet."""
    begin, block = perf_counter(), evened(block, per_device(tile, mesh))
    population = compile_here(tile, seeds, length, mesh, block, compiled)
    return Plan(population, block, 1, 0.0, perf_counter() - begin)


def plan_as(tile: Arm, seeds: int, length: int, block: Block, seconds_per_step: float, compiled: Compiled) -> Plan:
    """The plan of a tile that was made before, compiled."""
    plan = planned(tile, seeds, length, mesh_here(), block, compiled)
    return plan._replace(seconds_per_step=seconds_per_step)


def faster(one: Plan, other: Plan, tile: Arm, steps: int) -> Plan:
    """The faster of two plans of a tile by interleaved calls of so many steps, compared by their minima, because the
    machine's speed drifts; one round is enough for another that takes twice as long.
    """
    calls, both = [], [(plan.population, plan.population.put(tile)) for plan in (one, other)]
    while len(calls) < ROUNDS and not (calls and calls[0][1] > HOPELESS * calls[0][0]):
        calls.append([seconds_of_call(population, inputs, steps) for population, inputs in both])
    of_one, of_other = map(min, zip(*calls, strict=True))
    if of_one <= of_other:
        return one
    return other._replace(seconds_per_step=one.seconds_per_step * of_other / of_one)


def points_of(arm: Arm, first: int, count: int) -> Arm:
    """The arm with `count` of its points from `first` on, copies of the last where there are no more."""
    return points_at(arm, np.minimum(np.arange(first, first + count), arm.size - 1))


def points_at(arm: Arm, numbers: Sequence[int] | np.ndarray) -> Arm:
    """The arm with those of its points that have these numbers."""
    return replace(arm, points=jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(numbers)], arm.points))


def seconds_of_step(population: Population, inputs: Inputs, length: int) -> float:
    """How long a step of all members takes: what nine steps take more than one does, divided by eight.

    So the order of the data, which a call draws for a whole segment, is not counted as a step's.
    """
    many = min(9, length)
    _, one, nine = (seconds_of_call(population, inputs, steps) for steps in (1, 1, many))  # the first is a warm-up
    return max(nine - one, 1e-9) / 8 if length >= 9 else nine / length


def seconds_of_call(population: Population, inputs: Inputs, steps: int) -> float:
    """How long the first steps of all members take, on members that are thrown away."""
    members = jax.block_until_ready(population.init(inputs))
    begin = perf_counter()
    jax.block_until_ready(population.advance(members, inputs, np.int32(0), np.int32(steps), np.bool_(True)))
    return perf_counter() - begin
