"""Why is the L2 term always added to the cost, whatever the sign of a weight, and what if it were added to the weights?

python -m experiments.article.update_rule

python -m experiments.article.update_rule --seeds 4 --steps 300     # wider intervals

The rule is descent on C = C0 + lambda/(2n) sum w^2, hence w <- (1 - eta lambda/n) w - eta dC0/dw. The formula of the
question is new = w * update + lambda * sum w^2, taken literally, and read kindly as w - eta dC0/dw + lambda * sum w^2.

Expected (65 s on 2 CPU cores; 464 members in two programs, 384 of them on digits, and four arms that are computed): the
rule is exact to 0.5 of a rounding of float32 and to 2.5e-5 of a step; its first part pulls all weights toward zero, its
second 7 to 35 % of them. A line of slope -2.09 is fitted with -2.06, -1.86, -0.98, -0.18 as lambda goes from 0.2 to
200, for no seed above 0. The formula, read kindly, raises weights of both signs, by the one number that algebra gives;
beyond a critical lambda it diverges, on digits from 1e-5 on. Literally it leaves all weights at 0 and 10 % right. The
tuned rule is 11.7 [10.6, 12.8] and 76 points more accurate than the tuned readings. All 16 conventions give one
trajectory, to 1e-15 in double precision. (That claim was first tried in float32, within 1e-4, and stayed undecided: 15
of 16 seeds agree to 2e-7, one parts by 3e-3 of the way.)
Outlying inputs move the logits less with every larger decay, at lambda = 20 by a factor of 7 for one pixel and 5 for a
scaled input. Two claims fail, both by scaled inputs only: these move the probabilities more with decay than without
(.106 to .372 at lambda = 20), whose answers are less certain to begin with, and the class more often, 2.9 to 4.9 %.
The other 18 claims hold.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research import checks
from wd_research.cli import main
from wd_research.decay.masks import entries, matrices
from wd_research.decay.penalties import l1, l2, penalized
from wd_research.decay.transforms import decay_weights
from wd_research.decay.units import Setting, convert
from wd_research.evidence.answer import by_verdicts, final, has_value, surviving, tuned
from wd_research.evidence.claims import Cell, Claim, does
from wd_research.evidence.drawing import STYLES, axis_from_zero, draw_measured, means, panel_grid
from wd_research.experiment import Experiment
from wd_research.looks import labelled
from wd_research.search import grid
from wd_research.training.data import Examples, Split, check_sizes, digits, draw_split
from wd_research.training.models import Mlp
from wd_research.training.step import init_state, train_step
from wd_research.training.tasks import classification, remembering
from wd_research.types import (
    Arm,
    Array,
    Axes,
    Batch,
    Exact,
    Extras,
    Figure,
    Key,
    Loss,
    Metrics,
    Number,
    Params,
    Results,
    State,
    Task,
)

VALIDATION_SIZE = 400
WIDTH = 32
LOOKS = 4
BATCH_SIZE = 50  # of the conventions, some of which divide by it
OUTLIER = 10.0  # standard deviations of a pixel
SCALE = 3.0  # of a whole input
DRAWN = 12  # weights whose pulls are drawn
FOLLOWED = 200  # steps in which two forms, or all conventions, are compared

# A line of negative slope
SLOPE, INTERCEPT, POINTS = -2.0, 3.0, 20
LINE_DECAYS = (0.0, 0.2, 2.0, 20.0, 200.0)  # up to ten times the number of points

# Weights apart: a cost sum_i (w_i - m_i)^2 / 2 whose minimum is known
APART, APART_RATE, APART_STEPS = 20, 0.1, 1_000
CRITICAL_SHARES = (0.25, 0.5, 0.9, 1.1, 2.0)  # of the number beyond which the formula has no fixed point
GONE = 1e3  # where weights that leave are stopped


class Hypers(NamedTuple):
    """The numbers of a net, or of a line."""

    decay: Array  # f32[], lambda of the rule: of lambda/(2n) sum w^2 in the cost
    number: Array  # f32[], lambda of the formula: lambda sum w^2 is added to every weight
    literal: Array  # f32[], 1 where the formula is taken literally, else 0
    learning_rate: Array  # f32[], eta


class Links(NamedTuple):
    """What a convention sets in the one chain that all conventions share; the others are 0."""

    in_loss: Number  # f64[], the strength of sum w^2 / 2 in the loss
    coupled: Number  # f64[], rates of the links, named by their places
    decoupled: Number
    independent: Number
    constant: Number
    learning_rate: Number


class Apart(NamedTuple):
    """The numbers of the weights that do not touch each other."""

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
    flipped: float = 0.2,
) -> Experiment:
    """Gradient descent on all training digits by the rule and by the question's formula, and cases with known answers.

    Args:
        decays: Lambda of the rule, by the cost C0 + lambda/(2n) sum w^2; 0 among them.
        numbers: Lambda of the question's formula, which adds lambda sum w^2 to every weight; 0 among them.
        convention: The lambda of the rule that is converted to every other convention.
        learning_rate: Eta, constant.
        seeds: Each has its own split, flipped labels, initial weights, and its own line.
        steps: Steps of gradient descent.
        train_size: Training examples n of the 1,797 digits.
        flipped: Share of the training labels that are made wrong.
    """
    checks.decays(decays=decays, numbers=numbers)
    checks.positive(convention=(convention,), learning_rate=(learning_rate,))
    checks.counts(steps=steps)
    checks.seeds(seeds)
    examples = digits()
    check_sizes(examples, train_size, VALIDATION_SIZE, flipped)
    check_grids(decays, numbers, convention, learning_rate, train_size)
    few = min(steps, FOLLOWED)
    batch_size = min(BATCH_SIZE, train_size)
    conventions = converted(convention, learning_rate, few, batch_size, train_size)

    def split(seed: int) -> Split:
        return draw_split(examples, seed, train_size, VALIDATION_SIZE, flipped)

    net = Mlp((WIDTH,), 10)
    task = observed(net, classification(net, examples, split, train_size))
    in_batches = classification(net, examples, split, batch_size)
    points = partial(grid, Hypers, learning_rate=(learning_rate,))
    rule = Arm(
        task, cost(task, train_size), descent, points(decay=sorted(decays), number=(0,), literal=(0,)), axis="decay"
    )
    kind, literal = (
        rule._replace(points=points(decay=(0,), number=sorted(numbers), literal=(reading,)), axis="number")
        for reading in (0, 1)
    )
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={
            "rule": rule,
            "formula, kindly": kind,
            "formula, literally": literal,
            "two forms": two_forms(rule, train_size, few),
            "line, trained": line(),
            "line, solved": solved_line(),
            "weights apart": weights_apart,
            "conventions": side_by_side(in_batches, few, list(conventions.values())),
        },
        seeds=seeds,
        steps=steps,
        looks=LOOKS,
        claims=claims(list(conventions)),
        figures=lambda arms: {"update_rule": figure(arms)},
        answer=by_verdicts,
    )


def check_grids(
    decays: Sequence[float], numbers: Sequence[float], convention: float, learning_rate: float, train_size: int
) -> None:
    """Raise ValueError unless there is something to compare and no decay flips the weights by itself."""
    for name, values in (("--decays", decays), ("--numbers", numbers)):
        if len(values) < 2:
            raise ValueError(f"{name} holds 0 alone: give a number above 0 as well, 0 is what it is compared with")
    for name, largest in (("--decays", max(decays)), ("--convention", convention)):
        if learning_rate * largest >= train_size:
            raise ValueError(
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


def cost(task: Task, examples: int) -> Callable[[Hypers], Loss]:
    """C = C0 + lambda/(2n) sum w^2, biases left out."""
    return lambda hypers: penalized(task.loss(hypers), l2, hypers.decay / examples)


def descent(hypers: Hypers) -> optax.GradientTransformation:
    """Gradient descent, by a reading of the formula where `number` or `literal` is not 0.

    The formula is for matrices, and over their sum of squares; biases take the plain step.
    """

    def update(gradients: Params, params: Params | None) -> Params:
        added = hypers.number * 2 * l2(params)

        def of_leaf(is_weight: bool, gradient: Array, weight: Array) -> Array:
            step = -hypers.learning_rate * gradient
            if not is_weight:
                return step
            # What is added to w; read kindly, without going through w + step, which would round.
            return jnp.where(hypers.literal > 0, literally(added, weight, step) - weight, step + added)

        return jax.tree.map(of_leaf, matrices(params), gradients, params)

    return optax.stateless(update)


# The digits: what is measured of a net


def observed(net: Mlp, task: Task) -> Task:
    """A task that remembers its start, and measures the weights and what outlying inputs do to the output."""

    def measure(params: Params, start: Params, part: Batch) -> Metrics:
        def logits(inputs: Array) -> Any:
            return net.apply({"params": params}, inputs)

        outliers = moved(logits, jnp.asarray(part.inputs))
        return {**displacement(entries(params), entries(start)), **pulls(params), **outliers}

    return remembering(task, measure)


def displacement(weights: Array, start: Array) -> Metrics:
    """The mean change of the weights f32[k] that began above 0 and below it, and the share of the norm that is left."""
    change = weights - start
    return {
        "rise_of_positive": jnp.mean(change, where=start > 0),
        "rise_of_negative": jnp.mean(change, where=start < 0),
        "left": jnp.linalg.norm(weights) / jnp.linalg.norm(start),
    }


def pulls(params: Params) -> Metrics:
    """The slope of log pull in log |w| for both penalties, over weights that are not 0, and DRAWN weights' pulls.

    The pull is |grad penalty(w)|, by jax.grad of the library's own penalties.
    """
    size, metrics = jnp.abs(entries(params)), {}
    chosen = np.linspace(0, len(size) - 1, DRAWN).round().astype(int)
    for name, penalty in (("l2", l2), ("l1", l1)):
        pull = jnp.abs(entries(jax.grad(penalty)(params)))
        metrics[f"slope_{name}"] = log_slope(size, pull)
        metrics |= {f"pull_{name}_{k}": pull[weight] for k, weight in enumerate(chosen)}
    return metrics | {f"size_{k}": size[weight] for k, weight in enumerate(chosen)}


def log_slope(x: Array, y: Array) -> Array:
    """The least-squares slope of log y in log x over the entries with x > 0, f32[k], f32[k] -> f32[]."""
    there = x > 0
    x, y = (jnp.log(jnp.where(there, values, 1.0)) for values in (x, y))
    x, y = (jnp.where(there, values - jnp.mean(values, where=there), 0.0) for values in (x, y))
    return jnp.sum(x * y) / jnp.sum(x * x)


def moved(logits: Callable[[Array], Array], inputs: Array) -> Metrics:
    """How far outlying inputs move the output, on the mean over inputs f32[b, d].

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


