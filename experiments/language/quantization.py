"""Does decay make a language model lose less when its weights are rounded to four bits?

python -m experiments.language.quantization

Seen (10 minutes on 2 CPU cores, shared with other work; 112 nets, 3 exploring and 4 confirming seeds): the more decay,
the less is lost by rounding the weights to four bits, 0.006 nats [0.003, 0.009] for twice the decay where data repeat
and 0.004 [0.002, 0.007] in one pass. At its best decay, 0.3, a model loses 0.044 nats [0.003, 0.085] less than without
where data repeat; in one pass no decay is best here, so that nothing is gained. While the learning rate falls the loss
by rounding grows, by 0.044 [0.021, 0.067] without decay where data repeat and 0.015 [0.007, 0.023] at decay 0.1 in one
pass, and undecided by 0.01 elsewhere; that the fall does it and not the steps is seen without decay where data repeat
alone, 0.023 [0.006, 0.039].
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import AGREED, WIDTH, clipped, sizes_of, task_of

LARGEST = 7  # of the whole numbers that four bits hold with their sign, -7 to 7
FALL = 0.2  # of the run: the share at whose end the learning rate is 0
USUAL = 0.1  # the decay that most recipes have
LOOKS = 10  # evaluations


class Hypers(NamedTuple):
    """The hyperparameters of a language model."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[]
    held: wd.Array  # f32[]: 1 where the learning rate stays at its peak to the end, 0 where it falls in the last fifth


SHORT = {"often": 2_048, "once": 16_384, "decays": (0, 0.1, 1), "seeds": 3, "steps": 20}  # to see that it runs


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    decays: tuple[float, ...] = (0, 0.03, 0.1, 0.3, 0.7, 1.2, 2.5, 5),
    learning_rate: float = 3e-2,
    seeds: int = 3,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token, rounded to four bits at every evaluation, and not trained so.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        decays: Decay rates, multiplied by learning rate and schedule; 0 and 0.1 among them.
        learning_rate: The peak learning rate; it rises in a twentieth of the steps, and falls to 0 in the last fifth,
            or stays.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rate=(learning_rate,))
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    if USUAL not in decays:
        raise wd.UserError(f"--decays has no {USUAL:g}: include it, the error is followed there beside no decay")
    if steps % LOOKS:
        raise wd.UserError(f"--steps {steps} is no multiple of {LOOKS}: give one, so that an evaluation stands where "
                           "the learning rate begins to fall")  # fmt: skip
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    points = wd.grid(Hypers, learning_rate=(learning_rate,), decay=decays, held=(0, 1))
    arms = {
        seen: wd.Arm(with_rounding(task_of(text, characters, width)), optimizer_of(steps), points, "decay")
        for seen, characters in sizes.items()
    }
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=LOOKS,
        confirm=4,
        claims=claims_of(),
        figures=figures,
        answer=wd.by_verdicts,
    )


