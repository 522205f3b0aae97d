"""Why is the L2 term always added to the cost, whatever the sign of a weight, and what if it were added to the weights?

python -m experiments.article.update_rule

python -m experiments.article.update_rule --seeds 4 --steps 300     # wider intervals

The rule is descent on C = C0 + lambda/(2n) sum w^2, hence w <- (1 - eta lambda/n) w - eta dC0/dw. The formula of the
question is new = w * update + lambda * sum w^2, taken literally, and read kindly as w - eta dC0/dw + lambda * sum w^2.

Expected (31 s on 2 CPU cores; 576 models in two programs, 496 of them nets on digits, and four arms that are computed):
the rule is exact to 0.5 of a rounding of float32 and to 2.5e-5 of a step; its first part pulls all weights toward zero,
its second 7 to 35 % of them. A line of slope -2.09 is fitted with -2.06, -1.86, -0.98, -0.18 as lambda goes from 0.2 to
200, for no seed above 0. The formula, read kindly, raises weights of both signs, by the one number that algebra gives;
beyond a critical lambda it diverges, on digits from 1e-5 on. Literally it leaves all weights at 0 and 10 % right. The
tuned rule is 11.7 [10.5, 12.9] and 77 [76, 78] points more accurate than the tuned readings. Sixteen conventions give
one trajectory, to 1e-15 in double precision. (Tried in float32, that claim stayed undecided, because of one seed.)
Outlying inputs move the logits less with every larger decay, at lambda = 20 by a factor of 7 for one pixel and 5 for a
scaled input. Two claims fail, both by scaled inputs only: these move the probabilities more with decay than without
(.106 to .372 at lambda = 20), whose predictions are less certain to begin with, and the class more often, 2.9 to 4.9 %,
at lambda = 60 14 %. The other 18 claims hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.article.setting import BATCH_SIZE, WIDTH, digits_task
from wd_research.decay.units import Setting, convert

EVALUATIONS = 4
OUTLIER = 10.0  # standard deviations of a pixel
SCALE = 3.0  # of a whole input
DRAWN = 12  # weights whose pulls are drawn
FOLLOWED = 200  # steps in which two forms, or all conventions, are compared

# A line of negative slope
SLOPE, INTERCEPT, POINTS = -2.0, 3.0, 20
LINE_DECAYS = (0.0, 0.2, 2.0, 20.0, 200.0)  # up to ten times the number of points

# A separable cost sum_i (w_i - m_i)^2 / 2, whose minimum is known
WEIGHTS, RATE, STEPS = 20, 0.1, 1_000
CRITICAL_SHARES = (0.25, 0.5, 0.9, 1.1, 2.0)  # of the number beyond which the formula has no fixed point
GONE = 1e3  # where weights that diverge are stopped


class Hypers(NamedTuple):
    """The hyperparameters of a net, or of a line."""

    decay: wd.Array  # f32[], lambda of the rule: of lambda/(2n) sum w^2 in the cost
    number: wd.Array  # f32[], lambda of the formula: lambda sum w^2 is added to every weight
    literal: wd.Array  # f32[], 1 where the formula is taken literally, else 0
    learning_rate: wd.Array  # f32[], eta


class Links(NamedTuple):
    """The rates of decay at every place of an optimizer; a convention sets one, the others are 0."""

    in_loss: wd.Number  # f64[], the strength of sum w^2 / 2 in the loss
    coupled: wd.Number  # f64[], rates of decay, named by their places
    decoupled: wd.Number
    independent: wd.Number
    constant: wd.Number
    learning_rate: wd.Number


class Separable(NamedTuple):
    """The hyperparameter of the separable cost."""

    share: np.ndarray  # of the critical number


def experiment(
    *,
    decays: tuple[float, ...] = (0.0, 0.2, 0.6, 2.0, 6.0, 12.0, 20.0, 60.0),
    numbers: tuple[float, ...] = (0.0, 1e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-4),
    convention: float = 6.0,
    learning_rate: float = 0.2,
    seeds: int = 16,
    steps: int = 600,
    train_size: int = 200,
    label_noise: float = 0.2,
) -> wd.Experiment:
    """Gradient descent on all training digits by the rule and by the question's formula, and cases with known answers.

    Args:
        decays: Lambda of the rule, by the cost C0 + lambda/(2n) sum w^2; 0 among them.
        numbers: Lambda of the question's formula, which adds lambda sum w^2 to every weight; 0 among them.
        convention: The lambda of the rule that is converted to every other convention.
        learning_rate: Eta, constant.
        seeds: Each has its own split, label noise, initial weights, and its own line.
        steps: Steps of gradient descent.
        train_size: Training examples n of the 1,797 digits.
        label_noise: Share of the training labels that are made wrong.
    """
    wd.flags.decays(decays=decays, numbers=numbers)
    wd.flags.positive(convention=(convention,), learning_rate=(learning_rate,))
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    net = wd.Mlp((WIDTH,), 10)
    task = observed(digits_task(net, train_size, label_noise, train_size))
    check_grids(decays, numbers, convention, learning_rate, train_size)
    few, batch_size = min(steps, FOLLOWED), min(BATCH_SIZE, train_size)
    conventions = converted(convention, learning_rate, few, batch_size, train_size)
    points = partial(wd.grid, Hypers, learning_rate=(learning_rate,))
    rule = wd.Arm(task, descent, points(decay=sorted(decays)), axis="decay", objective=cost(task, train_size))
    kind, literal = (
        replace(rule, points=points(number=sorted(numbers), literal=(reading,)), axis="number") for reading in (0, 1)
    )
    in_batches = digits_task(net, train_size, label_noise, batch_size)
    return wd.Experiment(
        arms={
            "rule": rule,
            "formula, kindly": kind,
            "formula, literally": literal,
            "two forms": two_forms(rule, train_size, few),
            "line, trained": line(),
            "line, solved": solved_line(),
            "separable cost": separable_cost,
            "conventions": side_by_side(in_batches, few, list(conventions.values())),
        },
        seeds=seeds,
        steps=steps,
        evaluations=EVALUATIONS,
        claims=claims(list(conventions)),
        figures=lambda arms: {"update_rule": figure(arms)},
        answer=wd.by_verdicts,
    )


def check_grids(
    decays: Sequence[float], numbers: Sequence[float], convention: float, learning_rate: float, train_size: int
) -> None:
    """Raise UserError unless there is something to compare and no decay alone changes the sign of a weight."""
    for name, values in (("--decays", decays), ("--numbers", numbers)):
        if len(values) < 2:
            raise wd.UserError(f"{name} holds 0 alone: give a number above 0 as well, 0 is what it is compared with")
    for name, largest in (("--decays", max(decays)), ("--convention", convention)):
        if learning_rate * largest >= train_size:
            raise wd.UserError(
                f"{name} {largest:g} times --learning-rate {learning_rate:g} is {train_size} training examples or "
                "more, so that 1 - eta lambda/n is no factor between 0 and 1: give less"
            )


# The rule and the formula

Reading = Callable[[Any, Any, Any], Any]


def by_rule(decay: Any, weight: Any, step: Any) -> Any:
    """(1 - decay) w + step, where step = -eta dC0/dw and decay = eta lambda/n."""
    return (1 - decay) * weight + step


def kindly(added: Any, weight: Any, step: Any) -> Any:
    """The question's formula with "update" as a step that is added: w + step + added, added = lambda sum w^2."""
    return weight + step + added


