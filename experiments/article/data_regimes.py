"""What does weight decay do to accuracy, overfitting and speed where data are few and noisy, few, or ample?

python -m experiments.article.data_regimes

python -m experiments.article.data_regimes --seeds 4 --steps 300     # less time, more claims undecided

Expected (180 s on 2 CPU cores; 6,480 nets, two programs): the tuned decay gains 3.0 points of test accuracy in the loss
and 3.3 decoupled where labels are noisy, 1.3 and 0.7 where data are few, 0.6 and 0.8 where they are ample. It closes
the gap everywhere; the top of the grids (strength 1, decay 100) costs 39 to 70 points. From 1e-4 to 1e-2 decoupled
decay changes next to nothing, at most 0.2 points a step, and coupled decay from 1e-3 on costs 0.3 [0.1, 0.5] on few and
0.4 [0.1, 0.7] on ample data. On clean labels training accuracy is 100 % with and without; on noisy ones (the wrong
labels count as they are) coupled decay lowers it by 2.5 points [1.5, 3.4] and decoupled by 0.6 [-0.1, 1.2], undecided:
no more, as the best net without learns slowly, at 5e-4. At the learning rate that decay prefers it falls by 20 and 11.
The data term of the loss ends higher everywhere. Of 32 claims 18 hold, 5 fail, 4 are equal, 5 undecided, among them
whether decay ever gains less than half a point, and whether it saves steps. Coupled decay on few digits, noisy or
clean, and decoupled decay on ample ones are best at the largest learning rate, 0.1, an edge of the grid.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

import wd_research as wd
from experiments import decay_values
from experiments.article.rows import row_of, source_of
from experiments.decay_values import gain_of_the_largest

# name -> training digits, and the share of their labels that are wrong
REGIMES = {"noisy": (200, 0.2), "clean": (200, 0.0), "ample": (1_000, 0.0)}
KINDS = ("coupled", "decoupled")
STATED = {1e-4: 0.967, 1e-3: 0.972, 1e-2: 0.978}  # decay -> accuracy
HALF_A_POINT = 0.005
ONE_POINT = 0.01
UNDERFITS = 0.3  # of training accuracy is lost: more than the fifth of the labels that are wrong can explain
EVALUATIONS = 20


def experiment(
    *,
    strengths: tuple[float, ...] = wd.decades(1e-6, 1, 14),
    decays: tuple[float, ...] = wd.decades(1e-4, 100, 14),
    learning_rates: tuple[float, ...] = (2e-4, 5e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    seeds: int = 8,
    steps: int = 1_000,
) -> wd.Experiment:
    """Coupled and decoupled decay in three data regimes: Adam with a cosine on digits, batches of 50, 32 hidden units.

    Args:
        strengths: Coupled decay: strengths of the L2 penalty in the loss; 0, 1e-4, 1e-3 and 1e-2 among them.
        decays: Decoupled decay: rates, multiplied by learning rate and schedule; 0, 1e-4, 1e-3 and 1e-2 among them.
        learning_rates: Peak learning rates of Adam, tuned for every decay.
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Steps of training.
    """
    check_stated(strengths=strengths, decays=decays)
    return wd.Experiment(
        arms=arms_of_regimes(strengths, decays, learning_rates, seeds, steps),
        seeds=seeds,
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


def check_stated(**grids: Sequence[float]) -> None:
    """Raise UserError unless every grid holds the three decays of the article."""
    for name, values in grids.items():
        for missing in sorted(set(STATED) - set(values)):
            raise wd.UserError(
                f"{wd.flags.flag(name)} has no {missing:g}: include 1e-4, 1e-3 and 1e-2, which are compared"
            )


def arms_of_regimes(
    strengths: tuple[float, ...], decays: tuple[float, ...], learning_rates: tuple[float, ...], seeds: int, steps: int
) -> dict[str, wd.Arm]:
    """The two arms of `decay_values` in every data regime. Raises UserError for flags that cannot be."""
    arms = {}
    for name, (train_size, label_noise) in REGIMES.items():
        in_regime = decay_values.experiment(
            strengths=strengths, decays=decays, learning_rates=learning_rates, seeds=seeds, steps=steps,
            train_size=train_size, label_noise=label_noise,
        )  # fmt: skip
        arms |= {f"{name}, {kind}": arm for kind, arm in in_regime.trained.items()}
    return arms


# What is measured

Arms = Mapping[str, wd.Results]
Measure = Callable[[Arms], dict[str, wd.Scores]]


def within(part: str, arms: Arms) -> Arms:
    """The arms of one data regime, or of one kind of decay."""
    return {name: results for name, results in arms.items() if part in name.split(", ")}


def changes(metric: str, sign: float, arms: Arms) -> dict[str, wd.Scores]:
    """sign * the difference in a final metric between the tuned decay and none."""
    return {name: sign * wd.gain_over_none(results, metric) for name, results in arms.items()}


def changes_at_its_rate(metric: str, sign: float, arms: Arms) -> dict[str, wd.Scores]:
    """sign * the difference in a final metric between the tuned decay and none at the SAME learning rate."""
    changes = {}
    for name, results in arms.items():
        choice, rates = wd.choose(results), results["learning_rate"]
        without = wd.has_value(results, 0) & (rates == rates.sel(point=choice.point)).to_numpy()
        changes[name] = sign * (wd.score(results, choice, metric) - wd.tuned(results, metric, without))
    return changes


def gap_closes(arms: Arms) -> dict[str, wd.Scores]:
    """By how much training less test accuracy is smaller with the tuned decay than without."""
    return {
        name: wd.gain_over_none(results, "test_accuracy") - wd.gain_over_none(results, "train_accuracy")
        for name, results in arms.items()
    }


def loss_falls(arms: Arms) -> dict[str, wd.Scores]:
    """By how much the test loss is lower with decay than without, both tuned by validation loss; nats."""
    return {name: -wd.gain_over_none(results, "test_loss", by="loss") for name, results in arms.items()}


def at(results: wd.Results, value: float) -> np.ndarray:
    """Which points have this value of the axis, as float32 holds it; bool[h]."""
    return wd.has_value(results, float(np.float32(value)))


def stated_steps(arms: Arms) -> dict[str, wd.Scores]:
    """What test accuracy gains from each decay of the article to its next, the learning rate tuned for each."""
    return {
        f"{name}: {low:g} to {high:g}": wd.tuned(results, "test_accuracy", at(results, high))
        - wd.tuned(results, "test_accuracy", at(results, low))
        for name, results in arms.items()
        for low, high in pairwise(STATED)
    }


def course(chosen: wd.Results, metric: str) -> np.ndarray:
    """A metric of a chosen point at every evaluation; f64[s, t]."""
    return chosen[metric].to_numpy()[:, 0].astype(float)


def from_first_to_last(metric: str, sign: float, arms: Arms) -> dict[str, wd.Scores]:
    """sign * the change of a metric of the tuned decay from the first evaluation to the last."""

    def change(chosen: wd.Results) -> np.ndarray:
        return sign * (course(chosen, metric)[:, -1] - course(chosen, metric)[:, 0])

    return {name: wd.measured(change, wd.choose(results)) for name, results in arms.items()}


def steps_saved(arms: Arms) -> dict[str, wd.Scores]:
    """The share of the steps that the best decay of each learning rate saves, against no decay at the same rate."""
    saved = {}
    for name, results in arms.items():
        for setting, among in wd.slices(results).items():
            without = wd.choose(results, among & wd.has_value(results, 0))
            cell = f"{name}, {setting}" if setting else name
            saved[cell] = wd.measured(share_saved, wd.choose(results, among), without)
    return saved


def share_saved(decayed: wd.Results, without: wd.Results) -> np.ndarray:
    """The share of the steps that decay saves; f64[s].

    Steps are counted to the first evaluation whose validation accuracy is that of no decay at the end, less a point;
    training that never reaches it counts with all its steps.
    """
    steps, target = without["step"].to_numpy(), course(without, "validation_accuracy")[:, -1:] - ONE_POINT
    reached = [course(each, "validation_accuracy") >= target for each in (decayed, without)]
    needed = [np.where(there.any(axis=1), steps[there.argmax(axis=1)], steps[-1]) for there in reached]
    return 1 - needed[0] / needed[1]


ABOVE_0, BELOW_0 = (0.0, np.inf), (-np.inf, 0.0)


def each(
    parts: Iterable[str], name: str, statement: str, measure: Measure, expected: tuple[float, float],
) -> tuple[wd.Claim, ...]:  # fmt: skip
    """A claim for each data regime, or kind of decay, about every arm of it."""
    return tuple(
        wd.Claim(f"{name}-{part}", f"{part}: {statement}", source_of(row_of(name)),
                 lambda arms, p=part: measure(within(p, arms)), expected, wd.everywhere, wd.POINTS)
        for part in parts
    )  # fmt: skip


CLAIMS = (
    *each(REGIMES, "A0-training-falls", "decay lowers training accuracy.", partial(changes, "train_accuracy", -1),
          ABOVE_0),
    *each(REGIMES, "A0-training-as-much", "training accuracy falls by half a point or more, as stated.",
          partial(changes, "train_accuracy", -1), (HALF_A_POINT, np.inf)),
    *each(REGIMES, "A0-at-its-rate", "at the learning rate that decay prefers, it lowers training accuracy.",
          partial(changes_at_its_rate, "train_accuracy", -1), ABOVE_0),
    *each(REGIMES, "A0-validation-rises", "decay raises validation accuracy.",
          partial(changes, "validation_accuracy", 1), ABOVE_0),
    *each(REGIMES, "A1", "decay raises test accuracy.", partial(changes, "test_accuracy", 1), ABOVE_0),
    *each(KINDS, "A6-rises", "accuracy rises from 1e-4 to 1e-3 to 1e-2.", stated_steps, ABOVE_0),
    *each(KINDS, "A6-as-much", "each of the two steps gains half a point, as stated.", stated_steps,
          (HALF_A_POINT, np.inf)),
    wd.Claim("A8-falls", "With decay the data term of the loss falls from the first evaluation to the last.",
             source_of("A8"), partial(from_first_to_last, "running_loss", -1), ABOVE_0, wd.everywhere, wd.NATS),
    wd.Claim("A8-price", "With decay the data term of the training loss ends higher than without.",
             source_of("A8"), partial(changes, "train_loss", 1), ABOVE_0, wd.everywhere, wd.NATS),
    wd.Claim("A8-price-at-its-rate", "With decay the data term ends higher than without at the same learning rate.",
             source_of("A8"), partial(changes_at_its_rate, "train_loss", 1), ABOVE_0, wd.everywhere, wd.NATS),
    wd.Claim("A10-rises", "With decay validation accuracy rises from the first evaluation to the last.",
             source_of("A10"), partial(from_first_to_last, "validation_accuracy", 1), ABOVE_0, wd.everywhere,
             wd.POINTS),
    wd.Claim("B2-not-always", "Somewhere the tuned decay gains less than half a point of test accuracy.",
             source_of("B2"), partial(changes, "test_accuracy", 1), (-np.inf, HALF_A_POINT), wd.somewhere, wd.POINTS),
    wd.Claim("B2-can-harm", "Somewhere the largest decay of the grid is worse than none.",
             source_of("B2"), gain_of_the_largest, BELOW_0, wd.somewhere, wd.POINTS),
    wd.Claim("B4", "Everywhere the largest decay of the grid is worse than none.",
             source_of("B4"), gain_of_the_largest, BELOW_0, wd.everywhere, wd.POINTS),
    *each(REGIMES, "C1-gap", "decay makes the gap between training and test accuracy smaller.", gap_closes, ABOVE_0),
    wd.Claim("C1-loss", "Decay lowers the test loss.",
             source_of("C1"), loss_falls, ABOVE_0, wd.everywhere, wd.NATS),
    wd.Claim("C3", "Somewhere decay needs fewer steps to what no decay reaches, learning rates alike (share saved).",
             source_of("C3"), steps_saved, ABOVE_0, wd.somewhere),
    wd.Claim("C4", "At the largest decay of the grid training accuracy is lower by more than 30 points.",
             source_of("C4"), partial(gain_of_the_largest, metric="train_accuracy"), (-np.inf, -UNDERFITS),
             wd.everywhere, wd.POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Accuracy over decay, and the course of losses and validation accuracy with and without."""
    return {"data_regimes": accuracy_over_decay(arms), "courses": courses(arms)}


