"""When in a training should weights decay: all along, with the learning rate, early or late?

python -m experiments.language.when_to_decay

Seen (36 minutes on 2 CPU cores that other work shared; 668 nets, 3 seeds explore, 4 to 12 confirm): where data repeat,
decay in the late half alone is worth nearly as much as all along, .12 nats over none, and .051 [.035, .068] more than
in the early half alone. Decay that stays is not better than decay that falls with the learning rate, by -.005 [-.018,
.008], nor, as far as twelve seeds tell, decay that falls and rises, by .007 [-.001, .015]; decay with the square of the
learning rate loses .024 [.014, .035] to that. Where data do not repeat, decay is worth .015 and forms differ by less:
constant decay loses .012 [.007, .017] to decay with the learning rate, the late half .014 [.008, .019], falling and
rising .005 [.002, .008]; the others are level with it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import (
    AGREED,
    BATCH,
    OFTEN,
    ONCE,
    WIDTH,
    WINDOW,
    Hypers,
    clipped,
    rows_figure,
    schedule_of,
    sizes_of,
    task_of,
    tuned_loss,
)

RECORD = (0.0, 2 / 15, 8 / 15, 1.0), (0.8, 0.8, 0.1, 0.93)  # shares of the run, and the decay at each
USUAL = "with the learning rate"
SHORT = {"often": 2_048, "once": 16_384, "decays": (0, 0.1, 1), "steps": 20}  # to see that it runs

Form = Callable[[wd.Array, wd.Array], wd.Array]  # (schedule of the learning rate, share of the run) -> decay at a step
FORMS: dict[str, Form] = {
    "constant": lambda s, x: jnp.ones_like(s),
    USUAL: lambda s, x: s,
    "with its square": lambda s, x: s * s,
    "cosine squared": lambda s, x: s * jnp.cos(jnp.pi / 2 * x) ** 2,
    "as one over time": lambda s, x: s / (1 + 10 * x),
    "falling, then rising": lambda s, x: s * jnp.interp(x, *map(jnp.array, RECORD)) / max(RECORD[1]),
    "early half": lambda s, x: s * (x < 0.5),
    "late half": lambda s, x: s * (x >= 0.5),
}  # what a step removes is learning rate * decay * this


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    decays: tuple[float, ...] = (0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.2, 2, 4),
    learning_rates: tuple[float, ...] = (3e-2,),
    seeds: int = 3,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token; eight forms of decay, each tuned, on few data and on many.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        decays: Decay rates at their peak, multiplied by the learning rate and the form; 0 among them.
        learning_rates: Peak learning rates; they rise in a twentieth of the steps and fall to 0 by a line.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rates=learning_rates)
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    points = wd.grid(Hypers, learning_rate=learning_rates, decay=decays)
    tasks = {seen: task_of(text, characters, width) for seen, characters in sizes.items()}
    arms = {
        name_of(seen, form): wd.Arm(task, optimizer_of(form, steps), points, "decay")
        for seen, task in tasks.items()
        for form in FORMS
    }
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=2,
        confirm=4,
        until_decided=12,
        grow=True,
        claims=claims_of(),
        figures=partial(figures, sizes, steps),
        answer=wd.by_verdicts,
    )


def name_of(seen: str, form: str) -> str:
    """`seen often, constant`."""
    return f"{seen}, {form}"


def optimizer_of(form: str, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """Adam, clipped, with a warm-up and a line to 0, and decay of its own form beside that."""
    schedule = schedule_of(steps)

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        def rate(step: wd.Array) -> wd.Array:
            return h.learning_rate * h.decay * FORMS[form](jnp.asarray(schedule(step)), step / steps)

        return clipped(wd.constant(wd.cores.adam(), wd.decay_weights(rate), h.learning_rate, schedule))

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def worse_than(forms: Sequence[str], other: str, where: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss of forms is than that of another one, each at its best decay."""

    def loss(seen: str, form: str) -> wd.Scores:
        return tuned_loss(arms[name_of(seen, form)])

    return {name_of(seen, form): loss(seen, form) - loss(seen, other) for seen in where for form in forms}


def claims_of() -> tuple[wd.Claim, ...]:
    """What practitioners hold; stated before the run."""
    others = [form for form in FORMS if form != USUAL]
    here, there = "Where data repeat,", "Where they do not,"
    better, alike = (0.0, np.inf), (-AGREED, AGREED)
    worse = partial(partial, worse_than)
    said = {
        "late": (f"{here} decay in the late half alone gains more than in the early half alone.",
                 "against Golatkar et al. (1905.13277)", worse(["early half"], "late half", [OFTEN]), better),
        "constant": (f"{here} decay that stays is better than decay that falls with the learning rate.",
                     "Loshchilov & Hutter (1711.05101)", worse([USUAL], "constant", [OFTEN]), better),
        "rising": (f"{here} decay that falls and rises is better than decay that falls with the learning rate.",
                   "a recipe of 2026's slow runs", worse([USUAL], "falling, then rising", [OFTEN]), better),
        "square": (f"With the square of the learning rate decay is as good as with it, within {AGREED:g} nats.",
                   "Defazio (2506.02285)", worse(["with its square"], USUAL, [OFTEN, ONCE]), alike),
        "one-pass": (f"{there} no form differs from decay with the learning rate by more than {AGREED:g} nats.",
                     "ADANA (2602.05298) says it does", worse(others, USUAL, [ONCE]), alike),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measure, expected, wd.everywhere, wd.NATS)
        for name, (statement, source, measure, expected) in said.items()
    )


# What is drawn


def figures(sizes: Mapping[str, int], steps: int, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test loss by form and without decay, on few data and on many, above that of decay with the learning rate."""

    def title(characters: int) -> str:
        return f"{characters:,} characters, {wd.epochs_of(steps, WINDOW, BATCH, characters):.2g} passes"

    panels = {title(characters): partial(above_usual, seen) for seen, characters in sizes.items()}
    label = f"test loss above that of decay {USUAL}, nats"
    return {"loss_by_form": rows_figure(panels, label, arms)}


def above_usual(seen: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss of every other form is, at its best decay, and that of no decay."""
    usual, others = arms[name_of(seen, USUAL)], [form for form in FORMS if form != USUAL]
    losses = {form: tuned_loss(arms[name_of(seen, form)]) for form in others}
    losses["no decay"] = tuned_loss(usual, wd.has_value(usual, 0))
    return {form: loss - tuned_loss(usual) for form, loss in losses.items()}


if __name__ == "__main__":
    wd.main(experiment)
