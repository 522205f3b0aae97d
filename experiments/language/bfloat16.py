"""What does decay do where weights are kept in bfloat16?

python -m experiments.language.bfloat16

Seen (15 minutes on 2 CPU cores, shared with other work; 246 nets, 3 exploring and 4 confirming seeds): at a learning
rate of 0.03 no difference between the three is seen, and none larger than 0.02 nats can be. At its best decay bfloat16
loses against float32 -0.002 nats [-0.024, 0.019] where data repeat and 0.009 [-0.002, 0.019] in one pass; with a
remainder -0.004 [-0.026, 0.017] and 0.002 [-0.005, 0.010]. Decay gains as much: 0.13 to 0.14 nats where data repeat,
0.014 to 0.015 in one pass, and is best at 0.7 and 0.1 in all three: a step then takes .02 and .003 of a weight, more
than the .002 below which bfloat16 rounds decay away. No training diverges at a learning rate of 0.1, with or without
decay, so decay prevents nothing here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import (
    AGREED,
    OFTEN,
    ONCE,
    WIDTH,
    Hypers,
    adamw,
    best_of_each,
    gain_of,
    loss_over_decay,
    sizes_of,
    task_of,
    tuned_loss,
)

EXPONENT, MANTISSA = 8, 7  # bits of bfloat16, beside the sign
REMEDY = 0.1  # the usual decay
LOST = 0.5  # nats of training loss above float32: the training has diverged, though every number is finite


SHORT = {"often": 2_048, "once": 16_384, "decays": (0, 0.1, 1), "seeds": 3, "steps": 20}  # to see that it runs


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    decays: tuple[float, ...] = (0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.2, 2.5, 5),
    learning_rate: float = 3e-2,
    high_learning_rate: float = 1e-1,
    seeds: int = 3,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token; weights in float32, in bfloat16, and there with a remainder.

    Activations, products and the moments of Adam are float32 in all of them, so that only the weights are rounded, and
    with them the gradients that reach them.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        decays: Decay rates, multiplied by learning rate and schedule; 0 and 0.1 among them.
        learning_rate: The peak learning rate; it rises in a twentieth of the steps and falls to 0 by a line.
        high_learning_rate: Another one, at which trainings may diverge, with decay 0 and 0.1 alone.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rate=(learning_rate,), high_learning_rate=(high_learning_rate,))
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    check(decays, learning_rate, high_learning_rate)
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    points = points_of(decays, learning_rate, high_learning_rate)
    arms = {
        name_of(seen, weights): arm_of(task_of(text, characters, width), weights, points, steps)
        for seen, characters in sizes.items()
        for weights in WEIGHTS
    }
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=1,
        confirm=4,
        claims=claims_of(),
        figures=figures,
        answer=wd.by_verdicts,
    )


def check(decays: Sequence[float], learning_rate: float, high_learning_rate: float) -> None:
    """Raise UserError for flags that cannot be together."""
    if REMEDY not in decays:
        raise wd.UserError(f"--decays has no {REMEDY:g}: include it, it is what is to prevent divergence")
    if not learning_rate < high_learning_rate:
        raise wd.UserError(f"--high-learning-rate {high_learning_rate:g} is not above --learning-rate "
                           f"{learning_rate:g}: give a higher one, at which trainings may diverge")  # fmt: skip


def name_of(seen: str, weights: str) -> str:
    """`seen often, bfloat16`."""
    return f"{seen}, {weights}"


def points_of(decays: Sequence[float], learning_rate: float, high_learning_rate: float) -> Hypers:
    """All decays at the learning rate, and none and `REMEDY` at the high one; each leaf f32[h]."""
    usual = wd.grid(Hypers, learning_rate=(learning_rate,), decay=decays)
    high = wd.grid(Hypers, learning_rate=(high_learning_rate,), decay=(0, REMEDY))
    return jax.tree.map(lambda *columns: np.concatenate(columns), usual, high)


def arm_of(task: wd.Task, weights: str, points: Hypers, steps: int) -> wd.Arm:
    """AdamW in float32, of weights that are kept in one of the ways of `WEIGHTS`."""
    (dtype, keeping), make = WEIGHTS[weights], adamw(steps)
    return wd.Arm(wd.with_weights_of(task, dtype), lambda h: keeping(make(h)), points, "decay")


# How weights are kept


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer in float32 of weights of another type: w <- round(w + u), to nearest, u that of float32(w)."""

    def init(params: wd.Params) -> optax.OptState:
        return optimizer.init(as_float32(params))

    def update(updates: optax.Updates, state: optax.OptState, params: wd.Params | None = None):
        return optimizer.update(as_float32(updates), state, as_float32(params))

    return optax.GradientTransformation(init, update)


class RemainderState(NamedTuple):
    """What the optimizer remembers, and what the weights lack."""

    remainder: wd.Params  # bf16, as the weights
    optimizer: optax.OptState


