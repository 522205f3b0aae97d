"""What does weight decay do to accuracy, overfitting and speed where data are few and noisy, few, or ample?

python -m experiments.article.data_regimes

python -m experiments.article.data_regimes --seeds 4 --steps 300     # less time, more claims undecided

Expected (124 s on 2 CPU cores; 6,720 nets, two programs): the tuned decay gains 5.7 points of test accuracy in the loss
and 5.3 decoupled where labels are noisy, 1.3 and 1.0 where data are few, 0.6 and 0.7 where they are ample. It closes
the gap everywhere; the top of the grids (strength 1, decay 100) costs 50 to 68 points. From 1e-4 to 1e-2 decoupled
decay changes next to nothing, at most 0.1 points a step, and neither coupled nor decoupled decay gains half a point at
every step. Training accuracy does not fall: on clean labels it is 100 % with and without, on noisy ones (the wrong
labels count as they are) it is 2 to 4 points HIGHER with decay, because the best net without learns slowly, at 3e-4. At
the learning rate that decay prefers it falls by 20 and 10 points on noisy labels, and the data term of the loss ends
higher everywhere. Of 32 claims 17 hold, 7 fail, 8 are undecided, among them whether decay ever gains less than half a
point, and whether it saves steps. The gains on noisy labels owe a part to coarse learning rates: 24 of them in
`techniques` lift no decay from 80.8 to 83 %.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

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
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    seeds: int = 16,
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
Measure = Callable[[Arms], dict[str, wd.Cell]]


def within(part: str, arms: Arms) -> Arms:
    """The arms of one data regime, or of one kind of decay."""
    return {name: results for name, results in arms.items() if part in name.split(", ")}


def changes(metric: str, sign: float, arms: Arms) -> dict[str, wd.Cell]:
    """sign * the difference in a final metric between the tuned decay and none."""
    return {name: wd.gain_cell(results, metric, sign) for name, results in arms.items()}


def changes_at_its_rate(metric: str, sign: float, arms: Arms) -> dict[str, wd.Cell]:
    """sign * the difference in a final metric between the tuned decay and none at the SAME learning rate."""
    cells = {}
    for name, results in arms.items():
        rates, off = results["learning_rate"].to_numpy(), np.flatnonzero(wd.has_value(results, 0))
        without = wd.final(results, metric)[:, [off[rates[off] == rate][0] for rate in rates]]
        choice = wd.choose_leaving_one_out(wd.surviving(results, "validation_accuracy"))
        difference = wd.at_choice(wd.final(results, metric) - without, choice)
        cells[name] = wd.Cell(sign * difference, results.attrs["axis"] in wd.edges(results))
    return cells


def gap_closes(arms: Arms) -> dict[str, wd.Cell]:
    """By how much training less test accuracy is smaller with the tuned decay than without."""
    return {
        name: tested._replace(values=tested.values - wd.gain_over_none(arms[name], "train_accuracy"))
        for name, tested in changes("test_accuracy", 1, arms).items()
    }


def loss_falls(arms: Arms) -> dict[str, wd.Cell]:
    """By how much the test loss is lower with decay than without, both tuned by validation loss; nats."""
    return {
        name: wd.Cell(
            -wd.gain_over_none(results, "test_loss", by="loss"), results.attrs["axis"] in wd.edges(results, by="loss")
        )
        for name, results in arms.items()
    }


def at(results: wd.Results, value: float) -> np.ndarray:
    """Which points have this value of the axis, as float32 holds it; bool[h]."""
    return wd.has_value(results, float(np.float32(value)))


def stated_steps(arms: Arms) -> dict[str, wd.Cell]:
    """What test accuracy gains from each decay of the article to its next, the learning rate tuned for each."""
    return {
        f"{name}: {low:g} to {high:g}": wd.Cell(
            wd.tuned(results, "test_accuracy", at(results, high)) - wd.tuned(results, "test_accuracy", at(results, low))
        )
        for name, results in arms.items()
        for low, high in zip(list(STATED)[:-1], list(STATED)[1:], strict=True)
    }


def course(results: wd.Results, metric: str, among: np.ndarray | None = None) -> np.ndarray:
    """A metric at every evaluation of the point that the other seeds' validation data choose at the END; f64[s, t].

    `among` bool[h] are the points to choose from, by default all of them.
    """
    among = np.ones(results.sizes["point"], bool) if among is None else among
    choice = wd.choose_leaving_one_out(wd.surviving(results, "validation_accuracy")[:, among])
    return wd.at_choice(results[metric].to_numpy().astype(float)[:, among], choice)


def from_first_to_last(metric: str, sign: float, arms: Arms) -> dict[str, wd.Cell]:
    """sign * the change of a metric of the tuned decay from the first evaluation to the last."""
    courses = {name: course(results, metric) for name, results in arms.items()}
    return {name: wd.Cell(sign * (values[:, -1] - values[:, 0])) for name, values in courses.items()}


def steps_saved(arms: Arms) -> dict[str, wd.Cell]:
    """The share of the steps that the best decay of each learning rate saves, against no decay at the same rate.

    Steps are counted to the first evaluation whose validation accuracy is that of no decay at the end, less a point;
    training that never reaches it counts with all its steps.
    """
    cells = {}
    for name, results in arms.items():
        for setting, among in wd.slices(results).items():
            at_rate = results.isel(point=among)
            evaluations, without = at_rate["step"].to_numpy(), course(at_rate, "validation_accuracy", at(at_rate, 0))
            target = without[:, -1:] - ONE_POINT
            reached = [curve >= target for curve in (course(at_rate, "validation_accuracy"), without)]
            needed = [
                np.where(there.any(axis=1), evaluations[there.argmax(axis=1)], evaluations[-1]) for there in reached
            ]
            cell = wd.Cell(1 - needed[0] / needed[1], at_rate.attrs["axis"] in wd.edges(at_rate))
            cells[f"{name}, {setting}" if setting else name] = cell
    return cells


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


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """Accuracy over decay, and the course of losses and validation accuracy with and without."""
    return {"data_regimes": accuracy_over_decay(arms), "courses": courses(arms)}


def accuracy_over_decay(arms: Arms) -> wd.Figure:
    """Train and test accuracy over decay, learning rates tuned; a row per kind of decay, a column per data regime."""
    figure, panels = wd.panel_grid(len(KINDS), len(REGIMES), width=2.7, height=2.4)
    for (name, results), panel in zip(arms.items(), panels.T.flat, strict=True):
        curve = over_the_axis(results)
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
    return figure


def over_the_axis(results: wd.Results) -> wd.Results:
    """The end of an arm with one point per value of the axis, the other hyperparameters tuned."""
    values, first = np.unique(results[results.attrs["axis"]].to_numpy(), return_index=True)
    curve = results.isel(point=first, step=[-1])
    for metric in ("train_accuracy", "test_accuracy"):
        tuned = [wd.tuned(results, metric, wd.has_value(results, value)) for value in values]
        curve[metric] = (curve[metric].dims, np.stack(tuned, 1)[..., None])
    curve["diverged_at"] = (("seed", "point"), np.full((curve.sizes["seed"], len(values)), -1))
    return curve


def courses(arms: Arms) -> wd.Figure:
    """Losses (data term, penalty term) and validation accuracy over the steps, L2 in the loss; a column per regime.

    Learning rates are tuned, with decay and without apart.
    """
    figure, panels = wd.panel_grid(2, len(REGIMES), width=2.7, height=2.4, share=False)
    for regime, (upper, lower) in zip(REGIMES, panels.T, strict=True):
        results = arms[f"{regime}, coupled"]
        evaluations, none = results["step"].to_numpy(), at(results, 0)
        data, objective = course(results, "running_loss"), course(results, "running_objective")
        wd.draw_band(upper, evaluations, course(results, "running_loss", none), "data term, no decay", "#0072B2", "--")
        wd.draw_band(upper, evaluations, data, "data term, tuned decay", "#000000", "-")
        wd.draw_band(upper, evaluations, objective - data, "penalty term, tuned decay", "#D55E00", ":")
        wd.draw_band(
            lower, evaluations, 100 * course(results, "validation_accuracy", none), "no decay", "#0072B2", "--"
        )
        wd.draw_band(lower, evaluations, 100 * course(results, "validation_accuracy"), "tuned decay", "#000000", "-")
        upper.set_title(f"{regime}, coupled", fontsize=10)
        lower.set_xlabel("steps", fontsize=9)
        for panel in (upper, lower):
            panel.tick_params(labelsize=8)
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("training loss, nats")
    panels[1, 0].set_ylabel("validation accuracy, %")
    for row in panels:
        row[0].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    wd.main(experiment)
