"""How a population is cut: into waves that fit in memory, and into blocks that are quick."""

from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from wd_research.training.population import Inputs, Programs, compile_programs, place
from wd_research.types import Arm

Block = int | None  # points of a device that advance together; None: all of them
CHOOSING = 0.04  # the share of a run's time that choosing the block may take


class PlanError(ValueError):
    """A population does not fit."""


class Cut(NamedTuple):
    """How a population may be cut."""

    blocks: tuple[Block, ...]  # the first is taken; the others are timed against it where that pays
    memory: float | None = None  # bytes that a wave may need, on all devices together


class Plan(NamedTuple):
    """How an arm is trained."""

    programs: Programs
    block: Block
    height: int  # points of a wave
    waves: int
    memory: int  # bytes that a wave needs, on all devices together
    seconds_per_step: float  # of a wave, measured before step 0 on copies that are thrown away
    compile_seconds: float

    def record(self) -> dict[str, Any]:
        """What a run's record keeps of it."""
        return {**self._asdict(), "programs": None, "block": words(self.block)}


def as_fits_here() -> Cut:
    """All in one wave; a CPU takes points one by one or together, whichever is quicker, a GPU all together."""
    return Cut((1, None) if jax.default_backend() == "cpu" else (None,))


def words(block: Block) -> str:
    """`one by one`, `together`."""
    return "together" if block is None else "one by one" if block == 1 else f"{block} by {block}"


def make_plan(arm: Arm, seeds: int, length: int, steps: int, mesh: Mesh, cut: Cut) -> Plan:
    """Compile an arm for segments of at most `length` steps, in waves that fit, and choose the block.

    Choosing is left out where it would take more than 4 % of a run of `steps` steps. Raises PlanError when one point
    per device does not fit.
    """
    plan, inputs = fitted(arm, seeds, length, mesh, cut)
    for block in cut.blocks[1:]:
        if plan.compile_seconds > CHOOSING * plan.seconds_per_step * steps * plan.waves:
            break
        other = compiled(arm_of(arm, 0, plan.height), inputs, length, mesh, block, plan.programs)
        seconds = plan.compile_seconds + other.compile_seconds
        if cut.memory is None or other.memory <= cut.memory:
            plan = quicker(plan, other._replace(waves=plan.waves), inputs, length)
        plan = plan._replace(compile_seconds=seconds)
    return plan


def fitted(arm: Arm, seeds: int, length: int, mesh: Mesh, cut: Cut) -> tuple[Plan, Inputs]:
    """The plan with as many of an arm's points to a wave as fit, and the inputs of the first wave."""
    points = height = len(jax.tree.leaves(arm.points)[0])
    while True:
        wave = arm_of(arm, 0, height)
        inputs = place(wave, seeds, mesh, cut.blocks[0])
        plan = compiled(wave, inputs, length, mesh, cut.blocks[0])
        if cut.memory is None or plan.memory <= cut.memory:
            seconds = seconds_of_step(plan.programs, inputs, length)
            return plan._replace(seconds_per_step=seconds, waves=-(-points // height)), inputs
        if height <= mesh.size:
            raise PlanError(
                f"--memory {cut.memory / 1e9:g} is not enough: {height} point(s) at {seeds} seed(s) need "
                f"{plan.memory / 1e9:.2g} GB, so give that or take fewer seeds"
            )
        # What all points share does not shrink with the wave; the rest is taken to be proportional to its points.
        shared = mesh.size * sum(leaf.nbytes for leaf in jax.tree.leaves((inputs.data, inputs.splits)))
        share = max(0.0, cut.memory - shared) / (plan.memory - shared)
        fitting = int(height * share) // mesh.size * mesh.size
        height = max(mesh.size, min(fitting, height - 1))


def compiled(wave: Arm, inputs: Inputs, length: int, mesh: Mesh, block: Block, known: Programs | None = None) -> Plan:
    """The plan of one wave with this block, compiled and its memory known, nothing of it run yet."""
    begin = perf_counter()
    programs = compile_programs(wave, inputs, length, mesh, block, known)
    seconds = perf_counter() - begin
    return Plan(programs, block, len(jax.tree.leaves(wave.points)[0]), 1, programs.memory(mesh), 0.0, seconds)


def quicker(one: Plan, other: Plan, inputs: Inputs, length: int) -> Plan:
    """The quicker of two plans, by calls in turn and the quickest of each: a machine's speed changes."""
    steps = min(5, length)
    calls = [[seconds_of_call(plan.programs, inputs, steps) for plan in (one, other)] for _ in range(3)]
    of_one, of_other = map(min, zip(*calls, strict=True))
    if of_one <= of_other:
        return one
    return other._replace(seconds_per_step=one.seconds_per_step * of_other / of_one)


def in_waves(arm: Arm, height: int) -> list[Arm]:
    """The arm cut into arms of `height` points, the last one filled with copies of the last point."""
    return [arm_of(arm, first, height) for first in range(0, len(jax.tree.leaves(arm.points)[0]), height)]


def arm_of(arm: Arm, first: int, height: int) -> Arm:
    """The arm with `height` of its points from `first` on, copies of the last where there are no more."""

    def cut(leaf: np.ndarray) -> np.ndarray:
        part = np.asarray(leaf)[first : first + height]
        return np.pad(part, (0, height - len(part)), mode="edge")

    return arm._replace(points=jax.tree.map(cut, arm.points))


def seconds_of_step(programs: Programs, inputs: Inputs, length: int) -> float:
    """How long a step of all members takes: what nine steps take more than one does, divided by eight.

    So the order of the data, which a call draws for a whole segment, is not counted as a step's.
    """
    many = min(9, length)
    _, one, nine = (seconds_of_call(programs, inputs, steps) for steps in (1, 1, many))  # the first is a warm-up
    return max(nine - one, 1e-9) / 8 if length >= 9 else nine / length


def seconds_of_call(programs: Programs, inputs: Inputs, steps: int) -> float:
    """How long the first steps of all members take, on members that are thrown away."""
    members = jax.block_until_ready(programs.init(inputs))
    begin = perf_counter()
    jax.block_until_ready(programs.advance(members, inputs, np.int32(0), np.int32(steps)))
    return perf_counter() - begin
