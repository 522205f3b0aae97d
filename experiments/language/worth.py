"""What is decay worth in one pass over the data, by optimizer and by length of training?

python -m experiments.language.worth

python -m experiments.language.worth --lengths 10 20 40 80     # twice the time

Seen (65 minutes on 2 CPU cores, shared with other work; 454 nets, 3 seeds explored and 8 confirmed): with AdamW decay
gains 0.008 nats [0.006, 0.011] at 10 tokens a parameter, 0.011 [0.009, 0.014] at 20 and 0.016 [0.010, 0.021] at 40, as
in nets of 130M that gained 0.016, 0.027 and 0.037. With Muon it gains less the longer the training, 0.038 [0.029,
0.047], 0.029 [0.019, 0.039] and 0.014 [0.007, 0.021]: more than AdamW at 10 and 20, not distinguishable at 40, where
the larger nets' .06 had stayed. With Lion it gains 0.09 to 0.12. One share of a weight per step does not do for all:
with AdamW's best one Lion loses 0.074 [0.064, 0.083], 0.069 and 0.031, and Muon 0.025 [0.018, 0.031] at 10. Four
claims are undecided because a best time scale lies on its edge, the least for AdamW at 10, the largest for Lion at 40.
Learning rates are best at an edge too, with decay and without: 0.02 of AdamW, the larger of the two of Lion.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import (
    AGREED,
    BATCH,
    WIDTH,
    WINDOW,
    clipped,
    gain_of,
    loss_over_decay,
    schedule_of,
    task_of,
    tuned_loss,
)

ADAMW, LION, MUON = "AdamW", "Lion", "Muon"
CORES: dict[str, Callable[[], optax.GradientTransformation]] = {
    ADAMW: wd.cores.adam,
    LION: wd.cores.lion,
    MUON: partial(wd.cores.muon, mask=wd.matching("block_.*kernel")),  # Jordan et al. (2024): head, embedding by Adam
}
OF_ADAMS = {ADAMW: 1.0, LION: 0.1, MUON: 1.0}  # learning rate: Chen et al. (2302.06675), Liu et al. (2502.16982)


class Hypers(NamedTuple):
    """Decay is given as what it does in a whole run, which has one grid for all optimizers and lengths.

    Decoupled decay averages updates over 1 / (learning rate * decay) steps. A run has steps * learning rate * decay
    such time scales, and a step at the peak of the learning rate removes time_scales / steps of a weight.
    """

    learning_rate: wd.Array  # f32[]
    time_scales: wd.Array  # f32[], steps * learning rate * decay


SHORT = {
    "lengths": (1, 2),
    "time_scales": (0, 1, 3),
    "learning_rates": (2e-2,),
    "once": 65_536,
    "seeds": 3,
}  # to see that it runs


def experiment(
    *,
    lengths: tuple[int, ...] = (10, 20, 40),
    time_scales: tuple[float, ...] = (0, 0.7, 2.3, 7.5, 25),
    learning_rates: tuple[float, ...] = (2e-2, 4e-2),
    once: int = 4_000_000,
    seeds: int = 3,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW, Lion and Muon on the King James Bible, a character a token, each of which is seen at most once.

    Args:
        lengths: Tokens a parameter: 20 are those of Hoffmann et al. (2203.15556). Two or more.
        time_scales: Decay as steps * learning rate * decay; 0 among them.
        learning_rates: Peak learning rates of AdamW and Muon; Lion's are a tenth of them.
        once: How many characters there are to train on.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(time_scales=time_scales)
    wd.flags.positive(learning_rates=learning_rates, lengths=lengths)
    wd.flags.counts(once=once)
    wd.flags.seeds(seeds)
    task = task_of(wd.texts.kjv(), once, width)
    steps = {length: steps_for(task, length) for length in sorted(lengths)}
    check(steps, once)
    arms = {
        name_of(length, name): wd.Arm(
            task, optimizer_of(name, steps[length]), points_of(name, learning_rates, time_scales), "time_scales",
            steps=steps[length],
        )
        for length in steps for name in CORES
    }  # fmt: skip
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=max(steps.values()),
        evaluations=2,
        confirm=8,
        claims=claims_of(list(steps)),
        figures=partial(figures, list(steps)),
        answer=wd.by_verdicts,
    )


def steps_for(task: wd.Task, length: int) -> int:
    """How many steps of 512 tokens are so many tokens a parameter."""
    params, _ = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return round(length * parameters / (WINDOW * BATCH))


def check(steps: Mapping[int, int], once: int) -> None:
    """Raise UserError unless there are two lengths, and the text lasts for each of them."""
    if len(steps) < 2:
        raise wd.UserError(f"--lengths {' '.join(map(str, steps))} is one length: give two or more, they are compared")
    for length, count in steps.items():
        if wd.epochs_of(count, WINDOW, BATCH, once) > 1:
            raise wd.UserError(
                f"--lengths {length} takes {count * WINDOW * BATCH:,} tokens, more than --once {once} characters give "
                "in one pass: give shorter ones, or more characters"
            )


def name_of(length: int, optimizer: str) -> str:
    """`20 tokens a parameter, Muon`."""
    return f"{title_of(length)}, {optimizer}"


def title_of(length: int) -> str:
    """`20 tokens a parameter`."""
    return f"{length} tokens a parameter"


def points_of(optimizer: str, learning_rates: Sequence[float], time_scales: Sequence[float]) -> Hypers:
    """The grid of an optimizer, at learning rates of its own size."""
    rates = [OF_ADAMS[optimizer] * rate for rate in learning_rates]
    return wd.grid(Hypers, learning_rate=rates, time_scales=time_scales)


def optimizer_of(name: str, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """An optimizer whose step at the peak removes time_scales / steps of a weight: decoupled decay, given as that."""
    schedule = schedule_of(steps)

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        decay = wd.decay_weights(h.time_scales / steps)
        return clipped(wd.independent(CORES[name](), decay, h.learning_rate, schedule))

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def gains(lengths: Sequence[int], optimizers: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """What decay gains over none; nats of test loss."""
    names = [name_of(length, optimizer) for length in lengths for optimizer in optimizers]
    return {name: gain_of(arms[name]) for name in names}


def growth(lengths: Sequence[int], optimizer: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much more decay gains in the longest training than in the shortest; nats."""
    longest, shortest = (gain_of(arms[name_of(length, optimizer)]) for length in (lengths[-1], lengths[0]))
    return {f"{optimizer}, {lengths[-1]} against {title_of(lengths[0])}": longest - shortest}


