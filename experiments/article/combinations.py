"""Do dropout and batch normalization complement decay, and what does decay not cure?

python -m experiments.article.combinations

python -m experiments.article.combinations --seeds 4 --steps 300     # less time, most claims undecided

Expected (140 s on 2 CPU cores; 3,840 members, two programs): decay gains 3.2 points [2.5, 3.8]
alone, 3.4 [2.8, 4.1] beside dropout, 0.7 [0.1, 1.3] beside batch normalization, 0.1 [-0.4, 0.7] beside both, from 83.0,
82.9, 82.2 and 82.7 %. So decay goes with dropout (interaction 0.3 [-0.2, 0.7]) and not with batch normalization (-2.4
[-3.3, -1.6]), which costs 3.2 points [2.3, 4.2] beside decay: "C6-complement" and "C6-better-together" fail. The best
trial of any combination, one with dropout, is 0.2 points [-0.1, 0.5] ahead of decay alone, undecided. That hangs on the
trials: with dropout 0.15, 0.3, 0.5 and strengths 0.02, 0.05, 0.1, 0.2 it was 0.4 points [0.1, 0.7] BEHIND. Decay does
not cure noise: 5.3 points [4.5, 6.1] are missing to clean labels without decay. "B5-overfitting" fails, training being
3.9 points [2.3, 5.4] BELOW test accuracy, as the net does not fit the wrong labels; "B5-overfitting-clean", added
after that was seen, holds with training 7.2 points [6.7, 7.8] above. Four of eight claims hold. The best learning rate
of decay beside batch normalization, 4e-4, is the least of its four. The picture: accuracies, and gains of decay that
fall to nothing beside batch normalization.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import optax

from experiments.article.rows import said
from experiments.article.setting import FLIPPED, TRAIN_SIZE, WIDTH, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import decoupled
from wd_research.evidence.answer import ahead, by_verdicts, edges, final, surviving, tuned
from wd_research.evidence.claims import POINTS, Cell, Claim, does
from wd_research.evidence.drawing import STYLES, draw_measured, means, panel_grid
from wd_research.evidence.statistics import at_choice, choose_leaving_one_out
from wd_research.experiment import Experiment
from wd_research.search import grid
from wd_research.training.models import Mlp
from wd_research.types import Arm, Array, Axes, Figure, Loss, Results, Task

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
    """The numbers of a net; where a technique is off, its number is 0."""

    learning_rate: Array  # f32[]
    strength: Array  # f32[], of L2 in the loss
    dropout: Array  # f32[], the share of units set to 0


def experiment(*, seeds: int = 16, steps: int = 1_000) -> Experiment:
    """Decay (L2 in the loss), dropout and batch normalization, each off or on, in all eight combinations.

    Every combination has 24 trials: where a number is off, the learning rate has more values.

    Args:
        seeds: Each has its own split, flipped labels, initial weights, order of the data and noise.
        steps: Steps of training.
    """
    checks.counts(steps=steps)
    checks.seeds(seeds)
    optimizer, arms = partial(adam, steps), {}
    for batch_norm in (False, True):
        task = task_of(batch_norm, FLIPPED)
        objective = partial(with_l2, task)
        for decay, dropout in product((False, True), repeat=2):
            name = name_of(decay, dropout, batch_norm)
            axis = "dropout" if dropout and not decay else "strength"
            arms[name] = Arm(task, objective, optimizer, points(decay, dropout), axis)
    clean = arms["none"].task._replace(split=task_of(False, 0.0).split)
    few = grid(Hypers, learning_rate=LEARNING_RATES, strength=CLEAN_STRENGTHS, dropout=(0.0,))
    on_clean = {
        name: arms["none"]._replace(task=clean, points=p)
        for name, p in ((CLEAN, points(False, False)), (CLEAN_DECAY, few))
    }
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={**arms, **on_clean},
        seeds=seeds,
        steps=steps,
        looks=1,
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


# What is trained


def name_of(decay: bool, dropout: bool, batch_norm: bool) -> str:
    """`decay + dropout`; `none` where all are off."""
    switched = {"decay": decay, "dropout": dropout, "batch norm": batch_norm}
    return " + ".join(name for name, on in switched.items() if on) or "none"


def task_of(batch_norm: bool, flipped: float) -> Task:
    """The digits and a net with a dropout that may be 0."""
    net = Mlp((WIDTH,), classes=10, batch_norm=batch_norm)
    return digits_task(net, TRAIN_SIZE, flipped, settings=lambda hypers: {"dropout": hypers.dropout})


def with_l2(task: Task, hypers: Hypers) -> Loss:
    """The loss with L2."""
    return penalized(task.loss(hypers), l2, hypers.strength)


def adam(steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """Adam under a cosine; what decays is in the loss."""
    cosine = optax.cosine_decay_schedule(1.0, steps)
    return decoupled(optax.scale_by_adam(), optax.identity(), hypers.learning_rate, cosine)


def points(decay: bool, dropout: bool) -> Hypers:
    """The trials of a combination."""
    if decay and dropout:
        return grid(Hypers, learning_rate=FEW_LEARNING_RATES, strength=FEW_STRENGTHS, dropout=FEW_DROPOUTS)
    if not decay and not dropout:
        return grid(Hypers, learning_rate=MANY_LEARNING_RATES, strength=(0.0,), dropout=(0.0,))
    strengths, dropouts = (STRENGTHS, (0.0,)) if decay else ((0.0,), DROPOUTS)
    return grid(Hypers, learning_rate=LEARNING_RATES, strength=strengths, dropout=dropouts)


# What is measured

Arms = Mapping[str, Results]


def on_edge(results: Results) -> bool:
    """Whether the best strength or dropout is the last one of its grid."""
    return not {"strength", "dropout"}.isdisjoint(edges(results))


def over(first: Results, second: Results) -> Cell:
    """How much more of the test examples the first combination gets right than the second, both tuned."""
    return ahead(first, second)._replace(on_edge=on_edge(first) or on_edge(second))


def above(pairs: Sequence[tuple[str, str]], arms: Arms) -> dict[str, Cell]:
    """What the first combination of each pair has over the second."""
    return {f"{first} - {second}": over(arms[first], arms[second]) for first, second in pairs}


def gain(other: str, arms: Arms) -> Cell:
    """What decay gains beside other techniques, or beside none."""
    return over(arms["decay" if other == "none" else f"decay + {other}"], arms[other])


def interactions(arms: Arms) -> dict[str, Cell]:
    """What decay gains beside other techniques, above what it gains alone."""
    alone = gain("none", arms)
    cells = {other: gain(other, arms) for other in ALL_OTHERS}
    return {
        other: Cell(beside.values - alone.values, beside.on_edge or alone.on_edge) for other, beside in cells.items()
    }


def best_beside_others(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of the best trial of all that have decay and another technique, above that of decay alone."""
    beside = [arms[f"decay + {other}"] for other in ALL_OTHERS]
    validation = np.concatenate([surviving(results, "validation_accuracy") for results in beside], axis=1)
    test = np.concatenate([final(results, "test_accuracy") for results in beside], axis=1)
    best = at_choice(test, choose_leaving_one_out(validation))
    return {"best trial - decay": Cell(best - tuned(arms["decay"], "test_accuracy"), any(map(on_edge, beside)))}


