"""What does a trained net remember of the decay it had earlier: nothing in equilibrium, or all that mattered?

python -m experiments.literature.forgetting

Seen (105 s on 2 CPU cores; 1,040 nets, 2 programs, 16 seeds explore, 16 confirm): both statements hold where they say
so, and one does not. In equilibrium all histories end at one test loss, within .013 nats, and at one norm within about
3 % (3.1 % [2.3, 3.9] after a fourfold learning rate, so that is undecided at 3 %), though each had changed the norm by
16 to 225 %. Where the learning rate falls, decay gains 11.8 points [10.7, 12.9]; removed after half of the training it
loses 1.2 [.7, 1.6] of them, but added then it still gains 6.3 [5.7, 6.9], so that late decay does nothing fails. At a
constant learning rate late decay gains all that decay always does, and early decay nearly nothing: 13.5 points [12.1,
14.8] less.

Two statements that seem to disagree. A net with normalized layers that trains at a constant learning rate and decay for
several times 1 / (learning rate * decay) is in an equilibrium which does not depend on what either was before. And a
net whose learning rate falls keeps what decay did early: without it later little changes, and with it only later little
is won. The difference may be whether the learning rate falls, so the second is measured with and without that.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import digits_task
from experiments.literature.scale_invariant import NormalizedMlp

WIDTH, BATCH_SIZE, MOMENTUM = 32, 50, 0.9
BEFORE, AFTER = 2, 5  # times 1 / (learning rate * decay): until the histories end, and from there to the end
A_TIME = 10  # evaluations
HISTORIES = "histories"
SAME, OTHERS = (1.0, 1.0), {  # factors of learning rate and decay
    "learning rate x 4": (4.0, 1.0),
    "learning rate x 0.25": (0.25, 1.0),
    "decay x 4": (1.0, 4.0),
    "decay x 0.25": (1.0, 0.25),
    "no decay": (1.0, 0.0),
}  # fmt: skip
FALLS = {"falling": 0.97**200, "constant": 1.0}  # the learning rate at the end over that at the start
ALWAYS, EARLY, LATE = "always", "early", "late"
ALIKE = 0.01  # of accuracy: what changes little


class History(NamedTuple):
    """The hyperparameters of a normalized net, before and after a step."""

    first_rate: wd.Array  # f32[], the learning rate before
    first_decay: wd.Array  # f32[]
    learning_rate: wd.Array  # f32[], after
    decay: wd.Array  # f32[]


class Window(NamedTuple):
    """The hyperparameters of a net that decays during a part of its training."""

    learning_rate: wd.Array  # f32[], at the start
    decay: wd.Array  # f32[], the strength of L2
    begin: wd.Array  # f32[], the share of training from which it decays
    end: wd.Array  # f32[], the share until which it does
    last: wd.Array  # f32[], the learning rate at the end over that at the start, between them a geometric course


def experiment(
    *,
    rate: float = 0.1,
    decay: float = 0.01,
    train_size: int = 500,
    strengths: tuple[float, ...] = (0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    learning_rate: float = 0.05,
    share: float = 0.5,
    seeds: int = 16,
    steps: int = 2_000,
) -> wd.Experiment:
    """Digits by gradient descent: a normalized net after six histories, and another one that decays all along or not.

    Args:
        rate: Learning rate of the normalized net behind its history.
        decay: Its decay there; a history lasts 2 / (rate * decay) steps, and 5 / (rate * decay) follow.
        train_size: Its training examples.
        strengths: Of L2 in the other net, with momentum .9 and 200 examples, a fifth mislabelled; 0 among them.
        learning_rate: Of the other net; it falls to .97^200 of itself, or stays.
        share: Of its training that is early; the rest is late.
        seeds: Each has its own split, label noise, initial weights and order.
        steps: Steps of the other net.
    """
    wd.flags.positive(rate=(rate,), decay=(decay,), learning_rate=(learning_rate,))
    wd.flags.decays(strengths=strengths)
    wd.flags.counts(train_size=train_size, steps=steps)
    wd.flags.seeds(seeds)
    check_course(rate, decay, share)
    time = round(1 / (rate * decay))
    length = (BEFORE + AFTER) * time
    normalized = digits_task(NormalizedMlp((WIDTH,), classes=10), train_size, 0.0, BATCH_SIZE)
    factors = np.array([SAME, *OTHERS.values()], np.float32)
    columns: Any = np.broadcast_arrays(rate * factors[:, 0], decay * factors[:, 1], rate, decay)
    histories = History(*columns)
    task, optimizer = digits_task(wd.Mlp((WIDTH,), classes=10)), in_window(steps)
    windows = {ALWAYS: (0.0, 1.0), EARLY: (0.0, share), LATE: (share, 1.0)}
    points = partial(wd.grid, Window, learning_rate=(learning_rate,), decay=sorted(strengths))
    return wd.Experiment(
        arms={
            HISTORIES: wd.Arm(normalized, after_history(BEFORE * time), histories, "decay", steps=length),
            **{
                f"{course}, {window}": wd.Arm(task, optimizer, points(begin=(a,), end=(b,), last=(last,)), "decay")
                for course, last in FALLS.items()
                for window, (a, b) in windows.items()
            },
        },
        seeds=seeds,
        steps=steps,
        evaluations=min((BEFORE + AFTER) * A_TIME, steps),
        claims=claims_of(),
        figures=figures,
        answer=wd.by_verdicts,
    )  # fmt: skip


def check_course(rate: float, decay: float, share: float) -> None:
    """Raise UserError unless the time of decay can be evaluated ten times, and both parts of a training last."""
    if 1 / (rate * decay) < A_TIME:
        raise wd.UserError(f"--rate {rate:g} and --decay {decay:g} have a time 1 / (rate * decay) below {A_TIME} "
                           "steps: give smaller ones")  # fmt: skip
    if not 0 < share < 1:
        raise wd.UserError(f"--share {share:g} leaves no early or no late part: give a number above 0 and below 1")


# What is trained


def after_history(first: int) -> Callable[[History], optax.GradientTransformation]:
    """w <- (1 - e d) w - e g with another learning rate e and decay d in the first steps; a function of hypers."""

    def optimizer(h: History) -> optax.GradientTransformation:
        def now(before: wd.Array, after: wd.Array) -> Callable[[Any], wd.Array]:
            return lambda step: jnp.where(step < first, before, after)

        decay, schedule = wd.decay_weights(now(h.first_decay, h.decay)), now(h.first_rate, h.learning_rate)
        return wd.decoupled(optax.identity(), decay, 1.0, schedule)

    return optimizer


def in_window(steps: int) -> Callable[[Window], optax.GradientTransformation]:
    """Momentum with L2 in the gradient from the share h.begin to h.end of the steps; a function of hypers."""

    def optimizer(h: Window) -> optax.GradientTransformation:
        def strength(step: Any) -> wd.Array:
            return h.decay * ((step >= h.begin * steps) & (step < h.end * steps))

        def schedule(step: Any) -> wd.Array:
            return h.last ** (step / steps)

        return wd.coupled(optax.trace(MOMENTUM), wd.decay_weights(strength), h.learning_rate, schedule)

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def after(results: wd.Results, name: str, times: Sequence[float]) -> np.ndarray:
    """A metric of the normalized net, the mean over evaluations between two times behind its history; f64[s, h]."""
    steps = results["step"].to_numpy().astype(float)
    since = steps / steps[-1] * (BEFORE + AFTER) - BEFORE  # in units of 1 / (learning rate * decay)
    among = (since > times[0]) & (since <= times[1] + 1e-6)
    return results[name].to_numpy().astype(float)[..., among].mean(axis=-1)


def remembered(name: str, times: Sequence[float], arms: Arms) -> dict[str, np.ndarray]:
    """A metric after another history less that after the same learning rate and decay all along."""
    values = after(arms[HISTORIES], name, times)
    return {history: values[:, k + 1] - values[:, 0] for k, history in enumerate(OTHERS)}


def norm_ratio(times: Sequence[float], arms: Arms) -> dict[str, np.ndarray]:
    """How far the norm of the weights after another history is from that without one, as a share of it."""
    norms = after(arms[HISTORIES], "weights_norm", times)
    return {history: np.abs(norms[:, k + 1] / norms[:, 0] - 1) for k, history in enumerate(OTHERS)}


def at_the_same(results: wd.Results, choice: wd.Choice) -> wd.Scores:
    """The test accuracy of an arm at the strength that was chosen in another one, which has the same grid."""
    index = int(np.flatnonzero(results["point"].to_numpy() == choice.point)[0])
    return wd.score(results, wd.choice_of(results, index), "test_accuracy")


def gained(courses: Sequence[str], window: str, arms: Arms) -> dict[str, wd.Scores]:
    """What decay in a window gains over none, both at the strength that validation data choose for decay always."""
    found = {}
    for course in courses:
        always = arms[f"{course}, {ALWAYS}"]
        none = wd.tuned(always, "test_accuracy", wd.has_value(always, 0))
        found[course] = at_the_same(arms[f"{course}, {window}"], wd.choose(always)) - none
    return found


def lost(courses: Sequence[str], arms: Arms) -> dict[str, wd.Scores]:
    """What decay always has over decay that is removed, at the same strength."""
    always, early = (gained(courses, window, arms) for window in (ALWAYS, EARLY))
    return {course: always[course] - early[course] for course in courses}


def claims_of() -> tuple[wd.Claim, ...]:
    """What both articles say; stated before the run."""
    end, soon = (AFTER - 1, AFTER), (0.0, 0.1)
    li, golatkar, falling = "Li, Lyu & Arora (2010.02916)", "Golatkar et al. (1905.13277)", ["falling"]
    said = {
        "forgets-norm": ("After 5 / (learning rate * decay) no history changes the norm by more than 3 %.",
                         li, partial(norm_ratio, end), (0.0, 0.03), wd.everywhere, wd.PERCENT),
        "forgets-loss": ("Nor does one change the test loss by more than 0.02 nats.",
                         li, partial(remembered, "test_loss", end), (-0.02, 0.02), wd.everywhere, wd.NATS),
        "forgets-accuracy": ("Nor the test accuracy by more than a point.",
                             li, partial(remembered, "test_accuracy", end), (-ALIKE, ALIKE), wd.everywhere, wd.POINTS),
        "remembers-at-first": ("After a tenth of 1 / (learning rate * decay) each still changes the norm by over 10 %.",
                               li, partial(norm_ratio, soon), (0.1, np.inf), wd.everywhere, wd.PERCENT),
        "decay-helps": ("Where the learning rate falls decay helps at all, by more than a point.",
                        golatkar, partial(gained, falling, ALWAYS), (ALIKE, np.inf), wd.everywhere, wd.POINTS),
        "removed": ("There decay that is removed after the early part loses less than a point.",
                    golatkar, partial(lost, falling), (-ALIKE, ALIKE), wd.everywhere, wd.POINTS),
        "added-late": ("There decay in the late part alone changes the accuracy by less than a point.",
                       golatkar, partial(gained, falling, LATE), (-ALIKE, ALIKE), wd.everywhere, wd.POINTS),
        "removed-constant": ("At a constant learning rate decay that is removed loses more than a point.",
                             li, partial(lost, ["constant"]), (ALIKE, np.inf), wd.everywhere, wd.POINTS),
    }  # fmt: skip
    return tuple(wd.Claim(name, *rest) for name, rest in said.items())


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The norm over training for every history, and the accuracy over the strength for every window."""
    figure, ((of_norm, falling, constant),) = wd.panel_grid(1, 3, width=3.8, height=3.6, share=False)
    results = arms[HISTORIES]
    steps, norms = results["step"].to_numpy().astype(float), results["weights_norm"].to_numpy()
    times = steps / steps[-1] * (BEFORE + AFTER) - BEFORE
    of_norm.plot(times, norms[:, 0].mean(axis=0), color="0.6", linewidth=4, label="the same")
    for k, (history, (color, dashes)) in enumerate(zip(OTHERS, wd.LINES, strict=True)):
        wd.draw_band(of_norm, times, norms[:, k + 1], history, color, dashes)
    of_norm.axvline(0, color="0.6", linewidth=1)
    of_norm.set(title="a normalized net", xlabel="time behind the history, 1 / (learning rate x decay)",
                ylabel="norm of all weights", yscale="log")  # fmt: skip
    of_norm.set_yticks([1.5, 2, 3, 4, 6], ["1.5", "2", "3", "4", "6"])
    of_norm.set_yticks([], minor=True)
    for panel, course in ((falling, "falling"), (constant, "constant")):
        everything = np.ones(arms[f"{course}, {ALWAYS}"].sizes["point"], bool)
        for window, (color, dashes) in zip((ALWAYS, EARLY, LATE), wd.LINES, strict=False):
            of_window = arms[f"{course}, {window}"]
            wd.draw_against_axis(panel, of_window, everything, "test_accuracy", window, color, dashes)
        wd.mark_zero(panel, arms[f"{course}, {ALWAYS}"], everything)
        panel.set(title=f"learning rate {course}", xlabel="strength of L2", ylabel="test accuracy")
        panel.yaxis.set_major_formatter("{x:.0%}")
    for panel in (of_norm, falling, constant):
        panel.title.set_fontsize(10)
        panel.xaxis.label.set_fontsize(8)
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel("exploring seeds, 95 % intervals", fontsize=8)
    return {"forgetting": figure}


if __name__ == "__main__":
    wd.main(experiment)
