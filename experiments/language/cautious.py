"""Is cautious decay better because of which entries it decays, or because it decays fewer of them?

python -m experiments.language.cautious

Seen (22 minutes on 2 CPU cores that other work shared; 234 nets, 6 programs, 3 seeds explore, 6 confirm): which entries
decay makes no difference that six seeds can see. Where data do not repeat plain decay is better than cautious decay by
.003 nats [-.005, .010], a random half by .001 [-.005, .007]; where they repeat cautious decay is better than plain by
.004 [-.018, .026], and all three gain .14 over none. Their best rates are those of plain decay times two for either
half, and a random half at twice the rate is as good as plain decay, by .002 [-.007, .011] at most. Beyond the best rate
they part: at the largest rate of the grid cautious decay loses .1 nats less than the random half.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
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
    adamw,
    gain_of,
    loss_over_decay,
    rows_figure,
    sizes_of,
    task_of,
    tuned_loss,
)

PLAIN, CAUTIOUS, HALF = "plain", "cautious", "a random half"  # of the entries, drawn anew at every step
LINKS: dict[str, Callable[[Hypers], optax.GradientTransformation]] = {
    PLAIN: lambda h: wd.decay_weights(h.decay),
    CAUTIOUS: lambda h: wd.decay_weights(h.decay, wd.cautious(wd.toward_zero)),
    HALF: lambda h: wd.decay_at_random(h.decay, jax.random.key(0)),
}
TIMES = {PLAIN: 1, CAUTIOUS: 2, HALF: 2}  # the rates of plain decay, for rules that decay about half of the entries


SHORT = {"often": 2_048, "once": 16_384, "decays": (0, 0.1, 1), "seeds": 3, "steps": 20}  # to see that it runs


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
    """AdamW on the King James Bible, a character a token; three rules of which entries decay, on few data and on many.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        decays: Decay rates of plain decay, multiplied by learning rate and schedule; 0 among them. Cautious decay and
            that of a random half have twice these.
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
    tasks = {seen: task_of(text, characters, width) for seen, characters in sizes.items()}
    points = {
        rule: wd.grid(Hypers, learning_rate=learning_rates, decay=[times * decay for decay in decays])
        for rule, times in TIMES.items()
    }
    arms = {
        name_of(seen, rule): wd.Arm(task, adamw(steps, link), points[rule], "decay")
        for seen, task in tasks.items()
        for rule, link in LINKS.items()
    }
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=2,
        confirm=6,
        claims=claims_of(),
        figures=partial(figures, sizes, steps),
        answer=wd.by_verdicts,
    )


def name_of(seen: str, rule: str) -> str:
    """`seen often, plain`."""
    return f"{seen}, {rule}"


# What is measured

Arms = Mapping[str, wd.Results]


def worse_than(rule: str, other: str, where: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss in nats of a rule is than that of another one, each at its best decay."""

    def loss(seen: str, rule: str) -> wd.Scores:
        return tuned_loss(arms[name_of(seen, rule)])

    return {name_of(seen, rule): loss(seen, rule) - loss(seen, other) for seen in where}


def at_twice(where: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss of a random half is, at twice the best decay of plain decay, than that of it."""

    def of(seen: str) -> wd.Scores:
        plain, half = arms[name_of(seen, PLAIN)], arms[name_of(seen, HALF)]
        best = plain.sel(point=wd.choose(plain, by="loss").point)
        alike = (half["decay"] == 2 * best["decay"]) & (half["learning_rate"] == best["learning_rate"])
        twice = wd.choice_of(half, int(np.flatnonzero(alike.to_numpy())[0]))
        return wd.score(half, twice, "test_loss") - tuned_loss(plain)

    return {name_of(seen, HALF): of(seen) for seen in where}


def behind(rule: str, other: str, where: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss of a rule is at half of the steps, each at the decay that is best at their end."""

    def halfway(seen: str, rule: str) -> wd.Scores:
        results = arms[name_of(seen, rule)]
        return wd.measured(lambda at: at["test_loss"].to_numpy()[:, 0, 0].astype(float), wd.choose(results, by="loss"))

    return {name_of(seen, rule): halfway(seen, rule) - halfway(seen, other) for seen in where}


def claims_of() -> tuple[wd.Claim, ...]:
    """What the source of the cautious rule says, and what speaks against it; stated before the run."""
    here, there = "Where data repeat", "Where data do not repeat"
    better, alike = (0.0, np.inf), (-AGREED, AGREED)
    worse, paper = partial(partial, worse_than), "Cautious Weight Decay (2510.12402)"
    said = {
        "one-pass": (f"{there} cautious decay is better than plain decay, each at its best rate.",
                     paper, worse(PLAIN, CAUTIOUS, [ONCE]), better),
        "entries": (f"{there} cautious decay is better than decay of a random half of the entries.",
                    f"{paper}, which has no such control", worse(HALF, CAUTIOUS, [ONCE]), better),
        "repeated": (f"{here} cautious decay is worse than plain decay, each at its best rate.",
                     f"{paper}: it rests at minima of the training loss", worse(CAUTIOUS, PLAIN, [OFTEN]), better),
        "twice": ("Decay of a random half of the entries is as good as decay of all at half the rate, within "
                  f"{AGREED:g} nats.", "the mean of what a step removes", partial(at_twice, [OFTEN, ONCE]), alike),
        "behind": (f"{there} cautious decay is behind plain decay at half of the steps.",
                   "records of modded-nanogpt", partial(behind, CAUTIOUS, PLAIN, [ONCE]), better),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measure, expected, wd.everywhere, wd.NATS)
        for name, (statement, source, measure, expected) in said.items()
    )


# What is drawn


def figures(sizes: Mapping[str, int], steps: int, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test loss over decay by rule, and what each rule gains over no decay at its best."""

    def title(characters: int) -> str:
        return f"{characters:,} characters, {wd.epochs_of(steps, WINDOW, BATCH, characters):.2g} passes"

    panels = {title(characters): partial(gains_of, seen) for seen, characters in sizes.items()}
    curves = {seen: [name_of(seen, rule) for rule in LINKS] for seen in sizes}
    return {
        "loss_over_decay": loss_over_decay(curves, arms),
        "gain_by_rule": rows_figure(panels, "gain over no decay, nats", arms),
    }


def gains_of(seen: str, arms: Arms) -> dict[str, wd.Scores]:
    """What each rule gains over no decay, in nats of test loss."""
    return {rule: gain_of(arms[name_of(seen, rule)]) for rule in LINKS}


if __name__ == "__main__":
    wd.main(experiment)
