"""How does the best decay of a language model depend on its batch, and on how many tokens it is trained on?

python -m experiments.language.batch

Seen (24 minutes on 2 CPU cores, shared with other work; 384 nets, 4 seeds, scored by halves): where data repeat the
best share of a weight per step grows with the batch at equal tokens to the power 0.88 [0.69, 1.06]: the root is out,
linear is undecided. In one pass the power is 1.65 [1.31, 1.98], more than linear: at 64 windows a step, which leaves
128 steps, decay gains 0.068 nats [0.055, 0.080], at 4 and 16 no more than 0.025. In one pass the best time scale does
not fall with the tokens, as a share of the run, it rises, to the power 0.44 [0.21, 0.68]: from a seventh of 128 steps
to a third of 512 and more. What the middle batch's share costs others, taken as linear, is undecided at 0.01 nats (at
most 0.019), and what an unchanged decay costs too. Learning rates are best at the lower end of the grid, 0.02.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.language.powers import best_of_axis, draw_powers, lost_by_rule, slope_of
from experiments.language.setting import (
    AGREED,
    BATCH,
    OFTEN,
    ONCE,
    WIDTH,
    WINDOW,
    clipped,
    loss_over_decay,
    schedule_of,
    sizes_of,
    task_of,
)


class Hypers(NamedTuple):
    """With eta the learning rate and lambda the decay, decoupled decay averages updates over 1 / (eta lambda) steps.

    A step at the peak removes eta lambda of a weight; if its best value is linear in the batch at equal tokens, then
    the best number of time scales in a run is the same for all batches.
    """

    learning_rate: wd.Array  # f32[], for 8 windows a step; eta is sqrt(batch / 8) times that
    time_scales: wd.Array  # f32[], in a run: steps * eta * lambda


class Case(NamedTuple):
    """One way to train: on how many data, so many windows a step, and so many in all."""

    seen: str
    batch: int
    windows: int

    @property
    def name(self) -> str:
        """`seen once, 16 of 8,192 windows`."""
        return f"{self.seen}, {self.batch} of {self.windows:,} windows"

    @property
    def steps(self) -> int:
        """Steps of training."""
        return self.windows // self.batch


SHORT = {
    "batches": (2, 4, 8),
    "windows": 64,
    "lengths": (128,),
    "often": 2_048,
    "once": 16_384,
    "scales_often": (0, 0.5, 1, 2, 4),
    "scales_once": (0, 0.5, 1, 2, 4),
    "learning_rates": (2e-2,),
    "seeds": 3,
}  # to see that it runs


def experiment(
    *,
    batches: tuple[int, ...] = (4, 16, 64),
    windows: int = 8_192,
    lengths: tuple[int, ...] = (2_048, 16_384),
    often: int = 16_384,
    once: int = 2_000_000,
    scales_often: tuple[float, ...] = (0, 5, 10, 20, 40, 80),
    scales_once: tuple[float, ...] = (0, 0.6, 1.5, 4, 10, 25),
    learning_rates: tuple[float, ...] = (2e-2, 4e-2),
    seeds: int = 4,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token: batches at equal tokens, and lengths in one pass.

    Args:
        batches: Windows of 64 tokens a step, three or more values.
        windows: How many of them every batch is trained on.
        lengths: How many others the middle batch is trained on in one pass.
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        scales_often: Decay as steps * learning rate * decay, where data repeat; 0 among them.
        scales_once: The same in one pass; 0 among them.
        learning_rates: Peak learning rates of 8 windows a step; others have sqrt(batch / 8) times that.
        seeds: Each has its own blocks of the text, initial weights and order; four may leave one pass undecided.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(scales_often=scales_often, scales_once=scales_once)
    wd.flags.positive(learning_rates=learning_rates, batches=batches, lengths=lengths)
    wd.flags.counts(windows=windows)
    wd.flags.seeds(seeds)
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    check(batches, windows, lengths, once)
    cases = [Case(seen, batch, windows) for seen in sizes for batch in sorted(batches)]
    trained = [Case(ONCE, middle_of(batches), length) for length in sorted({windows, *lengths})]
    scales, fewest = {OFTEN: scales_often, ONCE: scales_once}, min(case.steps for case in cases + trained)
    if (most := max(*scales_often, *scales_once)) >= fewest:
        raise wd.UserError(f"{most:g} time scales in {fewest} steps leave nothing of a weight: give fewer")

    def arm_of(case: Case) -> wd.Arm:
        points = wd.grid(Hypers, learning_rate=learning_rates, time_scales=scales[case.seen])
        task = task_of(text, sizes[case.seen], batch=case.batch, width=width)
        return wd.Arm(task, optimizer_of(case), points, "time_scales", steps=case.steps)

    return wd.Experiment(
        arms={case.name: arm_of(case) for case in cases + trained},
        seeds=seeds,
        steps=max(case.steps for case in cases + trained),
        evaluations=2,
        confirm=0,  # what follows a choice is scored by halves of the seeds
        claims=claims_of(cases, trained),
        figures=partial(figures, cases, trained),
        answer=wd.by_verdicts,
    )


def middle_of(batches: Sequence[int]) -> int:
    """The batch that others are compared with."""
    return sorted(batches)[len(batches) // 2]


def check(batches: Sequence[int], windows: int, lengths: Sequence[int], once: int) -> None:
    """Raise UserError unless there are slopes to fit, batches divide the windows, and these are read once."""
    if len(batches) < 3:
        raise wd.UserError(f"--batches {' '.join(map(str, batches))} are too few: give three or more")
    if set(lengths) <= {windows}:
        raise wd.UserError(f"--lengths has no other than --windows {windows}: give one, it is compared with that")
    for count, batch in [*product([windows], batches), *product(lengths, [middle_of(batches)])]:
        if count % batch:
            raise wd.UserError(
                f"{count} windows are no multiple of a batch of {batch}: give --windows, --lengths that are"
            )
        if wd.epochs_of(count, WINDOW, 1, once) > 1:
            raise wd.UserError(f"{count} windows are more than --once {once} characters have: give more characters")


def optimizer_of(case: Case) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW whose learning rate goes with the root of the batch, and whose decay is given as time scales of a run."""
    schedule, factor = schedule_of(case.steps), (case.batch / BATCH) ** 0.5

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        decay = wd.decay_weights(h.time_scales / case.steps)
        return clipped(wd.independent(wd.cores.adam(), decay, factor * h.learning_rate, schedule))

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def best_shares(case: Case, results: wd.Results) -> np.ndarray:
    """The best share of a weight that a step at the peak removes, eta lambda; f64[s]."""
    return best_of_axis(results) / case.steps