def literally(added: Any, weight: Any, step: Any) -> Any:
    """The question's formula as it stands, new = w * update + lambda sum w^2: w * step + added."""
    return weight * step + added


def cost(task: wd.Task, examples: int) -> Callable[[Hypers], wd.Loss]:
    """C = C0 + lambda/(2n) sum w^2, biases left out."""
    return lambda hypers: wd.penalized(task.loss(hypers), wd.l2, hypers.decay / examples)


def descent(hypers: Hypers) -> optax.GradientTransformation:
    """Gradient descent, by a reading of the formula where `number` or `literal` is not 0.

    The formula is for matrices, and over their sum of squares; biases take the plain step.
    """

    def update(gradients: wd.Params, params: wd.Params | None) -> wd.Params:
        added = hypers.number * 2 * wd.l2(params)

        def of_leaf(is_weight: bool, gradient: wd.Array, weight: wd.Array) -> wd.Array:
            step = -hypers.learning_rate * gradient
            if not is_weight:
                return step
            # What is added to w; read kindly, without going through w + step, which would round.
            return jnp.where(hypers.literal > 0, literally(added, weight, step) - weight, step + added)

        return jax.tree.map(of_leaf, wd.matrices(params), gradients, params)

    return optax.stateless(update)


# The digits: what is measured of a net