def two_forms(arm: Arm, examples: int, steps: int) -> Exact:
    """Along the rule's path, each step by the gradient of the whole cost and by (1 - eta lambda/n) w - eta dC0/dw.

    "rounding": the largest distance of the two results, in units of 2^-23 (|w| + |both parts of the step|). "relative":
    the same over |both parts of the step|. "decay_inward" and "data_inward_positive", "..._negative": the mean share
    of the weights that a part of the step moves toward zero.
    """

    def of_member(data: Examples, split: Split, hypers: Hypers, key: Key) -> Metrics:
        batch = arm.task.gather(data, split, jnp.arange(examples))
        slope = jax.grad(lambda params, extras: arm.task.loss(hypers)(params, extras, batch, key)[0])

        def step(carry: tuple[State, Metrics, Metrics], nothing: None):
            state, largest, total = carry
            after, _ = train_step(arm, hypers, state, batch, key)
            weights, push = entries(state.params), -hypers.learning_rate * entries(slope(state.params, state.extras))
            decay = -hypers.learning_rate * hypers.decay / examples
            distance = jnp.linalg.norm(entries(after.params) - by_rule(-decay, weights, push))
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
        (_, largest, total), _ = jax.lax.scan(step, (init_state(arm, hypers, key), largest, total), length=steps)
        return largest | jax.tree.map(lambda share: share / steps, total)

    return lambda seeds: labelled(arm.points, arm.axis, steps, over_members(arm, of_member, seeds))


