"""Why does decay make a net that has memorized a rule understand it: by the norm of the weights, or by the logits?

python -m experiments.literature.grokking

Seen (12 minutes on 2 CPU cores; 184 nets, 4 programs, 8 seeds): at decay 1 a net understands 900 steps after it has
memorized, without decay never, the test accuracy staying below 1 %. It takes a decay of .25, ten times [7, 14] the
critical one of the literature. Without decay but with the norm of all weights held, the delay grows as exp(3.8 [3.6,
4.0] x norm / norm at the jump), half as fast as was said; a temperature that keeps the logits as large takes away 84 %
[75, 93] of that growth, as was said, so that it is the logits more than the norm, though 8 seeds leave three quarters
undecided. Yet logits of one size alone do not do: with free weights and no decay no net understands at any of four
sizes. The norm at the jump differs between seeds by 2.5 % [1.5, 3.6].

The rule is c = a + b mod p. The delay is the number of steps between 90 % accuracy on the pairs that the net is trained
on and 90 % on all others, by straight lines between evaluations. Where the second is not reached the delay counts to
the end of training: it is longer than that, so a claim that it is long is harder to satisfy, not easier. Slopes leave
such members out.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import wd_research as wd
from experiments.literature.cells import cells
from experiments.literature.modular_addition import Hypers, optimizer, task_of
from experiments.literature.slopes import power, slope

LEVEL = 0.9  # of accuracy
USUAL = 1.0  # the decay of the literature, whose delay others are compared with
CRITICAL = 0.0158  # the decay below which nets of Verma (2605.20441) memorize
EVALUATIONS = 100
FREE, HELD, MATCHED, NORMALIZED = "decay", "norm held", "norm held, logits matched", "logits of one size"


SHORT = {
    "modulus": 7,
    "width": 16,
    "decays": (0, 0.1, 1),
    "factors": (1, 1.1, 1.2),
    "temperatures": (1,),
    "seeds": 2,
    "steps": 100,
    "norm": 15.0,
}  # to see that it runs


def experiment(
    *,
    modulus: int = 31,
    share: float = 0.6,
    width: int = 128,
    decays: tuple[float, ...] = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
    norm: float = 65.0,
    factors: tuple[float, ...] = (0.9, 1, 1.1, 1.2, 1.3),
    temperatures: tuple[float, ...] = (0.125, 0.25, 0.5, 1),
    learning_rate: float = 1e-2,
    seeds: int = 8,
    steps: int = 8_000,
) -> wd.Experiment:
    """Addition modulo p by a net with one hidden layer, all pairs at once, Adam with betas .9 and .98.

    Args:
        modulus: p; there are p^2 pairs, and 97 or 113 in the literature.
        share: Of the pairs, for training; the others are for testing.
        width: Hidden units.
        decays: Rates of decoupled decay where the norm is free; 0 and 1 among them.
        norm: About that of all weights when a net with decay 1 understands.
        factors: Multiples of it at which it is held without decay; 1 and two larger ones among them.
        temperatures: Of logits that have mean square 1 before they are divided; neither decay nor a norm there.
        learning_rate: Constant.
        seeds: Each has its own pairs and initial weights.
        steps: Steps of training.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(norm=(norm,), factors=factors, temperatures=temperatures, learning_rate=(learning_rate,))
    wd.flags.counts(modulus=modulus, width=width, steps=steps)
    wd.flags.seeds(seeds)
    check_grids(modulus, share, decays, factors)
    task, unit = (task_of(modulus, share, width, norms) for norms in (False, True))
    held, others = np.array(sorted(factors)), np.array([factor for factor in sorted(factors) if factor != 1])

    def arm(task: wd.Task, decay: Any = 0.0, norm: Any = 0.0, temperature: Any = 1.0) -> wd.Arm:
        columns: Any = np.broadcast_arrays(np.full(1, learning_rate, np.float32), decay, norm, temperature)
        return wd.Arm(task, optimizer, Hypers(*columns), axis="decay")

    return wd.Experiment(
        arms={
            FREE: arm(task, decay=sorted(decays)),
            HELD: arm(task, norm=norm * held),
            MATCHED: arm(task, norm=norm * others, temperature=others**2),
            NORMALIZED: arm(unit, temperature=sorted(temperatures)),
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=claims_of(norm),
        figures=partial(figures, norm),
        answer=wd.by_verdicts,
    )


def check_grids(modulus: int, share: float, decays: tuple[float, ...], factors: tuple[float, ...]) -> None:
    """Raise UserError unless there are pairs to train and to test on, and the grids hold what the claims compare."""
    if not 1 <= round(share * modulus**2) < modulus**2:
        raise wd.UserError(f"--share {share} of the {modulus**2} pairs leaves none to train or none to test on: give "
                           "a share above 0 and below 1, such as 0.6")  # fmt: skip
    if USUAL not in decays:
        raise wd.UserError(f"--decays has no {USUAL:g}: include it, other delays are compared with the one there")
    if 1 not in factors or sum(factor > 1 for factor in factors) < 2:
        raise wd.UserError("--factors needs 1 and two or more above it: the growth of the delay is measured there")


# What is measured

Arms = Mapping[str, wd.Results]


def reached(results: wd.Results, part: str) -> np.ndarray:
    """The step at which the accuracy on a part reaches `LEVEL`, by straight lines; f64[s, h], NaN where it does not."""
    curves = np.pad(results[f"{part}_accuracy"].to_numpy().astype(float), ((0, 0), (0, 0), (1, 0)))
    steps, above = np.append(0, results["step"].to_numpy()), curves >= LEVEL
    after = above.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(curves, k[..., None], axis=-1)[..., 0] for k in (before, after))
    way = np.divide(LEVEL - low, high - low, out=np.zeros_like(low), where=high > low)
    return np.where(above.any(axis=-1), steps[before] + way * (steps[after] - steps[before]), np.nan)


