"""Do dropout and batch normalization complement decay, and what does decay not cure?

python -m experiments.article.combinations

python -m experiments.article.combinations --seeds 4 --steps 300     # less time, most claims undecided

Expected (104 s on 2 CPU cores; 2,768 nets, two programs): decay gains 3.8 points [3.1, 4.6] of test accuracy alone, 3.9
[3.2, 4.6] beside dropout, 1.6 [1.0, 2.2] beside batch normalization, 1.7 [1.1, 2.2] beside both, from 83.1, 83.1, 82.2
and 82.0 %. So beside dropout it gains about what it gains alone (interaction 0.0 [-0.6, 0.7]), beside batch
normalization less (-2.3 [-3.2, -1.3]), and that costs 3.1 points [2.2, 4.0] beside decay: "C6-complement" and
"C6-better-together" fail. The best trial of decay beside others is 0.0 points [-0.2, 0.3] above decay alone, undecided,
and has the least dropout of its trials, 0.05, an edge of the grid. Decay does not undo label noise: 5.0 points [4.1,
6.0] are missing to clean labels without decay. "B5-overfitting" fails, training accuracy being 4.6 points [2.6, 6.5]
BELOW test accuracy, as the net does not fit the wrong labels; "B5-overfitting-clean", added after that was seen, holds
with training accuracy 6.7 points [5.8, 7.7] above. Four of eight claims hold. The figure: accuracies, and gains of
decay that are less than half beside batch normalization.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import optax

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import LABEL_NOISE, TRAIN_SIZE, WIDTH, digits_task

TRIALS = 32  # of every combination
RANGES = {"learning_rate": (1e-4, 1e-2), "strength": (0.01, 1.0), "dropout": (0.05, 0.9)}
CLEAN_RANGES = RANGES | {"learning_rate": (1e-3, 0.1), "strength": (3e-4, 0.3)}
OTHERS = ("dropout", "batch norm")
ALL_OTHERS = (*OTHERS, "dropout + batch norm")
CLEAN = "clean labels"  # without any of them
CLEAN_DECAY = "decay, clean labels"
HALF_A_POINT, ONE_POINT, TWO_POINTS = 0.005, 0.01, 0.02


class Hypers(NamedTuple):
    """The hyperparameters of a net; where a technique is off, its hyperparameter is 0."""

    learning_rate: wd.Array  # f32[]
    strength: wd.Array  # f32[], of L2 in the loss
    dropout: wd.Array  # f32[], the share of units set to 0


def experiment(*, seeds: int = 8, steps: int = 1_000) -> wd.Experiment:
    """Decay (L2 in the loss), dropout and batch normalization, each off or on, in all eight combinations.

    Every combination has as many trials, Sobol points of its hyperparameters; those of a technique that is off are 0.

    Args:
        seeds: Each has its own split, label noise, initial weights, order of the data and dropout.
        steps: Training steps.
    """
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)

    def arm(task: wd.Task, points: Hypers, axis: str = "strength") -> wd.Arm:
        return wd.Arm(task, partial(adam, steps), points, axis, lambda h: wd.penalized(task.loss(h), wd.l2, h.strength))

    arms = {}
    for batch_norm, decay, dropout in product((False, True), repeat=3):
        axis = "dropout" if dropout and not decay else "strength"
        task = task_of(batch_norm, LABEL_NOISE)
        arms[name_of(decay, dropout, batch_norm)] = arm(task, points(decay, dropout), axis)
    clean = task_of(batch_norm=False, label_noise=0.0)
    arms[CLEAN] = arm(clean, points(decay=False, dropout=False, ranges=CLEAN_RANGES))
    arms[CLEAN_DECAY] = arm(clean, points(decay=True, dropout=False, ranges=CLEAN_RANGES))
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# What is trained


def name_of(decay: bool, dropout: bool, batch_norm: bool) -> str:
    """`decay + dropout`; `none` where all are off."""
    techniques = {"decay": decay, "dropout": dropout, "batch norm": batch_norm}
    return " + ".join(name for name, on in techniques.items() if on) or "none"


def task_of(batch_norm: bool, label_noise: float) -> wd.Task:
    """The digits, and a net with dropout whose rate is a hyperparameter."""
    net = wd.Mlp((WIDTH,), classes=10, batch_norm=batch_norm)
    return digits_task(net, TRAIN_SIZE, label_noise, settings=lambda hypers: {"dropout": hypers.dropout})


def adam(steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """Adam under a cosine; the decay is in the loss."""
    cosine = optax.cosine_decay_schedule(1.0, steps)
    return wd.decoupled(optax.scale_by_adam(), optax.identity(), hypers.learning_rate, cosine)


def points(decay: bool, dropout: bool, ranges: Mapping[str, tuple[float, float]] = RANGES) -> Hypers:
    """The trials of a combination."""
    off = [name for name, on in (("strength", decay), ("dropout", dropout)) if not on]
    drawn = wd.sobol_points(Hypers, TRIALS, 0, **ranges)
    return drawn._replace(**dict.fromkeys(off, np.zeros(TRIALS, np.float32)))


# What is measured

Arms = Mapping[str, wd.Results]


def above(pairs: Sequence[tuple[str, str]], arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of the first combination of each pair above that of the second, both tuned."""
    return {f"{first} - {second}": wd.difference(arms[first], arms[second]) for first, second in pairs}