def over_members(arm: Arm, of_member: Callable[..., Metrics], seeds: int) -> dict[str, np.ndarray]:
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
    points = grid(Hypers, decay=LINE_DECAYS, number=(0,), literal=(0,), learning_rate=(0,))
    return points._replace(learning_rate=np.float32(1 / (6 + points.decay / POINTS)))


def line() -> Arm:
    """The line by gradient descent; the weight is a matrix and decays, the intercept is a bias and does not."""

    def loss(hypers: Hypers) -> Loss:
        def of_line(params: Params, extras: Extras, batch: Batch, key: Key):
            value = jnp.mean((batch.inputs @ params["kernel"] + params["bias"] - batch.targets[:, None]) ** 2) / 2
            return value, (extras, {"loss": value})

        return of_line

    task = Task(
        data=(),
        split=draw_line,
        init=lambda key: ({"kernel": jax.random.normal(key, (1, 1)), "bias": jnp.zeros(1)}, {}),
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, split, indices: Batch(*split),
        parts=lambda data, split: {"line": Batch(*split)},
        loss=loss,
        evaluate=lambda params, extras, part: {"slope": params["kernel"][0, 0]},
    )
    return Arm(task, cost(task, POINTS), descent, line_points(), axis="decay")


def solved_line() -> Exact:
    """The line in closed form: slope = Sxy / (Sxx + lambda), S being sums of products about the means."""

    def of_seed(seed: int) -> np.ndarray:
        x, y = (part - part.mean() for part in (draw_line(seed).inputs[:, 0], draw_line(seed).targets))
        return x @ y / (x @ x + np.array(LINE_DECAYS))

    return lambda seeds: labelled(
        line_points(), "decay", 0, {"line_slope": np.stack([of_seed(seed) for seed in range(seeds)])}
    )