def delay_of(results: wd.Results, censored: bool = True) -> np.ndarray:
    """Steps from `LEVEL` on the training pairs to `LEVEL` on all others; f64[s, h], NaN where the first is not reached.

    Where the second is not reached it is the steps that are left, or NaN unless `censored`.
    """
    understood, last = reached(results, "test"), float(results["step"][-1])
    understood = np.where(np.isnan(understood) & censored, last, understood)
    return np.maximum(understood - reached(results, "train"), 1.0)


def usual_delay(arms: Arms) -> np.ndarray:
    """The delay with the usual decay; f64[s]."""
    return delay_of(arms[FREE])[:, values_of(arms[FREE], "decay") == USUAL][:, 0]


def values_of(results: wd.Results, name: str) -> np.ndarray:
    """A hyperparameter at every point, in so many digits as float32 keeps; f64[h]."""
    return np.array([float(f"{value:.6g}") for value in results[name].to_numpy()])


def advantage(arms: Arms) -> dict[str, np.ndarray]:
    """The delay without decay over that with the usual one."""
    return {"delay at 0 / at 1": delay_of(arms[FREE])[:, 0] / usual_delay(arms)}


def late_jump(arms: Arms) -> dict[str, np.ndarray]:
    """The test accuracy without decay at the end of training."""
    return {"no decay": wd.surviving(arms[FREE], "test_accuracy")[:, 0]}


