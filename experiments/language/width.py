"""Does the best decay of a language model depend on its width, where muP sets the learning rates?

python -m experiments.language.width

Seen (14 minutes on 2 CPU cores, shared with other work; 220 nets, 4 exploring and 4 confirming seeds): where data
repeat, wider nets want more decay: the best share of a kernel per step grows with the width to the power 0.79
[0.50, 1.08], and what decay gains from 0.04 nats at width 16 to 0.14 at 32 and 0.52 at 64. A decoupled decay that stays
(its share falls as one over the width, as muP's learning rates do) costs 0.055 nats [0.018, 0.092] and 0.085
[0.046, 0.124] there. The share of width 32 costs width 16 0.018 [-0.004, 0.040] and width 64 nothing. In one pass decay
gains 0.006 to 0.013 nats, so that its best share is hardly to be seen: a power of -0.46 [-1.16, 0.24] excludes no rule
but growth.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from experiments.language import setting
from experiments.language.powers import best_of_axis, draw_powers, lost_by_rule, slope_of
from experiments.language.setting import (
    AGREED,
    BATCH,
    DEPTH,
    OFTEN,
    ONCE,
    WINDOW,
    clipped,
    loss_over_decay,
    one_legend,
    schedule_of,
    sizes_of,
)

BASE = 32  # width at which muP changes nothing
HEAD = 8  # width of an attention head: wider nets have more of them
Arms = Mapping[str, wd.Results]


class Hypers(NamedTuple):
    """Decay is given as a share of a kernel, which independent and decoupled decay can both be read from.

    At width w all kernels have the learning rate eta = learning_rate * 32 / w. Independent decay is the share itself,
    decoupled decay is share / eta: where the best share goes as w^a, the best decoupled decay goes as w^(a + 1).
    """

    learning_rate: wd.Array  # f32[], at width 32
    share: wd.Array  # f32[], of a kernel, that a step at the peak of the learning rate removes


SHORT = {
    "widths": (8, 16, 32),
    "often": 2_048,
    "once": 16_384,
    "shares_often": (0, 0.001, 0.01, 0.1),
    "shares_once": (0, 0.001, 0.01, 0.1),
    "seeds": 3,
    "steps": 20,
}  # to see that it runs


def experiment(
    *,
    widths: tuple[int, ...] = (16, 32, 64),
    often: int = 16_384,
    once: int = 1_048_576,
    shares_often: tuple[float, ...] = (0, 0.003, 0.006, 0.012, 0.024, 0.048, 0.096),
    shares_once: tuple[float, ...] = (0, 0.0006, 0.0015, 0.004, 0.01, 0.025),
    learning_rates: tuple[float, ...] = (3e-2,),
    seeds: int = 4,
    steps: int = 1_000,
) -> wd.Experiment:
    """AdamW with the learning rates of muP on the King James Bible, a character a token; widths at equal tokens.

    Args:
        widths: Widths of the decoder, multiples of 8, with 32 and two others or more.
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        shares_often: Decay as the share of a kernel that a step at the peak removes, where data repeat; 0 among them.
        shares_once: The same where they do not.
        learning_rates: Peak learning rates at width 32; they rise in a twentieth of the steps and fall to 0 by a line.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
    """
    wd.flags.decays(shares_often=shares_often, shares_once=shares_once)
    wd.flags.positive(learning_rates=learning_rates, widths=widths)
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    sizes, text, shares = sizes_of(often, once), wd.texts.kjv(), {OFTEN: shares_often, ONCE: shares_once}
    check(widths := tuple(sorted(widths)))
    points = {seen: wd.grid(Hypers, learning_rate=learning_rates, share=values) for seen, values in shares.items()}
    return wd.Experiment(
        arms={name_of(seen, width): wd.Arm(task_of(text, characters, width), optimizer_of(width, steps), points[seen],
                                           "share")
              for seen, characters in sizes.items() for width in widths},
        seeds=seeds, steps=steps, evaluations=2, confirm=4,
        claims=claims_of(widths),
        figures=partial(figures, widths), answer=wd.by_verdicts,
    )  # fmt: skip


def check(widths: Sequence[int]) -> None:
    """Raise UserError unless there are three widths of whole heads, with the one that others are compared with."""
    if BASE not in widths or len(widths) < 3 or any(width % HEAD for width in widths):
        raise wd.UserError(f"--widths {widths} cannot be: give three or more multiples of {HEAD}, {BASE} among them")


def name_of(seen: str, width: int) -> str:
    """`seen often, width 32`."""
    return f"{seen}, width {width}"


def task_of(text: wd.texts.Text, characters: int, width: int) -> wd.Task:
    """So much of a text for a decoder whose head begins with the variance of muP, 1 / width^2, but for a constant.

    Source: Yang et al. (2203.03466), table 3, output weights; the constant makes it 1 / 32 at width 32.
    """
    net = wd.Decoder(text.vocabulary, width, DEPTH, width // HEAD)
    task = wd.language(net, text, WINDOW, BATCH, characters, evaluated=setting.EVALUATED)

    def init(key: wd.Key) -> tuple[wd.Params, wd.Extras]:
        params, extras = task.init(key)
        return {**params, "head": {"kernel": (BASE / width) ** 0.5 * params["head"]["kernel"]}}, extras

    return task._replace(init=init)


def of_mup(width: int) -> optax.GradientTransformation:
    """Adam's learning rates in muP: u <- (32 / width) u for kernels, the head's too; tables and gains keep theirs.

    Source: Yang et al. (2203.03466), table 3: 1 / inputs for hidden and output weights, 1 for input weights and gains.
    """
    factor = BASE / width
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda taken, u: factor * u if taken else u, wd.kernels(params), updates)
    )


def optimizer_of(width: int, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW with muP's learning rates, whose decay removes its share of all kernels whatever their learning rate."""

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        core = optax.chain(wd.cores.adam(), of_mup(width))
        return clipped(wd.independent(core, wd.decay_weights(h.share), h.learning_rate, schedule_of(steps)))

    return optimizer