# Weights that do not touch each other


def descend(reading: Reading, number: float, target: np.ndarray, steps: int) -> np.ndarray:
    """The path f64[t + 1, k] of w under C0 = sum (w - target)^2 / 2 from 0.1 target; stopped where it leaves.

    `number` is eta lambda/n of the rule, and lambda of the formula, which adds lambda sum w^2.
    """
    path = [0.1 * target]
    for _ in range(steps):
        weights = path[-1]
        if np.abs(weights).max() > GONE:
            path.append(weights)
            continue
        amount = number if reading is by_rule else number * np.sum(weights**2)
        path.append(reading(amount, weights, -APART_RATE * (weights - target)))
    return np.array(path)


def critical(target: np.ndarray) -> float:
    """Lambda of the formula, read kindly, beyond which no fixed point exists: eta / (2 (M1 + sqrt(k M2))).

    M1 and M2 are the sums of the targets and of their squares. At a fixed point every weight is its target plus the
    same d = lambda/eta sum w^2, hence a quadratic equation in d, which has no root beyond.
    """
    return APART_RATE / (2 * (target.sum() + np.sqrt(len(target) * np.sum(target**2))))


def common_shift(number: float, target: np.ndarray) -> float:
    """The d that the formula, read kindly, adds to every weight in the end; NaN beyond the critical number."""
    ratio, count = number / APART_RATE, len(target)
    linear = 1 - 2 * ratio * target.sum()
    inside = linear**2 - 4 * ratio**2 * count * np.sum(target**2)
    return float((linear - np.sqrt(inside)) / (2 * ratio * count)) if inside >= 0 else float("nan")


