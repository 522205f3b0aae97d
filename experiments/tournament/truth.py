"""What is the best decay in one world of the tournament, at every learning rate, and what is it worth?

python -m experiments.tournament.truth --data kjv_16k --optimizer adamw --steps 1200

python scripts/tournament.py     # all worlds, one after the other, and the judgement

Seen: docs/tournament.md has every world that was run; one of 1,600 steps on rows took two to four minutes on 2 CPU
cores, one of 300 steps on text ten, both beside other work.

A run is a table: every decay at every learning rate on every seed, with its learning curve. Rules are judged by it
(`experiments.tournament.judge`), so nothing is confirmed here: the seeds are halved there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

import wd_research as wd
from experiments.tournament.worlds import CORES, DATA, OPTIMIZER, World, lesson

RATES = {"adamw": 1.0, "muon": 1.0, "lion": 0.1, "momentum": 10.0}  # in learning rates of Adam
DECAY, BOUNDED = "decay", "bounded"  # arms; that of CPR has no decay to choose
SHORT: dict[str, Any] = {"data": "cancer", "steps": 40, "scales": (0, 1, 16), "learning_rates": (1e-3,), "seeds": 4}


class Hypers(NamedTuple):
    """With eta the learning rate and lambda the decay, decoupled decay averages updates over 1 / (eta lambda) steps."""

    learning_rate: wd.Array  # f32[]
    time_scales: wd.Array  # f32[], in a run: steps * eta * lambda
    bound: wd.Array  # f32[], the gain of CPR's multipliers; 0 switches it off


def experiment(
    *,
    data: DATA = "digits_200",
    optimizer: OPTIMIZER = "adamw",
    steps: int = 1_600,
    scales: tuple[float, ...] = (0, *(0.04 * 2 ** (2 * k / 3) for k in range(20))),
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    seeds: int = 32,
    evaluations: int = 8,
) -> wd.Experiment:
    """Decoupled decay in one world, behind a warm-up of a twentieth of the steps and before a line to 0.

    Args:
        data: Data and net, as `experiments.tournament.worlds` describes them.
        optimizer: What makes the steps.
        steps: Steps of training.
        scales: Decays as steps * learning rate * decay, which is how many time scales of decay the run has.
        learning_rates: Peak learning rates of Adam; Lion has a tenth of them, and momentum ten times as much.
        seeds: Each has its own split, label noise, initial weights and order of the data; one half is for rules to see.
        evaluations: Points of a learning curve.
    """
    wd.flags.decays(scales=scales)
    wd.flags.positive(learning_rates=learning_rates)
    wd.flags.counts(steps=steps, evaluations=evaluations)
    wd.flags.seeds(seeds)
    if max(scales) >= steps:
        raise wd.UserError(f"{max(scales):g} time scales in {steps} steps leave nothing of a weight: give fewer")
    world = World(data, optimizer, steps)
    task, chain = lesson(data).task, optimizer_of(world)
    rates = rates_of(optimizer, learning_rates)
    decayed = wd.grid(Hypers, learning_rate=rates, time_scales=scales)
    bounded = wd.grid(Hypers, learning_rate=rates, bound=(0.0, 1.0))
    return wd.Experiment(
        arms={
            DECAY: wd.Arm(task, chain, decayed, "time_scales"),
            BOUNDED: wd.Arm(task, chain, bounded, "bound"),
        },
        seeds=seeds,
        steps=steps,
        evaluations=min(evaluations, steps),
        confirm=0,
    )


def rates_of(optimizer: OPTIMIZER, learning_rates: tuple[float, ...]) -> tuple[float, ...]:
    """Learning rates of an optimizer that are like these of Adam."""
    return tuple(RATES[optimizer] * rate for rate in learning_rates)


def optimizer_of(world: World) -> Callable[[Hypers], optax.GradientTransformation]:
    """The core of a world with decoupled decay, and CPR's bound from the warm-up's end on where h.bound is above 0."""
    warmup = world.steps // 20
    schedule = wd.schedules.linear(world.steps, warmup)

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        decay = wd.decay_weights(h.time_scales / world.steps)
        chain = wd.independent(CORES[world.optimizer](), decay, h.learning_rate, schedule)
        return optax.chain(optax.clip_by_global_norm(1.0), chain, wd.bounded(max(1, warmup), h.bound))

    return optimizer


if __name__ == "__main__":
    wd.main(experiment)