# What is measured


def slope_over_width(widths: Sequence[int], seen: str, arms: Arms) -> dict[str, np.ndarray]:
    """The slope of log best share over log width, seed by seed."""
    return {seen: slope_of(widths, [best_of_axis(arms[name_of(seen, width)]) for width in widths])}


def lost_by_widths(widths: Sequence[int], where: Sequence[str], power: float, arms: Arms) -> dict[str, wd.Scores]:
    """What the best share of width 32 times (width / 32)^power loses at others against their own best; nats."""

    def lost(seen: str, width: int) -> wd.Scores:
        return lost_by_rule(arms[name_of(seen, BASE)], arms[name_of(seen, width)], (width / BASE) ** power)

    return {name_of(seen, width): lost(seen, width) for seen in where for width in widths if width != BASE}


def claims_of(widths: Sequence[int]) -> tuple[wd.Claim, ...]:
    """What sources say, for shares; stated before the run. Rules are .5 apart, so each has a margin of .25."""
    often, once = (partial(slope_over_width, widths, seen) for seen in (OFTEN, ONCE))
    lost, here, one = partial(partial, lost_by_widths, widths), "Where data repeat,", "In one pass"
    kosson, fan, number = "Kosson et al. (2510.19093)", "Fan et al. (2510.15262)", wd.NUMBER
    said = {
        "once-constant": (f"{one} the best share does not depend on the width: decoupled decay is linear in it.",
                          kosson, once, (-0.25, 0.25), number),
        "once-root": (f"{one} the best decoupled decay goes with the root of the width: a slope of -.5 for shares.",
                      fan, once, (-0.75, -0.25), number),
        "once-decoupled": (f"{one} the best decoupled decay does not depend on the width: a slope of -1 for shares.",
                           "Yang et al. (2203.03466), decay left alone", once, (-1.25, -0.75), number),
        "often-wider": (f"{here} wider nets have larger best shares.", "Kim et al. (2509.14786)", often, (0.0, np.inf),
                        number),
        "share": (f"With the best share of width {BASE} others lose at most {AGREED:g} nats.", kosson,
                  lost([OFTEN, ONCE], 0.0), (-np.inf, AGREED), wd.NATS),
        "decoupled": (f"{here} with the best decoupled decay of width {BASE} others lose more than {AGREED:g} nats.",
                      f"{kosson}; {fan}", lost([OFTEN], -1.0), (AGREED, np.inf), wd.NATS),
    }  # fmt: skip
    return tuple(wd.Claim(name, statement, source, measure, expected, wd.everywhere, unit)
                 for name, (statement, source, measure, expected, unit) in said.items())  # fmt: skip


# What is drawn


def figures(widths: Sequence[int], arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The best share over the width, and test loss over the share."""
    figure, ((*panels,),) = wd.panel_grid(1, 2, width=3.8, height=3.3, share=False)
    rules = {"decoupled decay linear": 0.0, "decoupled decay as the root": -0.5, "decoupled decay constant": -1.0}
    for panel, seen in zip(panels, (OFTEN, ONCE), strict=True):
        best = [best_of_axis(arms[name_of(seen, width)]) for width in widths]
        draw_powers(panel, widths, best, "measured", 0, rules)
        panel.set(title=seen, xlabel="width", ylabel="best share of a kernel per step")
    one_legend(reversed(panels))
    figure.supxlabel("exploring seeds, 95 % intervals; lines of the rules go through the first mean", fontsize=8)
    names = {seen: [name_of(seen, width) for width in widths] for seen in (OFTEN, ONCE)}
    return {"best_share": figure, "loss_over_decay": loss_over_decay(names, arms)}


if __name__ == "__main__":
    wd.main(experiment)