def draw_targets(seed: int) -> np.ndarray:
    """Targets m ~ N(0, 1), f64[k], as many above 0 as below."""
    sizes = np.abs(np.random.default_rng(seed).normal(size=APART))
    return sizes * np.resize([1, -1], APART)


def weights_apart(seeds: int) -> Results:
    """The formula on the weights that do not touch each other, at every share of the critical number.

    The shift of the weights with targets above 0 and below, in multiples of the solved d (1, 1 if it is as solved),
    whether they leave, and the largest weight that the literal reading leaves, over the largest target.
    """

    def of_member(seed: int, share: float) -> dict[str, float]:
        target = draw_targets(seed)
        number = share * critical(target)
        end = descend(kindly, number, target, APART_STEPS)[-1]
        shift, leaves = end - target, float(np.abs(end).max() > GONE)
        solved = common_shift(number, target)
        literal = descend(literally, number, target, APART_STEPS)[-1]
        return {
            "shift_of_positive": shift[target > 0].mean() / solved,
            "shift_of_negative": shift[target < 0].mean() / solved,
            "leaves": leaves,
            "literally_left": np.abs(literal).max() / np.abs(target).max(),
        }

    rows = [[of_member(seed, share) for share in CRITICAL_SHARES] for seed in range(seeds)]
    metrics = {name: np.array([[member[name] for member in row] for row in rows]) for name in rows[0][0]}
    return labelled(Apart(np.array(CRITICAL_SHARES)), "share", APART_STEPS, metrics)


# Every convention