def gap(name: str, arms: Arms) -> dict[str, Cell]:
    """Training, by the labels that were trained on, less test accuracy with the tuned decay."""
    decayed = arms[name]
    return {name: Cell(tuned(decayed, "train_accuracy") - tuned(decayed, "test_accuracy"), on_edge(decayed))}


TOGETHER_OVER_ALONE = tuple((f"decay + {other}", alone) for other in OTHERS for alone in ("decay", other))
CLAIMS = (
    Claim("C6-with-dropout", "Decay raises test accuracy beside dropout.", said("C6"),
          partial(above, (("decay + dropout", "dropout"),)), (0.0, np.inf), does, POINTS),
    Claim("C6-with-batch-norm", "Decay raises test accuracy beside batch normalization.", said("C6"),
          partial(above, (("decay + batch norm", "batch norm"),)), (0.0, np.inf), does, POINTS),
    Claim("C6-better-together", "Decay and either technique together are better than each of them alone.",
          said("C6"), partial(above, TOGETHER_OVER_ALONE), (0.0, np.inf), does, POINTS),
    Claim("C6-complement", "Decay gains beside another technique what it gains alone, or more, within half a point.",
          said("C6"), interactions, (-HALF_A_POINT, np.inf), does, POINTS),
    Claim("B5-beside-others", "The best trial of decay beside other techniques is better than decay alone.",
          said("B5"), best_beside_others, (0.0, np.inf), does, POINTS),
    Claim("B5-overfitting", "With tuned decay training accuracy stays over two points above test accuracy.",
          said("B5"), partial(gap, "decay"), (TWO_POINTS, np.inf), does, POINTS),
    Claim("B5-overfitting-clean", "The same where no label is wrong.",
          said("B5"), partial(gap, CLEAN_DECAY), (TWO_POINTS, np.inf), does, POINTS),
    Claim("B5-noise", "Tuned decay on noisy labels stays more than a point below no decay on clean ones.", said("B5"),
          partial(above, (("decay", CLEAN),)), (-np.inf, -ONE_POINT), does, POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """Test accuracy of every combination, and what decay gains beside each technique."""
    figure, panels = panel_grid(1, 2, width=4.6, height=3.6, share=False)
    draw_accuracies(panels[0, 0], arms)
    draw_gains(panels[0, 1], arms)
    return {"combinations": figure}


def draw_accuracies(panel: Axes, arms: Arms) -> None:
    """A mark per combination, from the worst to the best."""
    accuracies = {name: tuned(results, "test_accuracy") for name, results in arms.items()}
    names = sorted(accuracies, key=lambda name: accuracies[name].mean())
    mean, low, high = means(100 * np.array([accuracies[name] for name in names]).T).T
    clean = [name for name in names if name in (CLEAN, CLEAN_DECAY)]
    for style, shown in ((STYLES[0], [name for name in names if name not in clean]), (STYLES[1], clean)):
        at = [names.index(name) for name in shown]
        panel.errorbar(mean[at], at, xerr=(mean[at] - low[at], high[at] - mean[at]), fmt=style.marker,
                       color=style.color, markersize=4, capsize=2)  # fmt: skip
    panel.set_yticks(range(len(names)), ["none, clean labels" if name == CLEAN else name for name in names], fontsize=8)
    panel.set_xlabel("test accuracy, %")
    panel.set_title(f"{TRIALS} trials each", fontsize=10)
    panel.grid(alpha=0.3)


def draw_gains(panel: Axes, arms: Arms) -> None:
    """What decay gains beside nothing and beside the other techniques, and by how much that differs."""
    others = ("none", *ALL_OTHERS)
    gains = [gain(other, arms).values for other in others]
    apart = [cell.values for cell in interactions(arms).values()]
    places = np.arange(len(others))
    draw_measured(panel, places - 0.08, means(100 * np.array(gains).T), STYLES[0], "gain of decay")
    draw_measured(panel, places[1:] + 0.08, means(100 * np.array(apart).T), STYLES[1], "less the gain alone")
    panel.axhline(0, color="0.6", linewidth=1)
    panel.set_xticks(places, [other.replace(" + ", " +\n") for other in others], fontsize=8)
    panel.set(xlabel="decay beside", ylabel="points of test accuracy", xlim=(-0.5, len(others) - 0.5))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


if __name__ == "__main__":
    main(experiment)
