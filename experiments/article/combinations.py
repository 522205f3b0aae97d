"""Do dropout and batch normalization complement decay, and what does decay not cure?

python -m experiments.article.combinations

python -m experiments.article.combinations --seeds 4 --steps 300     # less time, most claims undecided

Expected (140 s on 2 CPU cores; 3,840 members, two programs): decay gains 3.2 points [2.5, 3.8] of test accuracy alone,
3.4 [2.8, 4.1] beside dropout, 0.7 [0.1, 1.3] beside batch normalization, 0.1 [-0.4, 0.7] beside both, from 83.0, 82.9,
82.2 and 82.7 %. So decay complements dropout (interaction 0.3 [-0.2, 0.7]) and not batch normalization (-2.4 [-3.3,
-1.6]), which costs 3.2 points [2.3, 4.2] beside decay: "C6-complement" and "C6-better-together" fail. The best trial of
any combination, one with dropout, is 0.2 points [-0.1, 0.5] above decay alone, undecided. That depends on the trials:
with dropout 0.15, 0.3, 0.5 and strengths 0.02, 0.05, 0.1, 0.2 it was 0.4 points [0.1, 0.7] BELOW. Decay does not undo
label noise: 5.3 points [4.5, 6.1] are missing to clean labels without decay. "B5-overfitting" fails, training accuracy
being 3.9 points [2.3, 5.4] BELOW test accuracy, as the net does not fit the wrong labels; "B5-overfitting-clean", added
after that was seen, holds with training accuracy 7.2 points [6.7, 7.8] above. Four of eight claims hold. The best
learning rate of decay beside batch normalization, 4e-4, is the least of its four. The figure: accuracies, and gains of
decay that fall to nothing beside batch normalization.
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

TRIALS = 24  # of every combination
MANY_LEARNING_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(3e-4, 1e-2, TRIALS))
LEARNING_RATES, FEW_LEARNING_RATES = (4e-4, 1e-3, 3e-3, 1e-2), (6e-4, 3e-3)
STRENGTHS, FEW_STRENGTHS = (0.003, 0.01, 0.03, 0.06, 0.1, 0.3), (0.02, 0.06, 0.2)
CLEAN_STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
DROPOUTS, FEW_DROPOUTS = (0.1, 0.2, 0.3, 0.45, 0.6, 0.75), (0.05, 0.15, 0.4, 0.7)
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


def experiment(*, seeds: int = 16, steps: int = 1_000) -> wd.Experiment:
    """Decay (L2 in the loss), dropout and batch normalization, each off or on, in all eight combinations.

    Every combination has 24 trials: where a technique is off, there are more learning rates.

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
    few = wd.grid(Hypers, learning_rate=LEARNING_RATES, strength=CLEAN_STRENGTHS)
    return wd.Experiment(
        arms={**arms, CLEAN: arm(clean, points(decay=False, dropout=False)), CLEAN_DECAY: arm(clean, few)},
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


def points(decay: bool, dropout: bool) -> Hypers:
    """The trials of a combination."""
    if decay and dropout:
        return wd.grid(Hypers, learning_rate=FEW_LEARNING_RATES, strength=FEW_STRENGTHS, dropout=FEW_DROPOUTS)
    if decay:
        return wd.grid(Hypers, learning_rate=LEARNING_RATES, strength=STRENGTHS)
    if dropout:
        return wd.grid(Hypers, learning_rate=LEARNING_RATES, dropout=DROPOUTS)
    return wd.grid(Hypers, learning_rate=MANY_LEARNING_RATES)


# What is measured

Arms = Mapping[str, wd.Results]


def on_edge(results: wd.Results) -> bool:
    """Whether the best strength or dropout is the last one of its grid."""
    return not {"strength", "dropout"}.isdisjoint(wd.edges(results))


def over(first: wd.Results, second: wd.Results) -> wd.Cell:
    """Test accuracy of the first combination above that of the second, both tuned."""
    return wd.difference(first, second)._replace(on_edge=on_edge(first) or on_edge(second))


def above(pairs: Sequence[tuple[str, str]], arms: Arms) -> dict[str, wd.Cell]:
    """Test accuracy of the first combination of each pair above that of the second."""
    return {f"{first} - {second}": over(arms[first], arms[second]) for first, second in pairs}


def gain(other: str, arms: Arms) -> wd.Cell:
    """What decay gains beside other techniques, or beside none."""
    return over(arms["decay" if other == "none" else f"decay + {other}"], arms[other])


def interactions(arms: Arms) -> dict[str, wd.Cell]:
    """What decay gains beside other techniques, above what it gains alone."""
    alone, cells = gain("none", arms), {}
    for other in ALL_OTHERS:
        beside = gain(other, arms)
        cells[other] = wd.Cell(beside.values - alone.values, beside.on_edge or alone.on_edge)
    return cells


def best_beside_others(arms: Arms) -> dict[str, wd.Cell]:
    """Test accuracy of the best trial of all that have decay and another technique, above that of decay alone."""
    beside = [arms[f"decay + {other}"] for other in ALL_OTHERS]
    best = wd.difference(wd.joined(beside, "point"), arms["decay"])
    return {"best trial - decay": best._replace(on_edge=any(map(on_edge, beside)))}


def gap(name: str, arms: Arms) -> dict[str, wd.Cell]:
    """Training accuracy, by the labels that were trained on, less test accuracy with the tuned decay."""
    decayed = arms[name]
    return {name: wd.Cell(wd.tuned(decayed, "train_accuracy") - wd.tuned(decayed, "test_accuracy"), on_edge(decayed))}


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


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """Test accuracy of every combination, and what decay gains beside each technique."""
    figure, panels = wd.panel_grid(1, 2, width=4.6, height=3.6, share=False)
    draw_accuracies(panels[0, 0], arms)
    draw_gains(panels[0, 1], arms)
    return {"combinations": figure}


def draw_accuracies(panel: wd.Axes, arms: Arms) -> None:
    """A mark per combination, from the worst to the best."""
    accuracies = {name: wd.tuned(results, "test_accuracy") for name, results in arms.items()}
    names = sorted(accuracies, key=lambda name: accuracies[name].mean())
    mean, low, high = wd.means(100 * np.array([accuracies[name] for name in names]).T).T
    clean = [name for name in names if name in (CLEAN, CLEAN_DECAY)]
    for style, shown in ((wd.STYLES[0], [name for name in names if name not in clean]), (wd.STYLES[1], clean)):
        at = [names.index(name) for name in shown]
        panel.errorbar(mean[at], at, xerr=(mean[at] - low[at], high[at] - mean[at]), fmt=style.marker,
                       color=style.color, markersize=4, capsize=2)  # fmt: skip
    panel.set_yticks(range(len(names)), ["none, clean labels" if name == CLEAN else name for name in names], fontsize=8)
    panel.set_xlabel("test accuracy, %")
    panel.set_title(f"{TRIALS} trials each", fontsize=10)
    panel.grid(alpha=0.3)


def draw_gains(panel: wd.Axes, arms: Arms) -> None:
    """What decay gains beside nothing and beside the other techniques, and by how much that differs."""
    others = ("none", *ALL_OTHERS)
    gains = [gain(other, arms).values for other in others]
    apart = [cell.values for cell in interactions(arms).values()]
    places = np.arange(len(others))
    wd.draw_measured(panel, places - 0.08, wd.means(100 * np.array(gains).T), wd.STYLES[0], "gain of decay")
    wd.draw_measured(panel, places[1:] + 0.08, wd.means(100 * np.array(apart).T), wd.STYLES[1], "less the gain alone")
    panel.axhline(0, color="0.6", linewidth=1)
    panel.set_xticks(places, [other.replace(" + ", " +\n") for other in others], fontsize=8)
    panel.set(xlabel="decay beside", ylabel="points of test accuracy", xlim=(-0.5, len(others) - 0.5))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


if __name__ == "__main__":
    wd.main(experiment)