def converted(decay: float, learning_rate: float, steps: int, batch_size: int, examples: int) -> dict[str, Links]:
    """Each convention's name and what its own definition sets in the chain, its number being that of `convert`.

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
    """Gradient descent with a decay at each place, as in `wd_research.decay.places` one at a time."""
    return optax.chain(
        decay_weights(links.coupled),
        decay_weights(links.decoupled),
        optax.scale(links.learning_rate),
        decay_weights(links.independent),
        optax.scale_by_schedule(optax.constant_schedule(1.0)),
        decay_weights(links.constant),
        optax.scale(-1.0),
    )


def side_by_side(task: Task, steps: int, conventions: Sequence[Links]) -> Exact:
    """The same net on the same batches under every convention, and once more without decay; in double precision.

    "apart": the largest distance over the steps from the weights of the first convention, over how far those have come
    from their start. In float32 a ReLU can part two trajectories that differ by a rounding.
    """
    off = conventions[0]._replace(in_loss=0.0)
    points = jax.tree.map(lambda *column: np.array(column), *conventions, off)

    def init(key: Key) -> tuple[Params, Extras]:
        params, extras = task.init(key)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params), extras

    def objective(links: Links) -> Loss:
        return penalized(task.loss(links), l2, links.in_loss)

    arm = Arm(task._replace(init=init), objective, all_places, points, axis="learning_rate")

    @jax.jit
    def of_seed(points: Links, data: Examples, split: Split, key: Key) -> Array:
        start = jax.vmap(lambda links: init_state(arm, links, key))(points)
        origin = jax.vmap(entries)(start.params)[0]

        def step(carry: tuple[State, Array], indices: Array):
            batch = task.gather(data, split, indices)
            after, _ = jax.vmap(lambda links, state: train_step(arm, links, state, batch, key))(points, carry[0])
            weights = jax.vmap(entries)(after.params)
            apart = jnp.linalg.norm(weights - weights[0], axis=-1) / jnp.linalg.norm(weights[0] - origin)
            return (after, jnp.maximum(carry[1], apart)), None

        order = task.order(jax.random.fold_in(key, 1), jnp.int32(0), steps)
        return jax.lax.scan(step, (start, jnp.zeros(len(conventions) + 1)), order)[0][1]

    def measured(seeds: int) -> Results:
        with jax.enable_x64(True):
            rows = [of_seed(points, task.data, task.split(seed), jax.random.key(seed)) for seed in range(seeds)]
            return labelled(points, arm.axis, steps, {"apart": np.stack(rows)})

    return measured


# What is measured

Arms = Mapping[str, Results]


def cells(results: Results, values: np.ndarray, prefix: str = "", among: np.ndarray | None = None) -> dict[str, Cell]:
    """A cell for each value of the axis, or for those of the mask bool[h], from f64[s, h]."""
    axis = results[results.attrs["axis"]].to_numpy().astype(float)
    kept = np.flatnonzero(np.ones(len(axis), bool) if among is None else among)
    return {f"{prefix}lambda = {axis[k]:.3g}": Cell(values[:, k]) for k in kept}


def decayed(results: Results) -> np.ndarray:
    """The points with decay; bool[h]."""
    return ~has_value(results, 0)


def at_every(arm: str, names: Mapping[str, str], only_decayed: bool = False) -> Callable[[Arms], dict[str, Cell]]:
    """Quantities of an arm at every decay; `names` are prefixes and the quantities they stand for."""

    def measure(arms: Arms) -> dict[str, Cell]:
        among = decayed(arms[arm]) if only_decayed else None
        found = {}
        for prefix, name in names.items():
            found |= cells(arms[arm], final(arms[arm], name), prefix, among)
        return found

    return measure


def against_none(arm: str, names: Mapping[str, str]) -> Callable[[Arms], dict[str, Cell]]:
    """Quantities of an arm at every decay, above those without; points at which any seed has diverged are left out."""

    def measure(arms: Arms) -> dict[str, Cell]:
        results, found = arms[arm], {}
        for prefix, name in names.items():
            values = surviving(results, name)
            among = decayed(results) & np.isfinite(values).all(axis=0)
            found |= cells(results, values - values[:, has_value(results, 0)], prefix, among)
        return found

    return measure


def between_neighbours(arms: Arms) -> dict[str, Cell]:
    """By how much the logits move more under outlying inputs than at the next smaller decay."""
    results, found = arms["rule"], {}
    axis = results["decay"].to_numpy()
    for kind in ("pixel", "scaled"):
        values = final(results, f"test_{kind}_logits")
        for low, high in pairwise(range(len(axis))):
            found[f"{kind}: lambda = {axis[low]:.3g} to {axis[high]:.3g}"] = Cell(values[:, high] - values[:, low])
    return found


def negative(arms: Arms) -> dict[str, Cell]:
    """The share of the trained lines whose slope is below 0."""
    results = arms["line, trained"]
    return cells(results, (surviving(results, "line_slope") < 0).astype(float))


def shrunk(arms: Arms) -> dict[str, Cell]:
    """By how much a trained slope is smaller in size than at the next smaller decay."""
    size = np.abs(surviving(arms["line, trained"], "line_slope"))
    return cells(arms["line, trained"], -np.diff(size, axis=1, prepend=np.nan), among=np.array(LINE_DECAYS) > 0)


def against_closed_form(arms: Arms) -> dict[str, Cell]:
    """The trained slope over the solved one."""
    trained, solved = (surviving(arms[name], "line_slope") for name in ("line, trained", "line, solved"))
    return cells(arms["line, trained"], trained / solved)


def of_apart(names: Sequence[str], below: bool) -> Callable[[Arms], dict[str, Cell]]:
    """Quantities of the weights that do not touch each other, below the critical number or beyond it."""

    def measure(arms: Arms) -> dict[str, Cell]:
        return {
            f"{name.replace('_', ' ')}, {share:g} of the critical number": Cell(
                final(arms["weights apart"], name)[:, k]
            )
            for name in names
            for k, share in enumerate(CRITICAL_SHARES)
            if (share < 1) == below
        }

    return measure


def worse_than_the_rule(arms: Arms) -> dict[str, Cell]:
    """The test accuracy of the tuned rule above that of each reading of the formula, tuned among lambdas above 0."""
    rule = tuned(arms["rule"], "test_accuracy", decayed(arms["rule"]))
    return {
        name: Cell(rule - tuned(results, "test_accuracy", decayed(results)))
        for name, results in arms.items()
        if name.startswith("formula")
    }


def left_literally(arms: Arms) -> dict[str, Cell]:
    """What the literal reading leaves of the norm of the weights."""
    digits_left = at_every("formula, literally", {"digits, ": "test_left"})(arms)
    return digits_left | of_apart(["literally_left"], below=True)(arms)


def conventions_apart(names: Sequence[str], arms: Arms) -> dict[str, Cell]:
    """How far each convention's weights are from those under lambda/(2n)."""
    apart = final(arms["conventions"], "apart")
    return {name: Cell(apart[:, k]) for k, name in enumerate(names) if k > 0}