def more_than_adamw(lengths: Sequence[int], optimizer: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much more decay gains with an optimizer than with AdamW; nats."""

    def gain(length: int, name: str) -> wd.Scores:
        return gain_of(arms[name_of(length, name)])

    return {title_of(length): gain(length, optimizer) - gain(length, ADAMW) for length in lengths}


def lost_by_adamws(lengths: Sequence[int], arms: Arms) -> dict[str, wd.Scores]:
    """What others lose with the share of a weight per step that is AdamW's best, against their own best; nats."""

    def lost(length: int, name: str) -> wd.Scores:
        adamw, results = arms[name_of(length, ADAMW)], arms[name_of(length, name)]
        best = wd.choose(adamw, by="loss").point
        value = float(adamw["time_scales"].sel(point=best))
        return tuned_loss(results, wd.has_value(results, value)) - tuned_loss(results)

    return {name_of(length, name): lost(length, name) for length in lengths for name in (LION, MUON)}


def claims_of(lengths: Sequence[int]) -> tuple[wd.Claim, ...]:
    """What larger nets show; stated before the run. Wen et al. found .016 to .037 nats with AdamW, .06 with Muon."""
    wen, ends = "Wen et al. (2509.02046), nets of 130M", f"{lengths[-1]} tokens a parameter than at {lengths[0]}"
    above, alike, at_most = (0.0, np.inf), (-AGREED, AGREED), (-np.inf, AGREED)
    said = {
        "gain": ("In one pass decay gains over none, at every length and with every optimizer.", wen,
                 partial(gains, lengths, list(CORES)), above),
        "worth": (f"At {title_of(lengths[-1])} it gains more than {AGREED:g} nats with every optimizer.", wen,
                  partial(gains, lengths[-1:], list(CORES)), (AGREED, np.inf)),
        "growth": (f"With AdamW it gains more at {ends}.", wen, partial(growth, lengths, ADAMW), above),
        "muon-stays": (f"With Muon it gains as much at {ends}, within {AGREED:g} nats.", wen,
                       partial(growth, lengths, MUON), alike),
        "muon-more": ("It gains more with Muon than with AdamW, at every length.", f"{wen}; 2605.10797",
                      partial(more_than_adamw, lengths, MUON), above),
        "one-share": ("With the learning rate times decay that is best for AdamW, Lion and Muon lose at most "
                      f"{AGREED:g} nats.", "Chen et al. (2302.06675), Liu et al. (2502.16982)",
                      partial(lost_by_adamws, lengths), at_most),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measure, expected, wd.everywhere, wd.NATS)
        for name, (statement, source, measure, expected) in said.items()
    )


# What is drawn


def figures(lengths: Sequence[int], arms: wd.Evidence) -> dict[str, wd.Figure]:
    """What decay gains over the length of training, and test loss over decay."""
    panels = {title_of(length): [name_of(length, optimizer) for optimizer in CORES] for length in lengths}
    over_decay = loss_over_decay(panels, arms)
    for panel in over_decay.axes:
        panel.set_xlabel("steps * learning rate * decay")
    return {"gain_over_length": gain_over_length(lengths, arms), "loss_over_decay": over_decay}


def gain_over_length(lengths: Sequence[int], arms: wd.Evidence) -> wd.Figure:
    """The gain over no decay with its intervals, a mark for every optimizer, over tokens a parameter."""
    figure, ((panel,),) = wd.panel_grid(1, 1, width=6.0, height=3.4, share=False)
    for number, (optimizer, style) in enumerate(zip(CORES, wd.STYLES, strict=False)):
        cells = arms.score(partial(gains, lengths, [optimizer])).values()
        estimates = np.array([cell.estimate(arms.alpha) for cell in cells])
        x = np.array(lengths) * 1.03 ** (number - 1)  # side by side
        panel.plot(x, estimates[:, 0], color=style.color, linestyle=style.dashes, linewidth=1)
        wd.draw_measured(panel, x, estimates, style, optimizer)
    panel.axhline(0, color="#555555", linewidth=0.8)
    panel.set_xscale("log")
    panel.set_xticks(lengths, list(map(str, lengths)))
    panel.set_xticks([], minor=True)
    panel.set(xlabel="tokens a parameter, each seen once", ylabel="gain over no decay, nats")
    panel.legend(fontsize=8)
    panel.grid(alpha=0.3)
    figure.supxlabel(f"{arms.scored_on}, 95 % intervals", fontsize=8)
    return figure


if __name__ == "__main__":
    wd.main(experiment)