def with_remainder(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, with what rounding takes kept in bfloat16: v = w + r + u; w <- round(v), r <- v - w.

    The optimizer decays w + r. Sources: Kahan (1965); for bfloat16, Zamirai et al. (2010.06192) and optimi.
    """

    def init(params: wd.Params) -> RemainderState:
        return RemainderState(jax.tree.map(jnp.zeros_like, params), optimizer.init(as_float32(params)))

    def update(updates: optax.Updates, state: Any, params: wd.Params | None = None):
        kept = as_float32(params)
        whole = jax.tree.map(jnp.add, kept, as_float32(state.remainder))
        updates, inner = optimizer.update(as_float32(updates), state.optimizer, whole)
        landed = jax.tree.map(jnp.add, whole, updates)
        # A cast to bfloat16 and back is one that XLA may leave out; this is rounded for certain.
        rounded = jax.tree.map(lambda v: jax.lax.reduce_precision(v, EXPONENT, MANTISSA), landed)
        remainder = jax.tree.map(lambda v, w, r: (v - w).astype(r.dtype), landed, rounded, state.remainder)
        return jax.tree.map(jnp.subtract, rounded, kept), RemainderState(remainder, inner)

    return optax.GradientTransformation(init, update)


def as_float32(tree: Any) -> Any:
    """The tree with every leaf in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


FULL, ROUNDED, KEPT = "float32", "bfloat16", "bfloat16 with a remainder"
WEIGHTS: dict[str, tuple[Any, Callable[..., Any]]] = {
    FULL: (jnp.float32, in_float32),
    ROUNDED: (jnp.bfloat16, in_float32),
    KEPT: (jnp.bfloat16, with_remainder),
}


# What is measured

Arms = Mapping[str, wd.Results]


def worse_than_float32(weights: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss is than that of float32 weights, each at its best point; nats."""
    pairs = {seen: (arms[name_of(seen, weights)], arms[name_of(seen, FULL)]) for seen in (OFTEN, ONCE)}
    return {seen: tuned_loss(own) - tuned_loss(full) for seen, (own, full) in pairs.items()}


def gains_less(arms: Arms) -> dict[str, wd.Scores]:
    """How much more decay gains with float32 weights than with bfloat16 ones, where data repeat; nats."""
    return {OFTEN: gain_of(arms[name_of(OFTEN, FULL)]) - gain_of(arms[name_of(OFTEN, ROUNDED)])}


def lost(results: wd.Results, full: wd.Results, decay: float) -> np.ndarray:
    """Whether a training at the high learning rate has diverged: is not finite, or `LOST` above float32; f64[s]."""
    rates, decays = results["learning_rate"].to_numpy(), results["decay"].to_numpy()
    at = int(np.flatnonzero((rates == rates.max()) & (decays == np.float32(decay)))[0])
    apart = wd.final(results, "train_loss")[:, at] - wd.final(full, "train_loss")[:, at]
    return ((results["diverged_at"].to_numpy()[:, at] >= 0) | ~(apart <= LOST)).astype(float)


def prevented(arms: Arms) -> dict[str, np.ndarray]:
    """How many trainings of a seed diverge in bfloat16 without decay and not with `REMEDY`: 1, 0 or -1."""
    pairs = {seen: (arms[name_of(seen, ROUNDED)], arms[name_of(seen, FULL)]) for seen in (OFTEN, ONCE)}
    return {seen: lost(*pair, 0.0) - lost(*pair, REMEDY) for seen, pair in pairs.items()}


def claims_of() -> tuple[wd.Claim, ...]:
    """What practitioners hold; stated before the run."""
    zamirai = "Zamirai et al. (2010.06192)"
    return (
        wd.Claim("rounding", f"With weights in bfloat16 the best test loss is worse by more than {AGREED:g} nats.",
                 zamirai, partial(worse_than_float32, ROUNDED), (AGREED, np.inf), wd.everywhere, wd.NATS),
        wd.Claim("remainder", f"With a remainder beside them it is that of float32 weights, within {AGREED:g} nats.",
                 f"{zamirai}; optimi", partial(worse_than_float32, KEPT), (-AGREED, AGREED), wd.everywhere, wd.NATS),
        wd.Claim("less-gain", "Where data repeat, decay gains less with bfloat16 weights than with float32 ones.",
                 "a share below 2^-9 of a weight is rounded away", gains_less, (0.0, np.inf), wd.everywhere, wd.NATS),
        wd.Claim("divergence", "At a high learning rate trainings with bfloat16 weights diverge without decay, and not "
                 f"with {REMEDY:g} (the share of trainings).", "D'Angelo et al. (2310.04415)", prevented, (0.0, 1.0),
                 wd.somewhere),
    )  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test loss over decay on few data and on many, and how far it lies above that of float32 weights, seed by seed."""
    lines = {seen: [name_of(seen, weights) for weights in WEIGHTS] for seen in (OFTEN, ONCE)}
    figure, grid = wd.panel_grid(1, len(lines), width=3.6, height=3.2, share=False)
    for panel, seen in zip(grid.flat, lines, strict=True):
        full = arms[name_of(seen, FULL)]
        for weights, style in ((ROUNDED, wd.STYLES[1]), (KEPT, wd.STYLES[2])):
            above = arms[name_of(seen, weights)].assign(
                above=lambda own, full=full: own["test_loss"] - full["test_loss"]
            )
            wd.draw_against_axis(panel, above, best_of_each(full), "above", weights, style.color, style.dashes)
        wd.mark_zero(panel, full, best_of_each(full))
        panel.axhline(0, color="#555555", linewidth=0.8)
        panel.set(title=seen, xlabel="decay", ylabel="test loss above float32 weights, nats")
        panel.legend(fontsize=7)
    figure.supxlabel("exploring seeds, seed by seed, 95 % intervals", fontsize=8)
    return {"loss_over_decay": loss_over_decay(lines, arms), "loss_above_float32": figure}


if __name__ == "__main__":
    wd.main(experiment)