def optimizer_of(steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW, clipped; behind the warm-up s = 1, in the last fifth held + (1 - held) (1 - t / steps) / `FALL`."""
    falling = wd.schedules.stable(steps, steps // 20, FALL)

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        def schedule(step: Any) -> Any:
            return falling(step) + jnp.where(step < (1 - FALL) * steps, 0.0, h.held) * (1 - falling(step))

        return clipped(wd.decoupled(wd.cores.adam(), wd.decay_weights(h.decay), h.learning_rate, schedule))

    return optimizer


def with_rounding(task: wd.Task) -> wd.Task:
    """The task with the test loss of weights in four bits, "test_rounded_loss" in nats."""

    def measure(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
        if name != "test":
            return {}
        return {"rounded_loss": task.evaluate(in_four_bits(params), extras, batch, name)["loss"]}

    return wd.with_metrics(task, measure)


def in_four_bits(params: wd.Params) -> wd.Params:
    """All kernels rounded to nearest, f32[i, o]: step_o round(w_io / step_o), step_o = max_i |w_io| / `LARGEST`."""

    def rounded(taken: bool, w: wd.Array) -> wd.Array:
        step = jnp.abs(w).max(axis=0, keepdims=True) / LARGEST
        return jnp.where(step > 0, step * jnp.round(w / jnp.where(step > 0, step, 1)), w) if taken else w

    return jax.tree.map(rounded, wd.kernels(params), params)


# What is measured

Arms = Mapping[str, wd.Results]


def error(results: wd.Results) -> np.ndarray:
    """Test loss of rounded weights above that of the weights, nats; f64[s, h, step], NaN where diverged."""
    apart = results["test_rounded_loss"].to_numpy().astype(float) - results["test_loss"].to_numpy()
    return np.where(results["diverged_at"].to_numpy()[..., None] < 0, apart, np.nan)


def is_held(results: wd.Results, held: int) -> np.ndarray:
    """Which points hold the learning rate, or let it fall; bool[h]."""
    return results["held"].to_numpy() == held


def less_error(arms: Arms) -> dict[str, wd.Scores]:
    """How much smaller the error is at the decay that validation loss chooses than without decay; nats."""

    def of_arm(results: wd.Results) -> wd.Scores:
        falls = is_held(results, 0)
        best, none = wd.choose(results, falls), wd.choose(results, falls & wd.has_value(results, 0))
        return wd.measured(lambda none, best: error(none)[:, 0, -1] - error(best)[:, 0, -1], none, best)

    return {seen: of_arm(results) for seen, results in arms.items()}


def slopes(arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the error at the end over decays above 0, seed by seed; nats for twice the decay."""
    return {seen: slope_over_decay(of, error(of)[..., -1], is_held(of, 0)) for seen, of in arms.items()}


def slope_over_decay(results: wd.Results, values: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """The least-squares slope of f64[s, h] over log2 of the decays above 0, among a mask bool[h]; f64[s]."""
    decays = results["decay"].to_numpy().astype(float)
    at = (decays > 0) & (True if among is None else among)
    x = np.log2(decays[at]) - np.log2(decays[at]).mean()
    return values[:, at] @ x / (x @ x)


def growth(arms: Arms) -> dict[str, np.ndarray]:
    """How much the error grows while the learning rate falls, without decay and with the usual one; nats."""
    return {name_of(seen, decay): (curve := at_decay(results, decay, 0))[:, -1] - curve[:, before(results)]
            for seen, results in arms.items() for decay in (0, USUAL)}  # fmt: skip


def above_held(arms: Arms) -> dict[str, np.ndarray]:
    """How much larger the error is where the learning rate has fallen than where it stayed, at equal steps; nats."""
    return {name_of(seen, decay): at_decay(results, decay, 0)[:, -1] - at_decay(results, decay, 1)[:, -1]
            for seen, results in arms.items() for decay in (0, USUAL)}  # fmt: skip


def name_of(seen: str, decay: float) -> str:
    """`seen often, decay 0.1`."""
    return f"{seen}, decay {decay:g}"


def at_decay(results: wd.Results, decay: float, held: int) -> np.ndarray:
    """The error over the evaluations at one decay; f64[s, step]."""
    point = np.flatnonzero(is_held(results, held) & wd.has_value(results, float(np.float32(decay))))[0]
    return error(results)[:, point]


def before(results: wd.Results) -> int:
    """The index of the last evaluation before the learning rate falls."""
    return int(np.flatnonzero(results["step"] <= (1 - FALL) * results["step"][-1] + 0.5)[-1])


def claims_of() -> tuple[wd.Claim, ...]:
    """What is held of four bits; stated before the run."""
    ahmadian, catalan = "Ahmadian et al. (2305.19268)", "Catalan-Tatjer et al. (2510.06213)"
    some = (AGREED, np.inf)
    return (
        wd.Claim("less-error", f"At its best decay a model loses less by rounding than without decay, by more than "
                 f"{AGREED:g} nats.", ahmadian, less_error, some, wd.everywhere, wd.NATS),
        wd.Claim("slope", "The more decay, the less is lost by rounding (nats for twice the decay).", ahmadian, slopes,
                 (-np.inf, 0.0), wd.everywhere, wd.NATS),
        wd.Claim("growth", f"While the learning rate falls, what rounding loses grows by more than {AGREED:g} nats.",
                 catalan, growth, some, wd.everywhere, wd.NATS),
        wd.Claim("not-steps", f"After it has fallen rounding loses more than {AGREED:g} nats above what it loses after "
                 "as many steps of a learning rate that stays.", catalan, above_held, some, wd.everywhere, wd.NATS),
    )  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """What rounding loses over the training, and at its end over decay, on few data and on many."""
    return {"error_over_training": over_training(arms), "error_over_decay": over_decay(arms)}


def over_training(arms: wd.Evidence) -> wd.Figure:
    """The error over steps without decay, with the usual one and with the best one; lighter where the rate stays."""
    figure, grid = wd.panel_grid(1, len(arms), width=3.6, height=3.2, share=False)
    for panel, (seen, results) in zip(grid.flat, arms.items(), strict=True):
        steps = results["step"].to_numpy()
        best = float(results["decay"].to_numpy()[wd.choose(results, is_held(results, 0)).point])
        for decay, style in zip(dict.fromkeys((0.0, float(np.float32(USUAL)), best)), wd.STYLES, strict=False):
            for held, dashes, said, since in ((0, "-", f"decay {decay:.3g}", 0), (1, ":", "", before(results))):
                curve = at_decay(results, decay, held)[:, since:]
                wd.draw_band(panel, steps[since:], curve, said, style.color, dashes)
        panel.axvline(steps[before(results)], color="#555555", linewidth=0.8)
        panel.set(title=seen, xlabel="steps", ylabel="lost by rounding to four bits, nats")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel("lines: the learning rate falls behind the mark; dots: it stays; exploring seeds", fontsize=8)
    return figure


def over_decay(arms: wd.Evidence) -> wd.Figure:
    """The error at the end over decay where the learning rate has fallen and where it stayed."""
    figure, grid = wd.panel_grid(1, len(arms), width=3.6, height=3.2, share=False)
    for panel, (seen, results) in zip(grid.flat, arms.items(), strict=True):
        drawn = results.assign(error=(results["test_loss"].dims, error(results)))
        for held, said in enumerate(("learning rate falls", "learning rate stays")):
            wd.draw_against_axis(panel, drawn, is_held(results, held), "error", said, *wd.LINES[held])
        wd.mark_zero(panel, results, is_held(results, 0))
        panel.set(title=seen, xlabel="decay", ylabel="lost by rounding to four bits, nats")
        panel.legend(fontsize=7)
    figure.supxlabel("exploring seeds, 95 % intervals", fontsize=8)
    return figure


if __name__ == "__main__":
    wd.main(experiment)