def accuracy_over_decay(arms: Arms) -> wd.Figure:
    """Train and test accuracy over decay, learning rates tuned; a row per kind of decay, a column per data regime.

    They are of the exploring seeds, each half at the learning rates that the other half chooses.
    """
    figure, panels = wd.panel_grid(len(KINDS), len(REGIMES), width=2.7, height=2.4)
    for (name, results), panel in zip(arms.items(), panels.T.flat, strict=True):
        curve = over_the_axis(name, arms)
        every = np.ones(curve.sizes["point"], bool)
        for part in ("train", "test"):
            color, dashes = wd.PARTS[part]
            wd.draw_against_axis(panel, curve, every, f"{part}_accuracy", part, color, dashes)
        wd.mark_zero(panel, curve, every)
        measured = [wd.surviving(curve, "test_accuracy")[:, at(curve, value)].mean() for value in STATED]
        panel.plot(list(STATED), measured, "o", color="#0072B2", markersize=5, label="the article's decays")
        panel.plot(list(STATED), list(STATED.values()), "D", color="#0072B2", fillstyle="none", markersize=4,
                   label="stated")  # fmt: skip
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("strength" if results.attrs["axis"] == "strength" else "decay rate", fontsize=9)
        panel.tick_params(labelsize=8)
    panels[0, 0].set_ylim(0.6, 1.02)
    for row in panels:
        row[0].set_ylabel("accuracy")
    panels[1, 0].legend(fontsize=7, loc="lower left")
    figure.supxlabel("exploring seeds", fontsize=8)
    return figure