def observed(task: wd.Task) -> wd.Task:
    """The task with measurements of the weights, and of how outlying inputs move the output."""
    started = wd.with_start(task)
    predict: Any = started.predict

    def of_weights(params: wd.Params, extras: wd.Extras) -> wd.Metrics:
        return {**displacement(wd.entries(params), wd.entries(extras["start"])), **pulls(params)}

    def of_outputs(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
        return moved(lambda inputs: predict(params, extras, inputs), jnp.asarray(batch.inputs))

    return wd.with_metrics(started, of_outputs)._replace(measure=of_weights)


def displacement(weights: wd.Array, start: wd.Array) -> wd.Metrics:
    """The mean change of the weights f32[k] that began above 0 and below it, and the share of the norm that is left."""
    change = weights - start
    return {
        "rise_of_positive": jnp.mean(change, where=start > 0),
        "rise_of_negative": jnp.mean(change, where=start < 0),
        "left": jnp.linalg.norm(weights) / jnp.linalg.norm(start),
    }


def pulls(params: wd.Params) -> wd.Metrics:
    """The slope of log pull in log |w| for both penalties, over weights that are not 0, and DRAWN weights' pulls.

    The pull is |grad penalty(w)|, by jax.grad of the library's own penalties.
    """
    size, metrics = jnp.abs(wd.entries(params)), {}
    chosen = np.linspace(0, len(size) - 1, DRAWN).round().astype(int)
    for name, penalty in (("l2", wd.l2), ("l1", wd.l1)):
        pull = jnp.abs(wd.entries(jax.grad(penalty)(params)))
        metrics[f"slope_{name}"] = log_slope(size, pull)
        metrics |= {f"pull_{name}_{k}": pull[weight] for k, weight in enumerate(chosen)}
    return metrics | {f"size_{k}": size[weight] for k, weight in enumerate(chosen)}


def log_slope(x: wd.Array, y: wd.Array) -> wd.Array:
    """The least-squares slope of log y in log x over the entries with x > 0, f32[k], f32[k] -> f32[]."""
    there = x > 0
    x, y = (jnp.log(jnp.where(there, values, 1.0)) for values in (x, y))
    x, y = (jnp.where(there, values - jnp.mean(values, where=there), 0.0) for values in (x, y))
    return jnp.sum(x * y) / jnp.sum(x * x)


def moved(logits: Callable[[wd.Array], wd.Array], inputs: wd.Array) -> wd.Metrics:
    """How far outlying inputs move the output, averaged over inputs f32[b, d].

    "pixel": one pixel, another one in each image, is OUTLIER standard deviations higher; "scaled": the whole input is
    SCALE times as large. The output is the logits (Euclidean distance), the probabilities (half the sum of absolute
    differences), or the class (share that changes).
    """
    count, width = inputs.shape
    corrupted = {
        "pixel": inputs + OUTLIER * jax.nn.one_hot(jnp.arange(count) % width, width),
        "scaled": SCALE * inputs,
    }
    before, metrics = logits(inputs), {}
    for name, outlying in corrupted.items():
        after = logits(outlying)
        shift = jax.nn.softmax(after) - jax.nn.softmax(before)
        metrics[f"{name}_logits"] = jnp.mean(jnp.linalg.norm(after - before, axis=-1))
        metrics[f"{name}_probabilities"] = jnp.mean(jnp.sum(jnp.abs(shift), axis=-1)) / 2
        metrics[f"{name}_class"] = jnp.mean(after.argmax(-1) != before.argmax(-1), dtype=before.dtype)
    return metrics


# Two forms of one step


def two_forms(arm: wd.Arm, examples: int, steps: int) -> wd.ComputedArm:
    """Along the rule's path, each step by the gradient of the whole cost and by (1 - eta lambda/n) w - eta dC0/dw.

    "rounding": the largest distance of the two results, in units of 2^-23 (|w| + |both parts of the step|). "relative":
    the same over |both parts of the step|. "decay_inward" and "data_inward_positive", "..._negative": the mean share
    of the weights that a part of the step moves toward zero.
    """

    def of_member(data: wd.Examples, split: wd.Split, hypers: Hypers, key: wd.Key) -> wd.Metrics:
        batch = arm.task.gather(data, split, jnp.arange(examples))
        slope = jax.grad(lambda params, extras: arm.task.loss(hypers)(params, extras, batch, key)[0])

        def step(carry: tuple[wd.State, wd.Metrics, wd.Metrics], nothing: None):
            state, largest, total = carry
            after, _ = wd.train_step(arm, hypers, state, batch, key)
            weights = wd.entries(state.params)
            push = -hypers.learning_rate * wd.entries(slope(state.params, state.extras))
            decay = -hypers.learning_rate * hypers.decay / examples
            distance = jnp.linalg.norm(wd.entries(after.params) - by_rule(-decay, weights, push))
            parts = jnp.linalg.norm(decay * weights) + jnp.linalg.norm(push)
            seen = {
                "rounding": distance / (2.0**-23 * (jnp.linalg.norm(weights) + parts)),
                "relative": distance / parts,
            }
            shares = {
                "decay_inward": jnp.mean(decay * weights * weights < 0, dtype=jnp.float32),
                "data_inward_positive": jnp.mean(push < 0, where=weights > 0, dtype=jnp.float32),
                "data_inward_negative": jnp.mean(push > 0, where=weights < 0, dtype=jnp.float32),
            }
            return (after, jax.tree.map(jnp.maximum, largest, seen), jax.tree.map(jnp.add, total, shares)), None

        largest = dict.fromkeys(("rounding", "relative"), jnp.zeros(()))
        total = dict.fromkeys(("decay_inward", "data_inward_positive", "data_inward_negative"), jnp.zeros(()))
        (_, largest, total), _ = jax.lax.scan(step, (wd.init_state(arm, hypers, key), largest, total), length=steps)
        return largest | jax.tree.map(lambda share: share / steps, total)

    return lambda seeds: wd.labelled(arm.points, arm.axis, steps, over_members(arm, of_member, seeds))


def over_members(arm: wd.Arm, of_member: Callable[..., wd.Metrics], seeds: int) -> dict[str, np.ndarray]:
    """A function of (data, split, hypers, key) at every seed and point of an arm; f32[s, h] each."""
    compiled = jax.jit(jax.vmap(of_member, in_axes=(None, None, 0, None)))
    rows = [compiled(arm.task.data, arm.task.split(seed), arm.points, jax.random.key(seed)) for seed in range(seeds)]
    return jax.tree.map(lambda *columns: np.stack(columns), *rows)


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


# Every convention


def converted(decay: float, learning_rate: float, steps: int, batch_size: int, examples: int) -> dict[str, Links]:
    """Conventions by name, each with the rate that it defines, its number being that of `convert`.

    `decay` is the lambda of lambda/(2n) sum w^2.
    """
    b, n, epochs = batch_size, examples, steps * batch_size / examples
    setting = Setting(learning_rate, steps, optimizer="sgd", batch_size=b, examples=n)
    definitions: dict[str, tuple[str, Callable[[float], float]]] = {
        "l2-per-example": ("in_loss", lambda x: x / n),
        "l2-half": ("in_loss", lambda x: x),
        "l2": ("in_loss", lambda x: 2 * x),
        "sklearn-mlp": ("in_loss", lambda x: x / b),
        "keras-l2": ("in_loss", lambda x: 2 * x),
        "torch-coupled": ("coupled", lambda x: x),
        "torch-adamw": ("decoupled", lambda x: x),
        "keras-optimizer": ("decoupled", lambda x: x),
        "big-vision": ("independent", lambda x: x),
        "composer": ("independent", lambda x: x),
        "loshchilov-hutter": ("independent", lambda x: x),
        "lambda-norm": ("independent", lambda x: x * (b / (n * epochs)) ** 0.5),
        "time-scale-steps": ("independent", lambda x: 1 / x),
        "time-scale-epochs": ("independent", lambda x: b / (n * x)),
        "half-life": ("independent", lambda x: 1 - 0.5 ** (1 / x)),
        "constant": ("constant", lambda x: x),
    }
    off = Links(0.0, 0.0, 0.0, 0.0, 0.0, learning_rate)
    return {
        name: off._replace(**{place: number(convert(decay, "l2-per-example", name, setting))})
        for name, (place, number) in definitions.items()
    }


def all_places(links: Links) -> optax.GradientTransformation:
    """Gradient descent with a decay at each place; `wd_research.decay.places` has them one at a time."""
    return optax.chain(
        wd.decay_weights(links.coupled),
        wd.decay_weights(links.decoupled),
        optax.scale(links.learning_rate),
        wd.decay_weights(links.independent),
        optax.scale_by_schedule(optax.constant_schedule(1.0)),
        wd.decay_weights(links.constant),
        optax.scale(-1.0),
    )


def side_by_side(task: wd.Task, steps: int, conventions: Sequence[Links]) -> wd.ComputedArm:
    """The same net on the same batches under every convention, and once more without decay; in double precision.

    "apart": the largest distance over the steps from the weights of the first convention, over the distance of those
    from their start. In float32 a ReLU can make two trajectories diverge that differ by a rounding.
    """
    off = conventions[0]._replace(in_loss=0.0)
    points = jax.tree.map(lambda *column: np.array(column), *conventions, off)

    def init(key: wd.Key) -> tuple[wd.Params, wd.Extras]:
        params, extras = task.init(key)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params), extras

    def objective(links: Links) -> wd.Loss:
        return wd.penalized(task.loss(links), wd.l2, links.in_loss)

    arm = wd.Arm(task._replace(init=init), all_places, points, axis="learning_rate", objective=objective)

    @jax.jit
    def of_seed(points: Links, data: wd.Examples, split: wd.Split, key: wd.Key) -> wd.Array:
        start = jax.vmap(lambda links: wd.init_state(arm, links, key))(points)
        origin = jax.vmap(wd.entries)(start.params)[0]

        def step(carry: tuple[wd.State, wd.Array], indices: wd.Array):
            batch = task.gather(data, split, indices)
            after, _ = jax.vmap(lambda links, state: wd.train_step(arm, links, state, batch, key))(points, carry[0])
            weights = jax.vmap(wd.entries)(after.params)
            apart = jnp.linalg.norm(weights - weights[0], axis=-1) / jnp.linalg.norm(weights[0] - origin)
            return (after, jnp.maximum(carry[1], apart)), None

        order = task.order(jax.random.fold_in(key, 1), jnp.int32(0), steps)
        return jax.lax.scan(step, (start, jnp.zeros(len(conventions) + 1)), order)[0][1]

    def measured(seeds: int) -> wd.Results:
        with jax.enable_x64(True):
            rows = [of_seed(points, task.data, task.split(seed), jax.random.key(seed)) for seed in range(seeds)]
            return wd.labelled(points, arm.axis, steps, {"apart": np.stack(rows)})

    return measured


