"""When is decay needed: for how many examples, how much noise, and would a smaller net or an early stop do?

python -m experiments.article.when_needed

python -m experiments.article.when_needed --seeds 4 --steps 300     # less time, most claims undecided

Expected (170 s on 2 CPU cores; 7,152 nets, six programs): none of six claims holds, one fails. Over no decay with as
many trials, decay gains from 0.7 points of test accuracy [0.4, 1.1] for 500 clean digits to 4.8 [3.6, 6.0] for 200 with
two fifths mislabelled; whether it gains less than half a point anywhere is undecided. With two fifths mislabelled, 200
digits gain 1.7 points [0.5, 3.0] more than 1,000, and 50 digits 1.5 [0.0, 3.0] less: of nine comparisons of sizes none
is certain, so that "C7-size" and "C7-fewest" are undecided. With noise the gain grows by 2 to 4 points from 200 digits
on, but not with 50: 0.1 [-1.6, 1.8] ("C7-noise" is undecided). A simpler model does not do: half the width without
decay is 1.9 [1.4, 2.4] to 7.8 [5.8, 9.9] points less accurate, a quarter of it 5 to 18 ("C7-smaller-model" fails).
Early stopping is 0.8 [0.5, 1.2] to 4.4 [3.2, 5.6] points less accurate ("C7-early-stopping" is undecided): on average
it is at most 0.4 points better than no decay at the end, whose small learning rates do as much. They matter: with rates
from 1e-3 to 1e-2 alone, no decay would be 11.9 [9.6, 14.3] points less accurate for 200 digits with two fifths
mislabelled (exploring seeds, by halves). With decay, in six of twelve data regimes an end of its learning rates is
best, mostly the largest.
The figure shows the gains, and by how much smaller nets and early stopping fall short of
decay at 200 digits.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import jax
import numpy as np

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import WIDTH, adam, digits_task
from experiments.article.techniques import stopped

SIZES = (50, 200, 500, 1_000)
LABEL_NOISES = (0.0, 0.2, 0.4)  # shares of the training labels that are wrong
SMALLER = (8, 16)  # widths without decay
SMALLER_SIZE = 200  # their training examples
DECAYS = (0.1, 0.4, 1.5, 5.0, 15.0)
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TRIALS = len(DECAYS) * len(LEARNING_RATES)  # with decay, and as many without
MANY_LEARNING_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 1e-1, TRIALS))
HALF_A_POINT = 0.005
EVALUATIONS = 20  # at which training can stop early


class Hypers(NamedTuple):
    """The hyperparameters of a net."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[], the rate of decoupled decay


def experiment(*, seeds: int = 8, steps: int = 1_000) -> wd.Experiment:
    """25 trials with decoupled decay and 25 without in twelve data regimes; smaller nets without in three.

    The regimes have 50 to 1,000 training digits, none to two fifths of them mislabelled.

    Args:
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Steps of training, as many for every size.
    """
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    optimizer = adam(steps)
    without = wd.grid(Hypers, learning_rate=MANY_LEARNING_RATES)
    decayed = wd.grid(Hypers, learning_rate=LEARNING_RATES, decay=DECAYS)
    both = jax.tree.map(lambda *parts: np.concatenate(parts), without, decayed)
    nets = (*((size, WIDTH, both) for size in SIZES), *((SMALLER_SIZE, width, without) for width in SMALLER))
    arms = {
        name_of(size, label_noise, width): wd.Arm(
            digits_task(wd.Mlp((width,), classes=10), size, label_noise), optimizer, points, axis="decay"
        )
        for size, width, points in nets
        for label_noise in LABEL_NOISES
    }
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


def name_of(size: int, label_noise: float, width: int = WIDTH) -> str:
    """`200 digits, 20 % mislabelled`, and `, width 8` where it is smaller."""
    return f"{size:,} digits, {share(label_noise)}" + ("" if width == WIDTH else f", width {width}")


def share(label_noise: float) -> str:
    """`20 % mislabelled`."""
    return f"{100 * label_noise:.0f} % mislabelled"


# What is measured

Arms = Mapping[str, wd.Results]


def with_decay(results: wd.Results) -> wd.Scores:
    """Test accuracy of the best trial with decay."""
    return wd.tuned(results, "test_accuracy", ~wd.has_value(results, 0))


def without_decay(results: wd.Results) -> wd.Scores:
    """The same of the trials without decay, which are as many."""
    return wd.tuned(results, "test_accuracy", wd.has_value(results, 0))


