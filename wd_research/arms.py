"""The arms of an experiment: trained wave after wave, with a look after every segment, or computed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from wd_research.evidence.tensorboard import runs_of_arm
from wd_research.looks import as_dataset, joined
from wd_research.progress import Advance
from wd_research.training.plan import Cut, Plan, in_waves, make_plan
from wd_research.training.population import all_devices, fetch, place
from wd_research.types import Arm, Exact, Results

Segments = Sequence[tuple[int, int]]  # the first step and the length of each


class Run(NamedTuple):
    """What a run carries along while its arms are trained."""

    seeds: int
    segments: Segments
    tensorboard: Path | None  # folder of the event files
    advance: Advance  # progress
    seconds: dict[str, float]  # wall clock by what it went into

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Book the time of a block under `what`."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += perf_counter() - begin


def train(this: Run, arms: Mapping[str, Arm | Exact], cut: Cut) -> tuple[dict[str, Results], dict[str, Plan]]:
    """Train, or compute, the arms one after the other."""
    mesh, results = all_devices(), {}
    with this.timed("compile"):
        plans = make_plans(trained(arms), this.seeds, this.segments, mesh, cut, this.advance)
    for name, arm in arms.items():
        results[name] = (
            train_arm(this, name, arm, plans[name], mesh) if isinstance(arm, Arm) else compute_arm(this, name, arm)
        )
    return results, plans


def trained(arms: Mapping[str, Arm | Exact]) -> dict[str, Arm]:
    """The arms that are trained, not computed."""
    return {name: arm for name, arm in arms.items() if isinstance(arm, Arm)}


def make_plans(
    arms: Mapping[str, Arm], seeds: int, segments: Segments, mesh: Mesh, cut: Cut, advance: Advance
) -> dict[str, Plan]:
    """How each arm is trained; arms that share their functions, and the shapes of their inputs, share a plan.

    The block is chosen once for all arms of one size. Raises PlanError when one point per device does not fit.
    """
    programs = {name: program_of(arm) for name, arm in arms.items()}
    sizes = {name: size_of(arm) for name, arm in arms.items()}
    alike, plans, chosen = Counter(sizes.values()), {}, {}
    length, steps = segments[0][1], sum(length for _, length in segments)
    for name, program in programs.items():
        if program not in plans:
            advance(f"compiling {name}", 0, 0.0)
            size = sizes[name]
            blocks = chosen.get(size, cut.blocks)
            plan = make_plan(arms[name], seeds, length, steps * alike[size], mesh, cut._replace(blocks=blocks))
            plans[program], chosen[size] = plan, (plan.block,)
    return {name: plans[program] for name, program in programs.items()}


def size_of(arm: Arm) -> tuple[Any, ...]:
    """How many points an arm has, and the shapes of its weights."""
    weights, _ = jax.eval_shape(arm.task.init, jax.random.key(0))
    return len(jax.tree.leaves(arm.points)[0]), *(leaf.shape for leaf in jax.tree.leaves(weights))


def program_of(arm: Arm) -> tuple[Any, ...]:
    """What an arm's compiled programs depend on: its functions and the shapes of its inputs, not their numbers."""
    task = arm.task
    of_task = (task.init, task.order, task.gather, task.parts, task.loss, task.evaluate)
    inputs = arm.points, task.data, task.split(0)
    types = tuple((np.shape(leaf), np.result_type(leaf)) for leaf in jax.tree.leaves(inputs))
    return *of_task, arm.objective, arm.optimizer, jax.tree.structure(inputs), types


def compute_arm(this: Run, name: str, arm: Exact) -> Results:
    """Compute an arm that needs no training."""
    this.advance(f"computing {name}", 0, 0.0)
    with this.timed("evaluate"):
        results = arm(this.seeds)
    if this.tensorboard:
        with this.timed("write"):
            runs = runs_of_arm(this.tensorboard, name, results)
            runs.look(results)
            runs.close(results)
    return results


def train_arm(this: Run, name: str, arm: Arm, plan: Plan, mesh: Mesh) -> Results:
    """Train one arm to the end, wave after wave."""
    waves = [train_wave(this, name, wave, plan, mesh) for wave in in_waves(arm, plan.height)]
    if len(waves) > 1:  # each to its end, before the next takes its memory
        waves = [list(wave) for wave in waves]
    points, looks, runs = len(jax.tree.leaves(arm.points)[0]), [], None
    for parts in zip(*waves, strict=True):
        look = joined(parts, "point").isel(point=slice(points))
        looks.append(look)
        if this.tensorboard:
            with this.timed("write"):
                runs = runs or runs_of_arm(this.tensorboard, name, look)
                runs.look(look)
    results = joined([look.drop_vars("diverged_at") for look in looks], "step")
    results = results.assign(diverged_at=looks[-1].diverged_at)
    if runs:
        with this.timed("write"):
            runs.close(results)
    return results


def train_wave(this: Run, name: str, wave: Arm, plan: Plan, mesh: Mesh) -> Iterator[Results]:
    """Train one wave, with a look after every segment."""
    with this.timed("compile"):
        inputs = place(wave, this.seeds, mesh, plan.block)
        members = plan.programs.init(inputs)
    for start, length in this.segments:
        begin = perf_counter()
        with this.timed("train"):
            advanced = plan.programs.advance(members, inputs, np.int32(start), np.int32(length))
            members, metrics = jax.block_until_ready(advanced)
        with this.timed("evaluate"):
            seen = fetch((plan.programs.evaluate(members, inputs), metrics, members.diverged_at), wave)
            look = as_dataset(wave, start + length, *seen)
        this.advance(f"training {name}", length * look.diverged_at.size, perf_counter() - begin)
        yield look
