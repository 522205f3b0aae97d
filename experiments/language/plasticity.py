"""Does a language model that is to be fine-tuned want more decay in pretraining than one that is not?

python -m experiments.language.plasticity

Seen (12 minutes on 2 CPU cores, shared with other work; 156 nets, 3 exploring and 4 confirming seeds): after many
passes over the first text the decay that is best after fine-tuning is not higher than what is best before, it is
lower, 2.6 times [1.7, 3.9] for another translation and 2.1 times [1.7, 2.7] for the manual of Python; after one pass it
is undecided (1.8 times [0.6, 4.8] and 3.5 times [0.8, 15.5] higher). Keeping the decay that is best before costs 0.022
nats [0.006, 0.039] and 0.033 [0.015, 0.051] after many passes, 0.043 [0.016, 0.069] for the manual after one, and
nothing for the translation. More decay does not make fine-tuning lower the loss more: for the manual it lowers it by
0.16 to 0.26 nats less for twice the decay, for the translation by 0.02 less after many passes and 0.02 more after one.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.ensemble import FACTOR, best_decays
from experiments.language.quantization import slope_over_decay
from experiments.language.setting import (
    AGREED,
    OFTEN,
    ONCE,
    WIDTH,
    Hypers,
    clipped,
    one_legend,
    schedule_of,
    sizes_of,
    task_of,
)

DECAY, SHARE = 0.1, 1 / 3  # of fine-tuning: its decay, and its peak learning rate in units of that of pretraining
ALIKE, OTHER = "another translation", "manual of Python"  # what is fine-tuned on
SHORT = {
    "often": 2_048,
    "once": 16_384,
    "tuned": 4_096,
    "decays": (0, 0.1, 1, 10),
    "seeds": 3,
    "steps": 20,
    "tuning_steps": 10,
}  # to see that it runs


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    tuned: int = 65_536,
    decays: tuple[float, ...] = (0, 0.03, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6),
    learning_rate: float = 3e-2,
    seeds: int = 3,
    steps: int = 1_000,
    width: int = WIDTH,
    tuning_steps: int = 500,
) -> wd.Experiment:
    """AdamW on the King James Bible, then on another text with a decay of 0.1 for all; a character a token.

    Args:
        often: How much of the first text is trained on where data repeat.
        once: How much of it where they do not.
        tuned: How much of the second text is trained on.
        decays: Decay rates of pretraining, multiplied by learning rate and schedule; 0 among them.
        learning_rate: The peak learning rate; it rises in a twentieth of the steps and falls to 0 by a line. On the
            second text it does so again, to a third of the peak.
        seeds: Each has its own blocks of the texts, initial weights and order of the windows.
        steps: Steps of pretraining, of 512 tokens each; a multiple of those of fine-tuning.
        tuning_steps: Steps of fine-tuning.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rate=(learning_rate,))
    wd.flags.counts(steps=steps, tuning_steps=tuning_steps, tuned=tuned)
    wd.flags.seeds(seeds)
    if steps % tuning_steps:
        raise wd.UserError(f"--steps {steps} is no multiple of --tuning-steps {tuning_steps}: give one, so that an "
                           "evaluation stands between pretraining and fine-tuning")  # fmt: skip
    sizes, texts = sizes_of(often, once), (wd.texts.kjv(), wd.texts.asv(), wd.texts.python_topics())
    bible, alike, other = wd.texts.in_one_vocabulary(*texts)
    points = wd.grid(Hypers, learning_rate=(learning_rate,), decay=decays)
    arms = {
        name_of(seen, which): wd.Arm(in_turn(task_of(bible, characters, width), task_of(second, tuned, width), steps),
                                     optimizer_of(steps, tuning_steps), points, "decay")
        for seen, characters in sizes.items() for which, second in {ALIKE: alike, OTHER: other}.items()
    }  # fmt: skip
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps + tuning_steps,
        evaluations=steps // tuning_steps + 1,
        confirm=4,
        claims=claims_of(steps),
        figures=partial(figures, steps),
        answer=wd.by_verdicts,
    )


def name_of(seen: str, second: str) -> str:
    """`seen often, another translation`."""
    return f"{seen}, {second}"


# What is trained on


def in_turn(first: wd.Task, second: wd.Task, switch: int) -> wd.Task:
    """The first language task until step `switch`, and the second from there on, with the weights that have become.

    Training, validation and test parts are the second's; "first_validation" and "first_test" are the first's.
    """

    def split(seed: int) -> Any:
        return first.split(seed), second.split(seed)

    def order(key: wd.Key, start: wd.Array, steps: int) -> wd.Array:
        places = first.order(key, start, steps), second.order(key, start - switch, steps)
        before = (start + jnp.arange(steps) < switch)[:, None]
        return jnp.where(before, places[0], -1 - places[1])  # a place in the second text is below 0

    def gather(data: Any, split: Any, places: wd.Array) -> wd.Batch:
        one = first.gather(data[0], split[0], jnp.maximum(places, 0))
        other = second.gather(data[1], split[1], jnp.maximum(-1 - places, 0))
        return jax.tree.map(lambda *tokens: jnp.where(places[0] >= 0, *tokens), one, other)

    def splits(data: Any, split: Any) -> Any:
        own, other = first.splits(data[0], split[0]), second.splits(data[1], split[1])
        return {**other, "first_validation": own["validation"], "first_test": own["test"]}

    return first._replace(data=(first.data, second.data), split=split, order=order, gather=gather, splits=splits)