def claims(conventions: Sequence[str]) -> tuple[Claim, ...]:
    """What the question says, as claims."""
    question = "a question about the update rule of L2"
    signs = {"began positive, ": "test_rise_of_positive", "began negative, ": "test_rise_of_negative"}
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
        ("D2-negative", "A negative slope is found and never flipped (share of the lines).", sloping, negative, one),
        ("D2-shrunk", "Each larger decay makes the slope smaller in size (by how much).", sloping, shrunk, above),
        ("D2-closed-form", "The slope is Sxy / (Sxx + lambda) (ratio).", sloping, against_closed_form, one),
        ("D3-both-signs-rise", "The formula, read kindly, raises weights of either sign on digits (mean change).",
         asked, against_none("formula, kindly", signs), above),
        ("D3-rule-lowers-positive", "The rule lowers the weights that began above zero (mean change).",
         rule, against_none("rule", {key: name for key, name in signs.items() if "positive" in name}), below),
        ("D3-rule-raises-negative", "The rule raises the weights that began below zero (mean change).",
         rule, against_none("rule", {key: name for key, name in signs.items() if "negative" in name}), above),
        ("D3-as-solved", "Read kindly it moves weights of either sign by one positive number (shift / solved).",
         asked, of_apart(["shift_of_positive", "shift_of_negative"], below=True), one),
        ("D3-diverges", "Read kindly it has no fixed point beyond the critical lambda (share that leaves).",
         asked, of_apart(["leaves"], below=False), one),
        ("D3-literally-forgets", "Taken literally it drives all weights to zero (share of their size left).",
         asked, left_literally, (-np.inf, 1e-3)),
        ("D3-worse", "Tuned, either reading is less accurate than the tuned rule (test accuracy lost).",
         asked, worse_than_the_rule, above),
        ("D4-converts", "Every convention gives the same trajectory (distance / way from the start).",
         "C = C0 + lambda/(2n) sum w^2", partial(conventions_apart, conventions), (-np.inf, 1e-9)),
        ("D5-output", "Each larger decay lets outlying inputs move the logits less (change of the distance).",
         outlying, between_neighbours, below),
        ("D5-probabilities", "With decay outlying inputs move the probabilities less than without.",
         outlying, against_none("rule", of_outliers("probabilities")), below),
        ("D5-class", "With decay outlying inputs change the class less often than without (share).",
         outlying, against_none("rule", of_outliers("class")), below),
        ("D6-l2", "The pull of L2 is in proportion to the size of a weight (slope of the logarithms).",
         "large weights are punished more than small ones", at_every("rule", {"": "test_slope_l2"}), one),
        ("D6-l1", "The pull of L1 is the same at every size (slope of the logarithms).",
         "the pull of L1 is constant", at_every("rule", {"": "test_slope_l1"}), zero),
    )  # fmt: skip
    return tuple(
        Claim(row, statement, f"{question}: {said}", measure, expected, does)
        for row, statement, said, measure, expected in rows
    )


def of_outliers(output: str) -> dict[str, str]:
    """The quantities that say how outlying inputs move one kind of output, by prefixes of their cells."""
    return {f"{kind}, ": f"test_{kind}_{output}" for kind in ("pixel", "scaled")}


# What is drawn