def over_the_axis(name: str, arms: Arms) -> wd.Results:
    """The end of an arm with one point per value of the axis, the other hyperparameters tuned."""
    values, first = np.unique(arms[name][arms[name].attrs["axis"]].to_numpy(), return_index=True)
    curve = arms[name].isel(point=first, step=[-1])
    for metric in ("train_accuracy", "test_accuracy"):

        def of_values(arms: Arms, metric: str = metric) -> dict[str, wd.Scores]:
            return {str(value): wd.tuned(arms[name], metric, wd.has_value(arms[name], value)) for value in values}

        tuned = wd.score_by_halves({name: arms[name]}, of_values)
        curve[metric] = (curve[metric].dims, np.stack(list(tuned.values()), axis=1)[..., None])
    curve["diverged_at"] = (("seed", "point"), np.full((curve.sizes["seed"], len(values)), -1))
    return curve


def courses(arms: wd.Evidence) -> wd.Figure:
    """Losses (data term, penalty term) and validation accuracy over the steps, L2 in the loss; a column per regime.

    Learning rates are tuned, with decay and without apart.
    """
    figure, panels = wd.panel_grid(2, len(REGIMES), width=2.7, height=2.4, share=False)
    for regime, (upper, lower) in zip(REGIMES, panels.T, strict=True):
        name = f"{regime}, coupled"
        evaluations, scored = arms[name]["step"].to_numpy(), partial(scored_course, arms, name)
        for label, decay, line in (("no decay", False, wd.LINES[1]), ("tuned decay", True, wd.LINES[0])):
            wd.draw_band(upper, evaluations, scored("running_loss", decay), f"data term, {label}", *line)
            wd.draw_band(lower, evaluations, 100 * scored("validation_accuracy", decay), label, *line)
        penalty = scored("running_objective", True) - scored("running_loss", True)
        wd.draw_band(upper, evaluations, penalty, "penalty term, tuned decay", *wd.LINES[2])
        upper.set_title(name, fontsize=10)
        lower.set_xlabel("steps", fontsize=9)
        for panel in (upper, lower):
            panel.tick_params(labelsize=8)
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("training loss, nats")
    panels[1, 0].set_ylabel("validation accuracy, %")
    for row in panels:
        row[0].legend(fontsize=7)
    figure.supxlabel(arms.scored_on, fontsize=8)
    return figure


def scored_course(arms: wd.Evidence, name: str, metric: str, decay: bool) -> np.ndarray:
    """A metric of the tuned decay, or of none, at every evaluation, of the seeds that score choices; f64[s, t]."""

    def at_evaluations(arms: Arms) -> dict[str, wd.Scores]:
        choice = wd.choose(arms[name], None if decay else wd.has_value(arms[name], 0))
        return {
            str(evaluation): wd.measured(lambda chosen, k=evaluation: course(chosen, metric)[:, k], choice)
            for evaluation in range(arms[name].sizes["step"])
        }

    return np.stack([cell.values for cell in arms.score(at_evaluations).values()], axis=1)


if __name__ == "__main__":
    wd.main(experiment)