def best_spans(case: Case, results: wd.Results) -> np.ndarray:
    """The best time scale, 1 / (eta lambda), as a share of the run; f64[s]."""
    return 1 / (case.steps * best_shares(case, results))


def slope_over(quantity: str, best: Callable[..., Any], cases: Sequence[Case], arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of what is best over that of a quantity of the cases, seed by seed."""
    x = [getattr(case, quantity) for case in cases]
    return {cases[0].seen: slope_of(x, [best(case, arms[case.name]) for case in cases])}


def lost_by_batches(cases: Sequence[Case], power: float, arms: Arms) -> dict[str, wd.Scores]:
    """What batches lose with the time scales of the middle one times (batch / middle)^power; nats of test loss."""
    middle = middle_of([case.batch for case in cases])
    return {
        case.name: lost_by_rule(
            arms[case._replace(batch=middle).name], arms[case.name], (case.batch / middle) ** power
        )
        for case in cases if case.batch != middle
    }  # fmt: skip


def claims_of(cases: Sequence[Case], lengths: Sequence[Case]) -> tuple[wd.Claim, ...]:
    """What rules of scaling say, stated before the run; slopes within .25, half of what tells two rules apart."""
    often, once = ([case for case in cases if case.seen == seen] for seen in (OFTEN, ONCE))
    here, lines = "Where data repeat,", "Bergsma et al. (2505.13738)"
    over_batch = partial(partial, slope_over, "batch", best_shares)
    over_length = partial(slope_over, "windows", best_spans, lengths)
    said = {
        "once-linear": ("In one pass the best share of a weight per step is linear in the batch at equal tokens.",
                        lines, over_batch(once), (0.75, 1.25), wd.NUMBER),
        "often-linear": (f"{here} it is linear in the batch.", lines, over_batch(often), (0.75, 1.25), wd.NUMBER),
        "length-root": ("In one pass the best time scale, as a share of the run, falls as the root of the tokens.",
                        lines, over_length, (-0.75, -0.25), wd.NUMBER),
        "length-constant": ("In one pass the best time scale is a constant share of the run.",
                            "Karpathy's nanochat (2026)", over_length, (-0.25, 0.25), wd.NUMBER),
        "rule": (f"With the middle batch's best share per step, linear in the batch, others lose at most {AGREED:g} "
                 "nats.", lines, partial(lost_by_batches, cases, 0.0), (-np.inf, AGREED), wd.NATS),
        "unchanged": (f"{here} an unchanged decay, with a learning rate that goes with the root of the batch, loses "
                      f"more than {AGREED:g} nats.", lines, partial(lost_by_batches, often, -0.5),
                      (AGREED, np.inf), wd.NATS),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measure, expected, wd.everywhere, unit)
        for name, (statement, source, measure, expected, unit) in said.items()
    )


# What is drawn


def figures(cases: Sequence[Case], lengths: Sequence[Case], arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The best decay over the batch and over the length, and test loss over decay."""
    rows = {seen: [case for case in cases if case.seen == seen] for seen in (OFTEN, ONCE)}
    figure, ((left, right),) = wd.panel_grid(1, 2, width=3.8, height=3.3, share=False)
    for number, row in enumerate(rows.values()):
        shares = [best_shares(case, arms[case.name]) for case in row]
        draw_powers(left, [case.batch for case in row], shares, row[0].seen, number, {"linear": 1.0, "root": 0.5})
    spans, windows = [best_spans(case, arms[case.name]) for case in lengths], [case.windows for case in lengths]
    draw_powers(right, windows, spans, ONCE, 1, {"1 / root": -0.5, "constant": 0.0})
    left.set(xlabel="windows a step, at equal tokens", ylabel="best learning rate * decay")
    right.set(xlabel=f"windows of {WINDOW} tokens in all", ylabel="best time scale, share of the run")
    figure.supxlabel("exploring seeds, 95 % intervals; lines of the rules go through the first mean", fontsize=8)
    panels = {seen: [case.name for case in row] for seen, row in rows.items()}
    return {"best_decay": figure, "loss_over_decay": loss_over_decay(panels, arms)}


if __name__ == "__main__":
    wd.main(experiment)