def figure(arms: Arms) -> Figure:
    """Two weights under the rule and the formula; the line; the pulls; outlying inputs."""
    drawing, panels = panel_grid(2, 2, width=4.4, height=3.3, share=False)
    draw_paths(panels[0, 0])
    draw_line_slopes(panels[0, 1], arms)
    draw_outliers(panels[1, 0], arms["rule"])
    draw_pulls(panels[1, 1], arms["rule"])
    for panel in panels.flat:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    return drawing


def draw_paths(panel: Axes) -> None:
    """Two weights whose data want +1 and -1, under the rule and both readings of the formula."""
    target = np.array([1.0, -1.0])
    number = 0.9 * critical(target)
    cases = (
        ("the data alone", by_rule, 0.0),
        (r"the rule, $\eta\lambda/n = 0.05$", by_rule, 0.05),
        ("the formula, read kindly", kindly, number),
        ("the formula, literally", literally, number),
    )
    for (label, reading, amount), style in zip(cases, STYLES, strict=False):
        path = descend(reading, amount, target, 60)
        for weight, name in zip(path.T, (label, None), strict=True):
            panel.plot(weight, color=style.color, linestyle=style.dashes, linewidth=1.3, label=name)
    panel.axhline(0, color="0.6", linewidth=0.7)
    panel.set(title="two weights, wanted at +1 and -1", xlabel="step", ylabel="weight", ylim=(-1.3, 3.4))


def draw_line_slopes(panel: Axes, arms: Arms) -> None:
    """The slope of the line over decay: solved and trained."""
    results, solved = arms["line, trained"], final(arms["line, solved"], "line_slope").mean(axis=0)
    x = np.array(LINE_DECAYS)
    panel.plot(x, solved, color=STYLES[1].color, linewidth=1, label=r"$S_{xy} / (S_{xx} + \lambda)$")
    draw_measured(panel, x, means(surviving(results, "line_slope")), STYLES[0], "trained")
    panel.axhline(0, color="0.6", linewidth=0.7)
    axis_from_zero(panel, x[1], x[-1])
    panel.set_xlabel(r"$\lambda$")
    panel.set(title="a negative slope: shrunk, not flipped", ylabel="slope")


def draw_outliers(panel: Axes, results: Results) -> None:
    """How far outlying inputs move logits and probabilities over decay, relative to no decay."""
    x = results["decay"].to_numpy().astype(float)
    kinds = [(kind, output) for output in ("logits", "probabilities") for kind in ("pixel", "scaled")]
    for (kind, output), style in zip(kinds, STYLES, strict=False):
        values = surviving(results, f"test_{kind}_{output}")
        values = values / values[:, 0].mean()
        draw_measured(panel, x, means(values), style, f"{output}, {'one pixel' if kind == 'pixel' else 'scaled input'}")
        panel.plot(x, values.mean(axis=0), color=style.color, linestyle=style.dashes, linewidth=1)
    axis_from_zero(panel, x[1], x[-1])
    panel.set_xlabel(r"$\lambda$")
    panel.set(title="outlying inputs, digits", ylabel="change of output, 1 = no decay", yscale="log")
    panel.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    panel.yaxis.minorticks_off()


def draw_pulls(panel: Axes, results: Results) -> None:
    """The pull of both penalties on some weights of a trained net, without decay."""
    net = results.isel(seed=0, point=0, step=-1)
    sizes = np.array([float(net[f"test_size_{k}"]) for k in range(DRAWN)])
    order = sizes.argsort()
    for name, style in zip(("l2", "l1"), STYLES, strict=False):
        pull = np.array([float(net[f"test_pull_{name}_{k}"]) for k in range(DRAWN)])
        panel.loglog(sizes[order], pull[order], marker=style.marker, color=style.color, linestyle=style.dashes,
                     markersize=4, linewidth=1,
                     label=f"{name.upper()}, slope {float(net[f'test_slope_{name}']):.3f}")  # fmt: skip
    panel.xaxis.set_minor_formatter("")
    panel.yaxis.set_minor_formatter("")
    panel.set(title=f"the pull on {DRAWN} trained weights", xlabel="|w|", ylabel="|gradient of the penalty|")


if __name__ == "__main__":
    main(experiment)