def gains(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between tuned decay and none, in every data regime."""
    names = [name_of(size, label_noise) for size, label_noise in product(SIZES, LABEL_NOISES)]
    return {name: with_decay(arms[name]) - without_decay(arms[name]) for name in names}


def by_size(sizes: Sequence[int], arms: Arms) -> dict[str, wd.Scores]:
    """The difference in gain between these sizes and the largest, at equal label noise."""
    gained = gains(arms)
    return {
        name_of(size, label_noise): gained[name_of(size, label_noise)] - gained[name_of(SIZES[-1], label_noise)]
        for size, label_noise in product(sizes, LABEL_NOISES)
    }


def by_noise(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in gain between most label noise and none, at each size."""
    gained, (least, *_, most) = gains(arms), LABEL_NOISES
    return {f"{size:,} digits": gained[name_of(size, most)] - gained[name_of(size, least)] for size in SIZES}


def smaller(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between a smaller net without decay and the larger with tuned decay."""
    return {
        (name := name_of(SMALLER_SIZE, label_noise, width)): without_decay(arms[name])
        - with_decay(arms[name_of(SMALLER_SIZE, label_noise)])
        for width, label_noise in product(SMALLER, LABEL_NOISES)
    }


def early(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between no decay, each net stopped where validation is best, and tuned decay."""
    return {name: stopped(arms[name], wd.has_value(arms[name], 0)) - with_decay(arms[name]) for name in gains(arms)}


CLAIMS = (
    wd.Claim("C7-not-always", "Somewhere the tuned decay gains less than half a point.", source_of("C7"),
             gains, (-np.inf, HALF_A_POINT), wd.somewhere, wd.POINTS),
    wd.Claim("C7-size", "Somewhere fewer digits gain more by decay than 1,000, at equal label noise.", source_of("C7"),
             lambda arms: by_size(SIZES[:-1], arms), (0.0, np.inf), wd.somewhere, wd.POINTS),
    wd.Claim("C7-fewest", "Decay gains more with 50 digits than with 1,000.", source_of("C7"),
             lambda arms: by_size(SIZES[:1], arms), (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C7-noise", "Decay gains more where two fifths of the digits are mislabelled than where none is.",
             source_of("C7"), by_noise, (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C7-smaller-model", "Somewhere a smaller net without decay is as good, within half a point.",
             source_of("C7"), smaller, (-HALF_A_POINT, np.inf), wd.somewhere, wd.POINTS),
    wd.Claim("C7-early-stopping", "Somewhere stopping early without decay is as good, within half a point.",
             source_of("C7"), early, (-HALF_A_POINT, np.inf), wd.somewhere, wd.POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """What decay gains over the number of digits; and smaller nets and early stopping beside it, at 200."""
    figure, panels = wd.panel_grid(1, 2, width=4.4, height=3.6, share=False)
    draw_gains(panels[0, 0], arms)
    draw_instead(panels[0, 1], arms)
    for panel in panels[0]:
        panel.axhline(0, color="0.6", linewidth=1)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.supxlabel(arms.scored_on, fontsize=8)
    return {"when_needed": figure}


def draw_gains(panel: wd.Axes, arms: wd.Evidence) -> None:
    """The gain over the number of digits, a line per share of mislabelled ones."""
    cells = arms.score(gains)
    for place, (label_noise, style) in enumerate(zip(LABEL_NOISES, wd.STYLES, strict=False)):
        estimates = 100 * np.array([cells[name_of(size, label_noise)].estimate() for size in SIZES])
        x = np.array(SIZES) * 1.04 ** (place - 1)
        wd.draw_measured(panel, x, estimates, style, share(label_noise))
        panel.plot(x, estimates[:, 0], color=style.color, linestyle=style.dashes, linewidth=1)
    panel.set(xscale="log", xlabel="training digits", ylabel="gain of decay in test accuracy, points")
    panel.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    panel.xaxis.minorticks_off()
    panel.set_title(f"width {WIDTH}, {TRIALS} trials with and without decay", fontsize=10)


def draw_instead(panel: wd.Axes, arms: wd.Evidence) -> None:
    """Smaller nets, and early stopping, against tuned decay at 200 digits, by label noise."""
    by_width, in_time = arms.score(smaller), arms.score(early)
    none = arms.score(lambda arms: {name: -gained for name, gained in gains(arms).items()})
    labels = [*(f"width {width}" for width in SMALLER), f"width {WIDTH}", f"width {WIDTH},\nstopped early"]
    for place, (label_noise, style) in enumerate(zip(LABEL_NOISES, wd.STYLES, strict=False)):
        name = name_of(SMALLER_SIZE, label_noise)
        cells = [by_width[name_of(SMALLER_SIZE, label_noise, width)] for width in SMALLER]
        estimates = 100 * np.array([cell.estimate() for cell in (*cells, none[name], in_time[name])])
        wd.draw_measured(panel, np.arange(len(labels)) + 0.12 * (place - 1), estimates, style, share(label_noise))
    panel.set_xticks(range(len(labels)), labels, fontsize=8)
    panel.set(ylabel=f"test accuracy less that of width {WIDTH}\nwith decay, points")
    panel.set_title(f"without decay, {SMALLER_SIZE} digits", fontsize=10)


if __name__ == "__main__":
    wd.main(experiment)