def exponent(arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of the delay over that of the decay, from a tenth of the usual decay to it."""
    decays = values_of(arms[FREE], "decay")
    among = (decays >= USUAL / 10) & (decays <= USUAL)
    return {"from 0.1 to 1": power(decays[among], delay_of(arms[FREE], censored=False)[:, among])}


def critical(arms: Arms) -> dict[str, np.ndarray]:
    """Geometric mean of the least decay that understands and the next smaller one, over `CRITICAL`; NaN for 0."""
    decays = values_of(arms[FREE], "decay")
    understood = np.isfinite(reached(arms[FREE], "test"))
    least = np.where(understood.any(axis=1), understood.argmax(axis=1), 0)
    both = np.sqrt(decays[least] * decays[np.maximum(least - 1, 0)])
    return {"critical / 0.0158": np.where(both > 0, both, np.nan) / CRITICAL}


def norm_then(arms: Arms) -> np.ndarray:
    """The norm of all weights when the net with the usual decay understands; f64[s]."""
    at = values_of(arms[FREE], "decay") == USUAL
    results, steps = arms[FREE].isel(point=at), reached(arms[FREE], "test")[:, at][:, 0]
    norms = results["weights_norm"].to_numpy()[:, 0].astype(float)
    return np.array([np.interp(step, results["step"], norm) for step, norm in zip(steps, norms, strict=True)])


def spread(arms: Arms) -> dict[str, np.ndarray]:
    """How far that norm is from its mean over seeds, as a share of it."""
    return {"decay 1": np.abs(norm_then(arms) / norm_then(arms).mean() - 1)}


def growth(norm: float, arms: Arms) -> dict[str, np.ndarray]:
    """The slope of the logarithm of the delay over the held norm, in units of the norm at which the free net jumps."""
    held = values_of(arms[HELD], "norm")
    delays = np.log(delay_of(arms[HELD], censored=False)[:, held >= norm])
    return {"norm held": slope(held[held >= norm] / norm_then(arms)[:, None], delays)}


def recovered(norm: float, arms: Arms) -> dict[str, np.ndarray]:
    """Of what a larger norm adds to the delay the share that goes where the temperature keeps the logits as they were.

    1 - ln(matched / reference) / ln(larger / reference); of the mean logarithm over all larger norms.
    """
    held, matched = (delay_of(arms[name]) for name in (HELD, MATCHED))
    norms, matched_norms = (values_of(arms[name], "norm") for name in (HELD, MATCHED))
    reference = np.log(held[:, np.isclose(norms, norm)])
    added = (np.log(held[:, norms > norm]) - reference).mean(axis=1)
    left = (np.log(matched[:, matched_norms > norm]) - reference).mean(axis=1)
    return {"all larger norms": 1 - left / added}


def of_unit_logits(arms: Arms) -> dict[str, np.ndarray]:
    """The delay of free weights without decay whose logits have one size, over that with the usual decay."""
    sizes, delays = 1 / values_of(arms[NORMALIZED], "temperature"), delay_of(arms[NORMALIZED])
    return cells("size {:g}", delays / usual_delay(arms)[:, None], sizes)


def claims_of(norm: float) -> tuple[wd.Claim, ...]:
    """What the literature says of the delay; stated before the run."""
    clamp, logits = "Truong et al. (2606.13753)", "Truong (2606.18465)"
    said = {
        "decay-shortens": ("Without decay the delay is at least three times that with decay 1.",
                           "Power et al. (2201.02177)", advantage, (3.0, np.inf), wd.everywhere),
        "no-late-jump": ("Without decay less than half of the other pairs are understood at the end of training.",
                         "Verma (2605.20441)", late_jump, (-np.inf, 0.5), wd.everywhere),
        "exponent": ("The delay falls as the power -0.757 of the decay, within 0.15; the time scale of decay says -1.",
                     "Verma (2605.20441)", exponent, (-0.907, -0.607), wd.everywhere),
        "critical": ("Nets understand from a decay of 0.0158 on, within a factor of two.",
                     "Verma (2605.20441)", critical, (0.5, 2.0), wd.everywhere),
        "one-norm": ("The norm at which the net with decay 1 understands differs between seeds by less than 2 %.",
                     clamp, spread, (0.0, 0.02), wd.everywhere),
        "growth": ("Without decay the delay grows as exp(7.5 x the held norm over that norm), within 2.5.",
                   clamp, partial(growth, norm), (5.0, 10.0), wd.everywhere),
        "recovered": ("Of what a larger norm adds to the delay three quarters go where the logits stay as large.",
                      logits, partial(recovered, norm), (0.75, 1.25), wd.everywhere),
        "unit-logits": ("With logits of some one size no decay is needed: the delay is at most 1.5 times as long.",
                        logits, of_unit_logits, (0.0, 1.5), wd.somewhere),
    }  # fmt: skip
    return tuple(wd.Claim(name, *rest) for name, rest in said.items())


# What is drawn


def figures(norm: float, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Accuracy over training, and the delay over the decay, over the held norm, and over the size of the logits."""
    figure, panels = wd.panel_grid(2, 2, width=4.2, height=3.3, share=False)
    courses, over_decay, over_norm, over_logits = panels.flat
    draw_courses(courses, arms[FREE])
    decays, last = values_of(arms[FREE], "decay"), float(arms[FREE]["step"][-1])
    sizes = 1 / values_of(arms[NORMALIZED], "temperature")
    drawn = (
        (over_decay, FREE, decays, 0),
        (over_norm, HELD, values_of(arms[HELD], "norm") / norm, 1),
        (over_norm, MATCHED, values_of(arms[MATCHED], "norm") / norm, 2),
        (over_logits, NORMALIZED, sizes, 3),
    )
    for panel, name, x, style in drawn:
        estimates = np.exp(wd.means(np.log(delay_of(arms[name]))))
        wd.draw_measured(panel, x, estimates, wd.STYLES[style], name)
    wd.axis_from_zero(over_decay, decays[decays > 0].min(), decays.max())
    over_decay.axvline(CRITICAL, color="0.6", linewidth=1)
    over_decay.set(title="weights free", xlabel=f"decay (line: {CRITICAL:g})")
    over_norm.set(title="no decay, norm held", xlabel=f"norm / {norm:g}")
    over_logits.set(title="no decay, weights free", xscale="log", xlabel="root mean square of the logits")
    over_logits.set_xticks(sizes, [f"{size:g}" for size in sizes])
    over_logits.set_xticks([], minor=True)
    for panel in (over_decay, over_norm, over_logits):
        panel.axhline(last, color="0.6", linewidth=1, linestyle=":")
        panel.set(yscale="log", ylabel="delay, steps", ylim=tuple(last * np.array([0.07, 1.4])))
        ticks = [tick for tick in (10**k * n for k in range(6) for n in (1, 2, 5)) if 0.07 < tick / last < 1.4]
        panel.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        panel.set_yticks([], minor=True)
        panel.legend(fontsize=7, loc="center left")
    for panel in panels.flat:
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    said = "exploring seeds, geometric means, 95 % intervals; dotted: end of training, to which a delay counts"
    figure.supxlabel(said, fontsize=8)
    return {"grokking": figure}


def draw_courses(panel: wd.Axes, results: wd.Results) -> None:
    """The accuracy on both parts over training, without decay and at two others."""
    decays, steps = values_of(results, "decay"), results["step"].to_numpy()
    for decay, (color, _) in zip((0.0, USUAL / 10, USUAL), wd.LINES, strict=False):
        for part, dashes in (("train", ":"), ("test", "-")) if decay in decays else ():
            curves = results[f"{part}_accuracy"].to_numpy()[:, decays == decay][:, 0]
            wd.draw_band(panel, steps, curves, f"{part}, decay {decay:g}", color, dashes)
    panel.axhline(LEVEL, color="0.6", linewidth=1)
    panel.set(title="accuracy over training", xlabel="steps", ylabel="accuracy", xscale="log", ylim=(-0.03, 1.05))
    panel.yaxis.set_major_formatter("{x:.0%}")
    panel.legend(fontsize=7)


if __name__ == "__main__":
    wd.main(experiment)