# What is measured

Arms = Mapping[str, wd.Results]


def cells(
    results: wd.Results, values: np.ndarray, prefix: str = "", among: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """A cell for each value of the axis, or for those of the mask bool[h], from f64[s, h]."""
    axis = results[results.attrs["axis"]].to_numpy().astype(float)
    kept = np.flatnonzero(np.ones(len(axis), bool) if among is None else among)
    return {f"{prefix}lambda = {axis[k]:.3g}": values[:, k] for k in kept}


def decayed(results: wd.Results) -> np.ndarray:
    """The points with decay; bool[h]."""
    return ~wd.has_value(results, 0)


def at_every(arm: str, names: Mapping[str, str], only_decayed: bool = False) -> Callable[[Arms], dict[str, np.ndarray]]:
    """Metrics of an arm at every decay, from a prefix of the cell to the metric."""

    def measure(arms: Arms) -> dict[str, np.ndarray]:
        among = decayed(arms[arm]) if only_decayed else None
        found = {}
        for prefix, name in names.items():
            found |= cells(arms[arm], wd.final(arms[arm], name), prefix, among)
        return found

    return measure


def against_none(arm: str, names: Mapping[str, str]) -> Callable[[Arms], dict[str, np.ndarray]]:
    """Differences of metrics between every decay and none; points at which any seed has diverged are left out."""

    def measure(arms: Arms) -> dict[str, np.ndarray]:
        results, found = arms[arm], {}
        for prefix, name in names.items():
            values = wd.surviving(results, name)
            among = decayed(results) & np.isfinite(values).all(axis=0)
            found |= cells(results, values - values[:, wd.has_value(results, 0)], prefix, among)
        return found

    return measure


def between_neighbours(arms: Arms) -> dict[str, np.ndarray]:
    """By how much more outlying inputs move the logits than at the next smaller decay."""
    results, found = arms["rule"], {}
    axis = results["decay"].to_numpy()
    for kind in ("pixel", "scaled"):
        values = wd.final(results, f"test_{kind}_logits")
        for low, high in pairwise(range(len(axis))):
            found[f"{kind}: lambda = {axis[low]:.3g} to {axis[high]:.3g}"] = values[:, high] - values[:, low]
    return found


def negative(arms: Arms) -> dict[str, np.ndarray]:
    """The share of the trained lines whose slope is below 0."""
    results = arms["line, trained"]
    return cells(results, (wd.surviving(results, "slope") < 0).astype(float))


def shrunk(arms: Arms) -> dict[str, np.ndarray]:
    """By how much a trained slope is smaller in magnitude than at the next smaller decay."""
    size = np.abs(wd.surviving(arms["line, trained"], "slope"))
    return cells(arms["line, trained"], -np.diff(size, axis=1, prepend=np.nan), among=np.array(LINE_DECAYS) > 0)


def against_closed_form(arms: Arms) -> dict[str, np.ndarray]:
    """The trained slope over the solved one."""
    trained, solved = (wd.surviving(arms[name], "slope") for name in ("line, trained", "line, solved"))
    return cells(arms["line, trained"], trained / solved)


def of_separable(names: Sequence[str], below: bool) -> Callable[[Arms], dict[str, np.ndarray]]:
    """Metrics of the separable cost, below the critical number or beyond it."""

    def measure(arms: Arms) -> dict[str, np.ndarray]:
        return {
            f"{name.replace('_', ' ')}, {share:g} of the critical number": wd.final(arms["separable cost"], name)[:, k]
            for name in names
            for k, share in enumerate(CRITICAL_SHARES)
            if (share < 1) == below
        }

    return measure


def worse_than_the_rule(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between the rule, its lambda above 0, and each reading of the formula, tuned."""
    rule = wd.tuned(arms["rule"], "test_accuracy", decayed(arms["rule"]))
    formulas = {name: results for name, results in arms.items() if name.startswith("formula")}
    return {name: rule - wd.tuned(results, "test_accuracy") for name, results in formulas.items()}


def left_literally(arms: Arms) -> dict[str, np.ndarray]:
    """The share of the norm of the weights that the literal reading leaves."""
    digits_left = at_every("formula, literally", {"digits, ": "left"})(arms)
    return digits_left | of_separable(["literally_left"], below=True)(arms)


def conventions_apart(names: Sequence[str], arms: Arms) -> dict[str, np.ndarray]:
    """How far each convention's weights are from those under lambda/(2n)."""
    apart = wd.final(arms["conventions"], "apart")
    return {name: apart[:, k] for k, name in enumerate(names) if k > 0}


def claims(conventions: Sequence[str]) -> tuple[wd.Claim, ...]:
    """What the question says, as claims."""
    question = "a question about the update rule of L2"
    signs = {"began positive, ": "rise_of_positive", "began negative, ": "rise_of_negative"}
    rule = "w <- (1 - eta lambda/n) w - eta dC0/dw"
    sloping = "fitting a line of negative slope needs a negative weight"
    asked = "new = w * update + lambda * sum w^2"
    outlying = "small weights mean that the output changes little under outlying inputs"
    above, below, zero, one = (0.0, np.inf), (-np.inf, 0.0), (-0.001, 0.001), (0.999, 1.001)
    rows = (
        ("D1-exact", "Descent on the cost is the rule, at every step (distance of the two, in roundings).",
         rule, at_every("two forms", {"": "rounding"}), (-np.inf, 2.0)),
        ("D1-exact-by-the-step", "The two forms of a step differ by less than 1e-4 of it.",
         rule, at_every("two forms", {"": "relative"}), (-np.inf, 1e-4)),
        ("D1-decay-inward", "The first part of the rule pulls every weight toward zero (share of the weights).",
         "the first part always pulls toward zero, for either sign",
         at_every("two forms", {"": "decay_inward"}, only_decayed=True), one),
        ("D1-data-either-way", "The second part pulls some weights of either sign toward zero, some away (share).",
         "the second part can point either way",
         at_every("two forms", {"positive, ": "data_inward_positive", "negative, ": "data_inward_negative"}),
         (0.05, 0.95)),
        ("D2-negative", "A negative slope is found and keeps its sign (share of the lines).", sloping, negative, one),
        ("D2-shrunk", "Each larger decay makes the slope smaller in magnitude (by how much).", sloping, shrunk, above),
        ("D2-closed-form", "The slope is Sxy / (Sxx + lambda) (ratio).", sloping, against_closed_form, one),
        ("D3-both-signs-rise", "The formula, read kindly, raises weights of either sign on digits (mean change).",
         asked, against_none("formula, kindly", signs), above),
        ("D3-rule-lowers-positive", "The rule lowers the weights that began above zero (mean change).",
         rule, against_none("rule", {key: name for key, name in signs.items() if "positive" in name}), below),
        ("D3-rule-raises-negative", "The rule raises the weights that began below zero (mean change).",
         rule, against_none("rule", {key: name for key, name in signs.items() if "negative" in name}), above),
        ("D3-as-solved", "Read kindly it moves weights of either sign by one positive number (shift / solved).",
         asked, of_separable(["shift_of_positive", "shift_of_negative"], below=True), one),
        ("D3-diverges", "Read kindly it has no fixed point beyond the critical lambda (share that diverges).",
         asked, of_separable(["diverges"], below=False), one),
        ("D3-literally-forgets", "Taken literally it drives all weights to zero (share of their size left).",
         asked, left_literally, (-np.inf, 1e-3)),
        ("D3-worse", "Tuned, either reading is less accurate than the tuned rule (test accuracy lost).",
         asked, worse_than_the_rule, above),
        ("D4-converts", "Every convention gives the same trajectory (distance / distance from the start).",
         "C = C0 + lambda/(2n) sum w^2", partial(conventions_apart, conventions), (-np.inf, 1e-9)),
        ("D5-output", "Each larger decay lets outlying inputs move the logits less (change of the distance).",
         outlying, between_neighbours, below),
        ("D5-probabilities", "With decay outlying inputs move the probabilities less than without.",
         outlying, against_none("rule", of_outliers("probabilities")), below),
        ("D5-class", "With decay outlying inputs change the class less often than without (share).",
         outlying, against_none("rule", of_outliers("class")), below),
        ("D6-l2", "The pull of L2 is in proportion to the size of a weight (slope of the logarithms).",
         "large weights are punished more than small ones", at_every("rule", {"": "slope_l2"}), one),
        ("D6-l1", "The pull of L1 is the same at every size (slope of the logarithms).",
         "the pull of L1 is constant", at_every("rule", {"": "slope_l1"}), zero),
    )  # fmt: skip
    return tuple(
        wd.Claim(row, statement, f"{question}: {said}", measure, expected, wd.everywhere)
        for row, statement, said, measure, expected in rows
    )


def of_outliers(output: str) -> dict[str, str]:
    """The metrics of how outlying inputs move one kind of output, by prefixes of their cells."""
    return {f"{kind}, ": f"test_{kind}_{output}" for kind in ("pixel", "scaled")}


# What is drawn


def figure(arms: Arms) -> wd.Figure:
    """Two weights under the rule and the formula; the line; the pulls; outlying inputs."""
    drawing, panels = wd.panel_grid(2, 2, width=4.4, height=3.3, share=False)
    draw_paths(panels[0, 0])
    draw_line_slopes(panels[0, 1], arms)
    draw_outliers(panels[1, 0], arms["rule"])
    draw_pulls(panels[1, 1], arms["rule"])
    for panel in panels.flat:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    return drawing


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


def draw_outliers(panel: wd.Axes, results: wd.Results) -> None:
    """How far outlying inputs move logits and probabilities over decay, relative to no decay."""
    x = results["decay"].to_numpy().astype(float)
    kinds = [(kind, output) for output in ("logits", "probabilities") for kind in ("pixel", "scaled")]
    for (kind, output), style in zip(kinds, wd.STYLES, strict=False):
        values = wd.surviving(results, f"test_{kind}_{output}")
        values = values / values[:, 0].mean()
        wd.draw_measured(
            panel, x, wd.means(values), style, f"{output}, {'one pixel' if kind == 'pixel' else 'scaled input'}"
        )
        panel.plot(x, values.mean(axis=0), color=style.color, linestyle=style.dashes, linewidth=1)
    wd.axis_from_zero(panel, x[1], x[-1])
    panel.set_xlabel(r"$\lambda$")
    panel.set(title="outlying inputs, digits", ylabel="change of output, 1 = no decay", yscale="log")
    panel.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    panel.yaxis.minorticks_off()


def draw_pulls(panel: wd.Axes, results: wd.Results) -> None:
    """The pull of both penalties on some weights of a trained net, without decay."""
    net = results.isel(seed=0, point=0, step=-1)
    sizes = np.array([float(net[f"size_{k}"]) for k in range(DRAWN)])
    order = sizes.argsort()
    for name, style in zip(("l2", "l1"), wd.STYLES, strict=False):
        pull = np.array([float(net[f"pull_{name}_{k}"]) for k in range(DRAWN)])
        panel.loglog(sizes[order], pull[order], marker=style.marker, color=style.color, linestyle=style.dashes,
                     markersize=4, linewidth=1,
                     label=f"{name.upper()}, slope {float(net[f'slope_{name}']):.3f}")  # fmt: skip
    panel.xaxis.set_minor_formatter("")
    panel.yaxis.set_minor_formatter("")
    panel.set(title=f"the pull on {DRAWN} trained weights", xlabel="|w|", ylabel="|gradient of the penalty|")


if __name__ == "__main__":
    wd.main(experiment)