def gain(other: str, arms: Arms) -> wd.Scores:
    """What decay gains beside other techniques, or beside none."""
    return wd.difference(arms["decay" if other == "none" else f"decay + {other}"], arms[other])


def interactions(arms: Arms) -> dict[str, wd.Scores]:
    """What decay gains beside other techniques, above what it gains alone."""
    return {other: gain(other, arms) - gain("none", arms) for other in ALL_OTHERS}


def best_beside_others(arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of the best trial of all that have decay and another technique, above that of decay alone."""
    beside = [arms[f"decay + {other}"] for other in ALL_OTHERS]
    best = max(beside, key=lambda results: wd.choose(results).validation)
    return {"best trial - decay": wd.difference(best, arms["decay"])}


def gap(name: str, arms: Arms) -> dict[str, wd.Scores]:
    """Training accuracy, by the labels that were trained on, less test accuracy with the tuned decay."""
    return {name: wd.tuned(arms[name], "train_accuracy") - wd.tuned(arms[name], "test_accuracy")}


TOGETHER_OVER_ALONE = tuple((f"decay + {other}", alone) for other in OTHERS for alone in ("decay", other))
CLAIMS = (
    wd.Claim("C6-with-dropout", "Decay raises test accuracy beside dropout.", source_of("C6"),
          partial(above, (("decay + dropout", "dropout"),)), (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C6-with-batch-norm", "Decay raises test accuracy beside batch normalization.", source_of("C6"),
          partial(above, (("decay + batch norm", "batch norm"),)), (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C6-better-together", "Decay and either technique together are better than each of them alone.",
          source_of("C6"), partial(above, TOGETHER_OVER_ALONE), (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("C6-complement", "Decay gains beside another technique what it gains alone, or more, within half a point.",
          source_of("C6"), interactions, (-HALF_A_POINT, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("B5-beside-others", "The best trial of decay beside other techniques is better than decay alone.",
          source_of("B5"), best_beside_others, (0.0, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("B5-overfitting", "With tuned decay training accuracy stays over two points above test accuracy.",
          source_of("B5"), partial(gap, "decay"), (TWO_POINTS, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("B5-overfitting-clean", "The same where no label is wrong.",
          source_of("B5"), partial(gap, CLEAN_DECAY), (TWO_POINTS, np.inf), wd.everywhere, wd.POINTS),
    wd.Claim("B5-noise", "Tuned decay on noisy labels stays more than a point below no decay on clean ones.",
          source_of("B5"), partial(above, (("decay", CLEAN),)), (-np.inf, -ONE_POINT), wd.everywhere, wd.POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test accuracy of every combination, and what decay gains beside each technique."""
    figure, panels = wd.panel_grid(1, 2, width=4.6, height=3.6, share=False)
    draw_accuracies(panels[0, 0], arms)
    draw_gains(panels[0, 1], arms)
    return {"combinations": figure}


def draw_accuracies(panel: wd.Axes, arms: wd.Evidence) -> None:
    """A mark per combination, from the worst to the best."""
    cells = arms.score(lambda arms: {name: wd.tuned(results, "test_accuracy") for name, results in arms.items()})
    names = sorted(cells, key=lambda name: cells[name].estimate().mean)
    mean, low, high = 100 * np.array([cells[name].estimate() for name in names]).T
    clean = [name for name in names if name in (CLEAN, CLEAN_DECAY)]
    for style, shown in ((wd.STYLES[0], [name for name in names if name not in clean]), (wd.STYLES[1], clean)):
        at = [names.index(name) for name in shown]
        panel.errorbar(mean[at], at, xerr=(mean[at] - low[at], high[at] - mean[at]), fmt=style.marker,
                       color=style.color, markersize=4, capsize=2)  # fmt: skip
    panel.set_yticks(range(len(names)), ["none, clean labels" if name == CLEAN else name for name in names], fontsize=8)
    panel.set_xlabel("test accuracy, %")
    scored = arms.scored_on
    panel.set_title(f"{TRIALS} trials each, {scored}", fontsize=10)
    panel.grid(alpha=0.3)


def draw_gains(panel: wd.Axes, arms: wd.Evidence) -> None:
    """What decay gains beside nothing and beside the other techniques, and by how much that differs."""
    others = ("none", *ALL_OTHERS)
    gains = arms.score(lambda arms: {other: gain(other, arms) for other in others})
    gained, apart = (
        100 * np.array([cell.estimate() for cell in cells.values()]) for cells in (gains, arms.score(interactions))
    )
    places = np.arange(len(others))
    wd.draw_measured(panel, places - 0.08, gained, wd.STYLES[0], "gain of decay")
    wd.draw_measured(panel, places[1:] + 0.08, apart, wd.STYLES[1], "less the gain alone")
    panel.axhline(0, color="0.6", linewidth=1)
    panel.set_xticks(places, [other.replace(" + ", " +\n") for other in others], fontsize=8)
    panel.set(xlabel="decay beside", ylabel="points of test accuracy", xlim=(-0.5, len(others) - 0.5))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


if __name__ == "__main__":
    wd.main(experiment)