def optimizer_of(steps: int, tuning_steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW, clipped, that begins anew after `steps` steps, with a lower learning rate and a decay of `DECAY`."""
    before, after = schedule_of(steps), schedule_of(tuning_steps)

    def schedule(step: Any) -> Any:
        return jnp.where(step < steps, before(step), SHARE * jnp.asarray(after(step - steps)))

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        decay = wd.decay_weights(lambda step: jnp.where(step < steps, h.decay, DECAY))
        return clipped(wd.decoupled(begun_anew(wd.cores.adam(), steps), decay, h.learning_rate, schedule))

    return optimizer


def begun_anew(core: optax.GradientTransformation, at: int) -> optax.GradientTransformation:
    """A core that forgets at a step what it remembers."""

    def init(params: wd.Params) -> optax.OptState:
        return jnp.int32(0), core.init(params)

    def update(updates: optax.Updates, state: Any, params: Any = None):
        step, memory = state
        memory = jax.tree.map(lambda new, old: jnp.where(step == at, new, old), core.init(params), memory)
        updates, memory = core.update(updates, memory, params)
        return updates, (step + 1, memory)

    return optax.GradientTransformation(init, update)


# What is measured

Arms = Mapping[str, wd.Results]


def between(results: wd.Results, name: str, steps: int) -> np.ndarray:
    """A metric after pretraining; f64[s, h], NaN where the training diverged at any time."""
    return np.where(results["diverged_at"].to_numpy() < 0, results[name].sel(step=steps).to_numpy(), np.nan)


def higher(seen: str, steps: int, arms: Arms) -> dict[str, np.ndarray]:
    """How far above that for the first text the best decay for the second one lies, in powers of two."""

    def of_arm(results: wd.Results) -> np.ndarray:
        first = best_decays(results, between(results, "first_validation_loss", steps))
        return np.log2(best_decays(results, wd.surviving(results, "validation_loss")) / first)

    return {name: of_arm(arms[name]) for name in (name_of(seen, second) for second in (ALIKE, OTHER))}


def matters(steps: int, arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the fine-tuned test loss is with the decay that is best before than with that best after it."""

    def of_arm(results: wd.Results) -> wd.Scores:
        first = wd.choose(results, scores=-between(results, "first_validation_loss", steps))
        return wd.score(results, first, "test_loss") - wd.tuned(results, "test_loss", by="loss")

    return {name: of_arm(results) for name, results in arms.items()}


def learns_more(steps: int, arms: Arms) -> dict[str, np.ndarray]:
    """The slope, over decays above 0, of how much fine-tuning lowers the second test loss; nats for twice the decay."""

    def of_arm(results: wd.Results) -> np.ndarray:
        lowered = between(results, "test_loss", steps) - wd.surviving(results, "test_loss")
        return slope_over_decay(results, lowered)

    return {name: of_arm(results) for name, results in arms.items()}


def claims_of(steps: int) -> tuple[wd.Claim, ...]:
    """What is held of decay and plasticity; stated before the run."""
    source, factor = "Han et al. (2602.11137)", (math.log2(FACTOR), np.inf)
    said = f"the best decay for the second is higher than for the first, by a factor of {FACTOR:g} (powers of two)."
    return (
        wd.Claim("higher", f"After one pass over the first text {said}", source, partial(higher, ONCE, steps), factor,
                 wd.everywhere),
        wd.Claim("higher-repeated", f"After many passes over the first text {said}", source,
                 partial(higher, OFTEN, steps), factor, wd.everywhere),
        wd.Claim("matters", "With the decay that is best before fine-tuning the loss after it is higher than with "
                 f"another one, by more than {AGREED:g} nats.", source, partial(matters, steps), (AGREED, np.inf),
                 wd.everywhere, wd.NATS),
        wd.Claim("learns-more", "The more decay in pretraining, the more fine-tuning lowers the loss (nats for twice "
                 "the decay).", source, partial(learns_more, steps), (0.0, np.inf), wd.everywhere, wd.NATS),
    )  # fmt: skip


# What is drawn


def figures(steps: int, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test losses of the first text before fine-tuning and of the second after it, above those without decay."""
    figure, grid = wd.panel_grid(2, 2, width=3.6, height=2.8, share=False)
    for panel, (name, results) in zip(grid.flat, arms.items(), strict=True):
        decays = results["decay"].to_numpy().astype(float)
        losses = {"first text, before": between(results, "first_test_loss", steps),
                  "second text, after fine-tuning": wd.surviving(results, "test_loss")}  # fmt: skip
        for (label, loss), style in zip(losses.items(), wd.STYLES, strict=False):
            change = loss[:, decays > 0] - loss[:, decays == 0]
            wd.draw_band(panel, decays[decays > 0], change, label, style.color, style.dashes)
        panel.axhline(0, color="#555555", linewidth=0.8)
        panel.set(title=name, xscale="log", xlabel="decay of pretraining", ylabel="loss above no decay, nats")
        panel.legend(fontsize=7)
    one_legend(grid.flat)
    figure.supxlabel("exploring seeds, 95 % intervals", fontsize=8)
    return {"losses_over_decay": figure}


if __name__ == "__main__":
    wd.main(experiment)
