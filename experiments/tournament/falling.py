"""What does a decay lose that falls when the training loss rises (AutoL2), in one world of the tournament?

python -m experiments.tournament.falling --data kjv_16k --optimizer adamw --steps 1200

python scripts/tournament.py     # all worlds, one after the other, and the judgement

Seen: docs/tournament.md has what it lost in every world that was run; a twentieth of the time that the world's table
takes.

It begins, as published, with a hundredth of the weights at a step, at every learning rate, so nothing is chosen.
"""

from typing import Any, NamedTuple

import optax

import wd_research as wd
from experiments.tournament.truth import rates_of
from experiments.tournament.worlds import CORES, DATA, OPTIMIZER, lesson

FALLING = "falling"  # the arm
MEASUREMENTS = 40  # of the training loss
SHORT: dict[str, Any] = {"data": "cancer", "steps": 40, "learning_rates": (1e-3,), "seeds": 4}


class Hypers(NamedTuple):
    """What is not chosen but compared."""

    learning_rate: wd.Array  # f32[]
    start: wd.Array  # f32[], the share of the weights that a step of the peak learning rate takes at first


def experiment(
    *,
    data: DATA = "digits_200",
    optimizer: OPTIMIZER = "adamw",
    steps: int = 1_600,
    starts: tuple[float, ...] = (0.0, 0.01),
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    seeds: int = 32,
) -> wd.Experiment:
    """Decay that falls by ten when the training loss has risen, behind a warm-up and before a line to 0.

    Args:
        data: Data and net, as `experiments.tournament.worlds` describes them.
        optimizer: What makes the steps.
        steps: Steps of training.
        starts: Decays to begin with, as the share of the weights that a step takes; published are .1 times .1.
        learning_rates: Peak learning rates of Adam; Lion has a tenth of them, and momentum ten times as much.
        seeds: Those of the world's table.
    """
    wd.flags.decays(starts=starts)
    wd.flags.positive(learning_rates=learning_rates)
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    schedule = wd.schedules.linear(steps, steps // 20)
    every = max(1, steps // MEASUREMENTS)

    def chain(h: Hypers) -> optax.GradientTransformation:
        decay = wd.falling_decay(h.start, every)
        return optax.chain(
            optax.clip_by_global_norm(1.0), wd.independent(CORES[optimizer](), decay, h.learning_rate, schedule)
        )

    points = wd.grid(Hypers, learning_rate=rates_of(optimizer, learning_rates), start=starts)
    return wd.Experiment(
        arms={FALLING: wd.Arm(lesson(data).task, chain, points, "start")}, seeds=seeds, steps=steps, confirm=0
    )


if __name__ == "__main__":
    wd.main(experiment)
