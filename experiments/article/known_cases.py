"""Cases of which algebra knows the answer: a line of negative slope, and a separable cost."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wd_research as wd
from experiments.article.formula import Hypers, Reading, by_rule, cost, descent, kindly, literally

# A line of negative slope
SLOPE, INTERCEPT, POINTS = -2.0, 3.0, 20
LINE_DECAYS = (0.0, 0.2, 2.0, 20.0, 200.0)  # up to ten times the number of points

# A separable cost sum_i (w_i - m_i)^2 / 2, whose minimum is known
WEIGHTS, RATE, STEPS = 20, 0.1, 1_000
CRITICAL_SHARES = (0.25, 0.5, 0.9, 1.1, 2.0)  # of the number beyond which the formula has no fixed point
GONE = 1e3  # where weights that diverge are stopped

Arms = Mapping[str, wd.Results]


# A line of negative slope


class Line(NamedTuple):
    """What one seed draws."""

    inputs: np.ndarray  # f32[n, 1], one feature
    targets: np.ndarray  # f32[n]


def draw_line(seed: int) -> Line:
    """Points about a line of slope SLOPE: x ~ N(1, 1), noise of standard deviation 1."""
    rng = np.random.default_rng(seed)
    inputs = 1 + rng.normal(size=(POINTS, 1))
    targets = INTERCEPT + SLOPE * inputs[:, 0] + rng.normal(size=POINTS)
    return Line(inputs.astype(np.float32), targets.astype(np.float32))


def line_points() -> Hypers:
    """The decays of a line, each with a learning rate that its curvature allows."""
    points = wd.grid(Hypers, decay=LINE_DECAYS)
    return points._replace(learning_rate=np.float32(1 / (6 + points.decay / POINTS)))


def line() -> wd.Arm:
    """The line by gradient descent; the weight is a matrix and decays, the intercept is a bias and does not."""

    def loss(hypers: Hypers) -> wd.Loss:
        def of_line(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            value = jnp.mean((batch.inputs @ params["kernel"] + params["bias"] - batch.targets[:, None]) ** 2) / 2
            return value, (extras, {"loss": value})

        return of_line

    task = wd.Task(
        data=(),
        split=draw_line,
        init=lambda key: ({"kernel": jax.random.normal(key, (1, 1)), "bias": jnp.zeros(1)}, {}),
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, split, indices: wd.Batch(*split),
        loss=loss,
        measure=lambda params, extras: {"slope": params["kernel"][0, 0]},
    )
    return wd.Arm(task, descent, line_points(), axis="decay", objective=cost(task, POINTS))


def solved_line() -> wd.ComputedArm:
    """The line in closed form: slope = Sxy / (Sxx + lambda), S being sums of products about the means."""

    def of_seed(seed: int) -> np.ndarray:
        x, y = (part - part.mean() for part in (draw_line(seed).inputs[:, 0], draw_line(seed).targets))
        return x @ y / (x @ x + np.array(LINE_DECAYS))

    return lambda seeds: wd.labelled(line_points(), "decay", 0, {"slope": np.stack(list(map(of_seed, range(seeds))))})


# A separable cost


class Separable(NamedTuple):
    """The hyperparameter of the separable cost."""

    share: np.ndarray  # of the critical number


def descend(reading: Reading, number: float, target: np.ndarray, steps: int) -> np.ndarray:
    """The path f64[t + 1, k] of w under C0 = sum (w - target)^2 / 2 from 0.1 target; stopped where it diverges.

    `number` is eta lambda/n of the rule, and lambda of the formula, which adds lambda sum w^2.
    """
    path = [0.1 * target]
    for _ in range(steps):
        weights = path[-1]
        if np.abs(weights).max() > GONE:
            path.append(weights)
            continue
        amount = number if reading is by_rule else number * np.sum(weights**2)
        path.append(reading(amount, weights, -RATE * (weights - target)))
    return np.array(path)


def critical(target: np.ndarray) -> float:
    """Lambda of the formula, read kindly, beyond which no fixed point exists: eta / (2 (M1 + sqrt(k M2))).

    M1 and M2 are the sums of the targets and of their squares. At a fixed point every weight is its target plus the
    same d = lambda/eta sum w^2, hence a quadratic equation in d, which has no root for a larger lambda.
    """
    return RATE / (2 * (target.sum() + np.sqrt(len(target) * np.sum(target**2))))


def common_shift(number: float, target: np.ndarray) -> float:
    """The d that the formula, read kindly, adds to every weight in the end; NaN beyond the critical number."""
    ratio, count = number / RATE, len(target)
    linear = 1 - 2 * ratio * target.sum()
    inside = linear**2 - 4 * ratio**2 * count * np.sum(target**2)
    return float((linear - np.sqrt(inside)) / (2 * ratio * count)) if inside >= 0 else float("nan")


def draw_targets(seed: int) -> np.ndarray:
    """Targets m ~ N(0, 1), f64[k], as many above 0 as below."""
    sizes = np.abs(np.random.default_rng(seed).normal(size=WEIGHTS))
    return sizes * np.resize([1, -1], WEIGHTS)


def separable_cost(seeds: int) -> wd.Results:
    """The formula on a separable cost, at every share of the critical number.

    The shift of the weights with targets above 0 and below, in multiples of the solved d (1, 1 if it is as solved),
    whether they diverge, and the largest weight that the literal reading leaves, over the largest target.
    """

    def of_member(seed: int, share: float) -> dict[str, float]:
        target = draw_targets(seed)
        number = share * critical(target)
        end = descend(kindly, number, target, STEPS)[-1]
        shift, diverges = end - target, float(np.abs(end).max() > GONE)
        solved = common_shift(number, target)
        literal = descend(literally, number, target, STEPS)[-1]
        return {
            "shift_of_positive": shift[target > 0].mean() / solved,
            "shift_of_negative": shift[target < 0].mean() / solved,
            "diverges": diverges,
            "literally_left": np.abs(literal).max() / np.abs(target).max(),
        }

    rows = [[of_member(seed, share) for share in CRITICAL_SHARES] for seed in range(seeds)]
    metrics = {name: np.array([[member[name] for member in row] for row in rows]) for name in rows[0][0]}
    return wd.labelled(Separable(np.array(CRITICAL_SHARES)), "share", STEPS, metrics)


# What is drawn


def draw_paths(panel: wd.Axes) -> None:
    """Two weights whose data want +1 and -1, under the rule and both readings of the formula."""
    target = np.array([1.0, -1.0])
    number = 0.9 * critical(target)
    cases = (
        ("the data alone", by_rule, 0.0),
        (r"the rule, $\eta\lambda/n = 0.05$", by_rule, 0.05),
        ("the formula, read kindly", kindly, number),
        ("the formula, literally", literally, number),
    )
    for (label, reading, amount), style in zip(cases, wd.STYLES, strict=False):
        path = descend(reading, amount, target, 60)
        for weight, name in zip(path.T, (label, None), strict=True):
            panel.plot(weight, color=style.color, linestyle=style.dashes, linewidth=1.3, label=name)
    panel.axhline(0, color="0.6", linewidth=0.7)
    panel.set(title="two weights, wanted at +1 and -1", xlabel="step", ylabel="weight", ylim=(-1.3, 3.4))


def draw_line_slopes(panel: wd.Axes, arms: Arms) -> None:
    """The slope of the line over decay: solved and trained."""
    results, solved = arms["line, trained"], wd.final(arms["line, solved"], "slope").mean(axis=0)
    x = np.array(LINE_DECAYS)
    panel.plot(x, solved, color=wd.STYLES[1].color, linewidth=1, label=r"$S_{xy} / (S_{xx} + \lambda)$")
    wd.draw_measured(panel, x, wd.means(wd.surviving(results, "slope")), wd.STYLES[0], "trained")
    panel.axhline(0, color="0.6", linewidth=0.7)
    wd.axis_from_zero(panel, x[1], x[-1])
    panel.set_xlabel(r"$\lambda$")
    panel.set(title="a negative slope: shrunk, of the same sign", ylabel="slope")
