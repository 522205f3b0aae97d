"""Laws of the conventions: a library's update, written out as it writes it, is the house's chain with the number."""

import itertools
import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.svm import LinearSVC

from wd_research.decay import schedules, units
from wd_research.decay.masks import everything
from wd_research.decay.penalties import l2, penalized
from wd_research.decay.places import constant, coupled, decoupled, independent
from wd_research.decay.rescaling import RULES, rescale
from wd_research.decay.setting import Setting
from wd_research.decay.setting import schedule as learning_rate_schedule
from wd_research.decay.transforms import decay_weights
from wd_research.decay.units import UNITS, convert, effect, find, obstacle, table
from wd_research.flags import UserError

ETA, STEPS, BATCH, EXAMPLES = 0.05, 20, 4, 12
OPTIMIZERS, SCHEDULES = ("sgd", "momentum", "adam"), ("constant", "cosine")
FAMILIES = ("coupled", "scheduled", "unscheduled")
SETTING = Setting(learning_rate=ETA, steps=STEPS, batch_size=BATCH, examples=EXAMPLES)

# The gradient that a convention hands to the optimizer, from that of the mean loss; sums over a batch as it takes them.
IN_GRADIENT = {
    "l2-half": (0.5, lambda g, w, x: g + x * w),
    "l2": (0.2, lambda g, w, x: g + 2 * x * w),
    "l2-per-example": (6.0, lambda g, w, x: g + x / EXAMPLES * w),
    "sklearn-mlp": (2.0, lambda g, w, x: (BATCH * g + x * w) / BATCH),
    "sklearn-c": (0.5, lambda g, w, x: (w + x * EXAMPLES * g) / (x * EXAMPLES)),
    "sklearn-ridge": (2.0, lambda g, w, x: (EXAMPLES * g + 2 * x * w) / EXAMPLES),
    "sklearn-sgd": (0.4, lambda g, w, x: g + x * w),
    "keras-l2": (0.3, lambda g, w, x: g + x * (w + w)),
    "torch-coupled": (0.4, lambda g, w, x: g + x * w),
}
# The weights that a convention leaves, before the optimizer's own step, at s times the peak of the learning rate.
AFTER = {
    "torch-adamw": (0.5, lambda w, x, s: w * (1 - ETA * s * x)),
    "timm": (0.5, lambda w, x, s: w * (1 - (ETA * s) * x)),
    "keras-optimizer": (0.4, lambda w, x, s: w - w * x * (ETA * s)),
    "big-vision": (0.03, lambda w, x, s: w - s * (x * w)),
    "composer": (0.02, lambda w, x, s: w * (1 - (ETA * s) / ETA * x)),
    "loshchilov-hutter": (0.03, lambda w, x, s: w - s * x * w),
    "lambda-norm": (0.1, lambda w, x, s: w - s * x * math.sqrt(BATCH / (EXAMPLES * (STEPS * BATCH / EXAMPLES))) * w),
    "time-scale-steps": (30.0, lambda w, x, s: w - s * w / x),
    "time-scale-epochs": (12.0, lambda w, x, s: w - s * w / (x * (EXAMPLES / BATCH))),
    "half-life": (25.0, lambda w, x, s: w - s * (w - w * 0.5 ** (1 / x))),
    "constant": (0.03, lambda w, x, s: w * (1 - x)),
    "tensorflow-addons": (0.02, lambda w, x, s: w - x * w),
}
# The convention that each place of the house takes.
PLACES = {
    "torch-coupled": coupled,
    "torch-adamw": decoupled,
    "big-vision": independent,
    "constant": constant,
}
# Which families convert exactly into which, besides each into itself, written out.
EXACT = {
    ("coupled", "scheduled", "sgd", "constant"),
    ("coupled", "scheduled", "sgd", "cosine"),
    ("coupled", "unscheduled", "sgd", "constant"),
    ("scheduled", "unscheduled", "sgd", "constant"),
    ("scheduled", "unscheduled", "momentum", "constant"),
    ("scheduled", "unscheduled", "adam", "constant"),
}
FACTORS = np.concatenate([[1.0], np.geomspace(0.1, 10, 40)])

INPUTS = np.random.default_rng(0).normal(size=(STEPS, BATCH, 6))
START = np.random.default_rng(1).normal(size=6)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def slope(xp, w, inputs):
    """The gradient of the mean over a batch of (tanh(x w) - 1)^2 / 2."""
    h = xp.tanh(inputs @ w)
    return inputs.T @ ((h - 1) * (1 - h * h)) / len(inputs)


def is_exact(source, target, optimizer, schedule):
    pairs = {(source, target, optimizer, schedule), (target, source, optimizer, schedule)}
    return source == target or bool(pairs & EXACT)


class Numpy:
    """SGD, SGD with momentum .9, and Adam, as PyTorch writes them, without the learning rate."""

    def __init__(self, optimizer):
        self.optimizer, self.first, self.second = optimizer, np.zeros(6), np.zeros(6)

    def step(self, g, t):
        if self.optimizer == "sgd":
            return g
        if self.optimizer == "momentum":
            self.first = 0.9 * self.first + g
            return self.first
        self.first = 0.9 * self.first + 0.1 * g
        self.second = 0.999 * self.second + 0.001 * g * g
        return self.first / (1 - 0.9**t) / (np.sqrt(self.second / (1 - 0.999**t)) + 1e-8)


def theirs(name, optimizer, schedule):
    """The weights after every step, [t, 6], as the convention's own library computes them."""
    w, core, seen = START, Numpy(optimizer), []
    for t, inputs in enumerate(INPUTS):
        s = 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * t / STEPS))
        g = slope(np, w, inputs)
        if name in IN_GRADIENT:
            x, with_decay = IN_GRADIENT[name]
            w = w - ETA * s * core.step(with_decay(g, w, x), t + 1)
        else:
            x, shrunk = AFTER[name]
            w = shrunk(w, x, s) - ETA * s * core.step(g, t + 1)
        seen.append(w)
    return np.array(seen)


@cache
def house(place, optimizer, schedule):
    """numbers [k] -> weights after every step [k, t, 6], by the chain of `places`."""
    core = {"sgd": optax.identity, "momentum": lambda: optax.trace(0.9), "adam": optax.scale_by_adam}[optimizer]
    falls = {"constant": optax.constant_schedule(1.0), "cosine": optax.cosine_decay_schedule(1.0, STEPS)}[schedule]

    def trained(number):
        chain = place(core(), decay_weights(number, mask=everything), ETA, falls)

        def step(carry, inputs):
            updates, state = chain.update(slope(jnp, carry[0], inputs), carry[1], carry[0])
            w = optax.apply_updates(carry[0], updates)
            return (w, state), w

        start = jnp.asarray(START)
        return jax.lax.scan(step, (start, chain.init(start)), jnp.asarray(INPUTS))[1]

    return jax.jit(jax.vmap(trained))


def given_number(name):
    return (IN_GRADIENT | AFTER)[name][0]


def test_every_convention_is_written_out():
    assert set(IN_GRADIENT) | set(AFTER) == {unit.name for unit in UNITS}
    assert set(IN_GRADIENT) == {unit.name for unit in UNITS if unit.family == "coupled"}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", IN_GRADIENT | AFTER)
def test_an_exact_conversion_is_the_same_trajectory_and_elsewhere_no_number_is(name, place, optimizer, schedule):
    """Where `convert` gives a number, the house's chain with it is the library's run; where it refuses, no number of a
    wide range comes near, least of all the one that the shares would suggest."""
    setting = SETTING._replace(optimizer=optimizer, schedule=schedule)
    source, target = find(name), find(place)
    expected = theirs(name, optimizer, schedule)
    run = house(PLACES[place], optimizer, schedule)
    if is_exact(source.family, target.family, optimizer, schedule):
        ours = run(convert(given_number(name), name, place, setting) * FACTORS)
        np.testing.assert_allclose(ours[0], expected, rtol=1e-10, atol=1e-10)
        return
    with pytest.raises(ValueError, match=f"{name} cannot become {place}"):
        convert(given_number(name), name, place, setting)
    share = units.share_of(given_number(name), source, setting)
    ours = run(units.number_of(share, target, setting) * FACTORS)
    assert np.abs(np.asarray(ours) - expected).max(axis=(1, 2)).min() > 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("source", UNITS, ids=lambda unit: unit.name)
def test_the_table_holds_a_number_exactly_where_a_conversion_is_exact(source, optimizer, schedule):
    setting = SETTING._replace(optimizer=optimizer, schedule=schedule)
    rows = table(given_number(source.name), source.name, setting)
    assert [row.unit for row in rows] == list(UNITS)
    for row in rows:
        exact = is_exact(source.family, row.unit.family, optimizer, schedule)
        assert (row.number is not None) == exact
        assert (row.obstacle == "") == exact
        assert not row.missing


def test_the_obstacles_say_why():
    adam, momentum = SETTING, SETTING._replace(optimizer="momentum")
    assert "second moment" in obstacle("coupled", "scheduled", adam)
    assert "momentum carries" in obstacle("scheduled", "coupled", momentum)
    for setting in (adam._replace(schedule="linear"), adam._replace(warmup=5)):
        assert "not constant" in obstacle("unscheduled", "scheduled", setting)


def test_torch_adamw_is_the_real_optax_adamw():
    cosine = optax.cosine_decay_schedule(ETA, STEPS)
    optimizer = optax.adamw(cosine, weight_decay=given_number("torch-adamw"))
    w = jnp.asarray(START)
    state = optimizer.init(w)
    for inputs, expected in zip(INPUTS, theirs("torch-adamw", "adam", "cosine"), strict=True):
        updates, state = optimizer.update(slope(jnp, w, inputs), state, w)
        w = optax.apply_updates(w, updates)
        np.testing.assert_allclose(w, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch", [4, 12])
def test_sklearn_mlp_is_the_real_one(batch):
    """scikit-learn's own net, five epochs of SGD, is gradient descent on L + l2-half, biases left out."""
    rng = np.random.default_rng(2)
    inputs, targets = rng.normal(size=(EXAMPLES, 3)), rng.normal(size=EXAMPLES)
    alpha = 3.0
    sgd = {"solver": "sgd", "momentum": 0, "nesterovs_momentum": False, "learning_rate_init": ETA}
    net = MLPRegressor(
        hidden_layer_sizes=(5,), activation="tanh", alpha=alpha, batch_size=batch, shuffle=False, random_state=0, **sgd
    )
    net.partial_fit(inputs, targets)

    def params():
        return {"kernels": [*map(jnp.asarray, net.coefs_)], "biases": [*map(jnp.asarray, net.intercepts_)]}

    def loss(w, extras, batch, key):
        hidden = jnp.tanh(batch[0] @ w["kernels"][0] + w["biases"][0])
        output = hidden @ w["kernels"][1] + w["biases"][1]
        return jnp.mean((output[:, 0] - batch[1]) ** 2) / 2, (extras, {})

    w = params()
    for _ in range(5):
        net.partial_fit(inputs, targets)
    setting = SETTING._replace(optimizer="adam", batch_size=batch)  # within a family the optimizer does not matter
    objective = penalized(loss, l2, convert(alpha, "sklearn-mlp", "l2-half", setting))
    gradient = jax.jit(jax.grad(lambda w, batch: objective(w, (), batch, None)[0]))
    for start in [*range(0, EXAMPLES, batch)] * 5:
        part = slice(start, start + batch)
        w = jax.tree.map(lambda w, g: w - ETA * g, w, gradient(w, (inputs[part], targets[part])))
    for ours, real in zip(jax.tree.leaves(w), jax.tree.leaves(params()), strict=True):
        np.testing.assert_allclose(ours, real, rtol=1e-10, atol=1e-10)


INPUTS_OF_60, NOISE = (np.random.default_rng(seed).normal(size=(60, 3)) for seed in (3, 4))
VALUES = INPUTS_OF_60 @ [1.0, -2.0, 0.5] + NOISE[:, 0]
CLASSES = np.where(VALUES > 0, 1.0, -1.0)
# scikit-learn's own model with its number, and the gradient of L, the mean loss, by the outputs f [n].
EXACTLY = {"fit_intercept": False, "tol": 1e-12}
MODELS = {
    "LogisticRegression": (
        "sklearn-c", lambda x: LogisticRegression(C=x, max_iter=10_000, **EXACTLY), CLASSES,
        lambda f: -CLASSES / (1 + np.exp(CLASSES * f)),
    ),
    "LinearSVC": (
        "sklearn-c", lambda x: LinearSVC(C=x, max_iter=100_000, **EXACTLY), CLASSES,
        lambda f: -2 * CLASSES * np.maximum(1 - CLASSES * f, 0),
    ),
    "Ridge": ("sklearn-ridge", lambda x: Ridge(alpha=x, **EXACTLY), VALUES, lambda f: 2 * (f - VALUES)),
}  # fmt: skip


@pytest.mark.parametrize("number", [0.01, 3.0])
@pytest.mark.parametrize("model", MODELS)
def test_the_models_of_sklearn_are_at_rest_with_the_decay_that_their_number_is(model, number):
    """At their optimum the gradient of L + strength/2 |w|^2 is 0, and strength is their number's, there and back."""
    name, of, targets, by_output = MODELS[model]
    w = np.ravel(of(number).fit(INPUTS_OF_60, targets).coef_)
    pulled = INPUTS_OF_60.T @ by_output(INPUTS_OF_60 @ w) / 60
    setting = SETTING._replace(examples=60)
    strength = convert(number, name, "l2-half", setting)
    np.testing.assert_allclose(-pulled / w, strength, rtol=1e-4)
    assert convert(strength, "l2-half", name, setting) == pytest.approx(number)


def test_sklearn_sgd_is_the_real_one():
    alpha = 0.3
    model = SGDRegressor(alpha=alpha, learning_rate="constant", eta0=ETA, fit_intercept=False, shuffle=False)
    model.partial_fit(INPUTS_OF_60, VALUES)
    w, strength = np.zeros(3), convert(alpha, "sklearn-sgd", "l2-half", SETTING)
    for x, value in zip(INPUTS_OF_60, VALUES, strict=True):
        w = w - ETA * ((x @ w - value) * x + strength * w)
    np.testing.assert_allclose(model.coef_, w, rtol=1e-9)


COUNTS = st.integers(1, 10**6)


@given(
    share=st.floats(1e-12, 0.999),
    learning_rate=st.floats(1e-8, 1e3),
    steps=COUNTS,
    counts=st.tuples(COUNTS, COUNTS).map(sorted),
    optimizer=st.sampled_from(OPTIMIZERS),
    schedule=st.sampled_from(SCHEDULES),
)
def test_round_trips(share, learning_rate, steps, counts, optimizer, schedule):
    setting = Setting(learning_rate, steps, schedule, 0, optimizer, batch_size=counts[0], examples=counts[1])
    for there, back in itertools.product(UNITS, UNITS):
        if not obstacle(there.family, back.family, setting):
            number = units.number_of(share, there, setting)
            away = convert(number, there.name, back.name, setting)
            assert convert(away, back.name, there.name, setting) == pytest.approx(number, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("kind", ["constant", "cosine", "linear"])
def test_the_schedules_are_those_of_optax(kind, warmup):
    fall = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, STEPS - warmup),
        "linear": optax.linear_schedule(1.0, 0.0, STEPS - warmup),
    }[kind]
    expected = optax.join_schedules([optax.linear_schedule(0.0, 1.0, warmup), fall], [warmup]) if warmup else fall
    ours = learning_rate_schedule(np.arange(STEPS), SETTING._replace(schedule=kind, warmup=warmup))
    np.testing.assert_allclose(ours, [float(expected(t)) for t in range(STEPS)], atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", AFTER)
def test_the_effect_is_what_decay_leaves_without_gradients(name, schedule):
    setting = SETTING._replace(schedule=schedule)
    x, shrunk = AFTER[name]
    left = [1.0]
    for t in range(STEPS):
        left.append(shrunk(left[-1], x, 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * t / STEPS))))
    done = effect(x, name, setting)
    assert done is not None
    assert done.removed == pytest.approx(1 - left[-1], rel=1e-12)
    assert done.half == next((step for step, share in enumerate(left) if share <= 0.5), None)
    shares = 1 - np.array(left[1:]) / np.array(left[:-1])
    assert done.time_scale == pytest.approx(1 / shares.mean(), rel=1e-9)


def test_the_effect_finds_the_half_and_samples_long_runs():
    done = effect(100.0, "half-life", Setting(steps=1_000))
    assert done is not None
    assert done.half in (100, 101)  # by rounding
    assert done.removed == pytest.approx(1 - 2.0**-10)
    long = effect(1e6, "time-scale-steps", Setting(steps=5_000_000, schedule="cosine"))
    assert long is not None
    assert long.removed == pytest.approx(1 - math.exp(-2.5), rel=1e-5)
    assert long.time_scale == pytest.approx(2e6, rel=1e-5)


def test_decay_in_the_gradient_has_an_effect_of_its_own_only_under_sgd():
    for optimizer in OPTIMIZERS:
        done = effect(0.5, "l2-half", SETTING._replace(optimizer=optimizer))
        assert (done is not None) == (optimizer == "sgd")
    assert effect(0.5, "torch-adamw", Setting(learning_rate=1e-3)) is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: table(0.1, "torch-adam", SETTING), "'torch-adam': did you mean torch-adamw"),
        (lambda: table(0.1, "%", SETTING), "'%': known are l2-half"),
        (
            lambda: table(0.0, "l2", SETTING),
            "l2 0 is no decay, which is inf in sklearn-c, time-scale-steps, .* and 0 in",
        ),
        (
            lambda: convert(0.0, "l2", "sklearn-c", SETTING),
            "and 0 in all other conventions: give a finite number above 0",
        ),
        (lambda: convert(math.inf, "sklearn-c", "l2", SETTING), "sklearn-c inf is no decay, which is inf in sklearn-c"),
        (lambda: convert(0.0, "sklearn-c", "l2", SETTING), "sklearn-c 0 cannot be, since decay is inverse to it: give"),
        (lambda: table(math.inf, "l2", SETTING), "l2 inf cannot be: give a finite number above 0"),
        (lambda: table(-1.0, "l2", SETTING), "l2 -1 cannot be"),
        (lambda: table(math.nan, "l2", SETTING), "l2 nan cannot be"),
        (lambda: table(math.inf, "half-life", SETTING), "half-life inf is no decay"),
        (lambda: table(1.0, "big-vision", SETTING), "a step would remove 1 times the weight"),
        (lambda: table(0.5, "time-scale-steps", SETTING), "a step would remove 2 times the weight"),
        (lambda: table(0.001, "half-life", SETTING), "a step would remove 1 times the weight"),
        (lambda: table(20.0, "l2-half", SETTING._replace(optimizer="sgd")), "a step would remove 1 times the weight"),
        (lambda: table(1e-301, "l2", SETTING), "a step would remove 1e-302 times the weight"),
        (lambda: table(0.1, "torch-adamw", Setting()), "says too little alone: give the learning rate too"),
        (lambda: table(0.1, "sklearn-mlp", Setting()), "give the learning rate and the batch size too"),
        (lambda: convert(0.1, "big-vision", "l2", Setting(optimizer="sgd")), "that needs the learning rate"),
        (lambda: convert(0.1, "big-vision", "l2", Setting()), "second moment"),
        (lambda: table(0.1, "l2", SETTING._replace(learning_rate=math.nan)), "learning rate nan cannot be"),
        (lambda: table(0.1, "l2", SETTING._replace(learning_rate=0.0)), "learning rate 0 cannot be"),
        (lambda: table(0.1, "l2", SETTING._replace(steps=0)), "the number of steps cannot be 0: give"),
        (lambda: table(0.1, "l2", SETTING._replace(examples=10**400)), "a whole number from 1 to 1e"),
        (lambda: table(0.1, "l2", SETTING._replace(warmup=STEPS)), "the warm-up cannot take 20 steps"),
        (lambda: table(0.1, "l2", SETTING._replace(warmup=-1)), "the warm-up cannot take -1 steps"),
        (lambda: table(0.1, "l2", SETTING._replace(batch_size=64)), "a batch of 64 cannot be drawn from 12"),
        (lambda: rescale(0.1, "l2", SETTING, "width", 8), "a new width says too little alone: give the old one too"),
        (lambda: rescale(0.1, "l2", SETTING, "batch_size", 13), "a batch of 13 cannot be drawn from 12"),
        (lambda: rescale(0.1, "l2", SETTING, "batch_size", 0), "the batch size cannot be 0"),
        (lambda: rescale(0.1, "l2", SETTING, "steps", 0), "the number of steps cannot be 0"),
        (lambda: rescale(0.1, "l2", SETTING._replace(steps=None), "steps", 9), "a new number of steps says too little"),
        (lambda: table(0.1, "lambda-norm", Setting()), "give the number of steps too"),
        (lambda: table(0.1, "l2-per-example", Setting(0.1)), "give the number of training examples too"),
        (lambda: table(0.5, "time-scale-steps", Setting()), "would remove 2 times the weight: give less decay"),
        (
            lambda: table(0.1, "l2", Setting(1e-300)),
            "would remove 2e-301 times the weight, which is nothing: give more",
        ),
        (lambda: table(1e300, "l2", Setting(1e300)), "the weight more often than a number can say: give less decay"),
        (
            lambda: rescale(0.1, "torch-adamw", Setting(0.1, 100, batch_size=64), "batch_size", 100_000),
            "with batch size 100000 the run has 0.064 steps, for as many passes over the data as 100 steps now: give "
            "more steps, or another batch size",
        ),
        (
            lambda: rescale(0.1, "torch-adamw", Setting(0.1, 100, examples=1_000), "examples", 3),
            "with number of examples 3 the run has 0.3 steps",
        ),
        (
            lambda: rescale(0.1, "torch-adamw", Setting(0.1, 10**15, batch_size=64), "batch_size", 1),
            r"with batch size 1 the run has 6.4e\+16 steps",
        ),
        (
            lambda: rescale(1e-301, "torch-adamw", Setting(1e300, width=10**15), "width", 1),
            "with width 1 instead of 1000000000000000 the learning rate would be inf: give one",
        ),
    ],
)
def test_bad_numbers_get_one_sentence(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert "\n" not in str(error.value)


def test_under_adam_decay_in_the_gradient_has_no_limit():
    assert convert(1e3, "l2-half", "l2", SETTING) == 500


RUN = Setting(0.1, 12_000, "cosine", 0, "adam", batch_size=64, examples=50_000, width=256)
NEW = {"batch_size": 256, "steps": 48_000, "examples": 200_000, "width": 1_024}
# What each rule says it keeps, as a function of the share per step at the peak and of the run.
KEPT = {
    "the time scale in epochs": lambda share, run: run.batch_size / (run.examples * share),
    "lambda_norm": lambda share, run: share * math.sqrt(run.steps),
    "the strength of L2": lambda share, run: share / run.learning_rate,
    "strength times steps": lambda share, run: share / run.learning_rate * run.steps,
    "the prior: strength times examples": lambda share, run: share / run.learning_rate * run.examples,
    "the share per step": lambda share, run: share,
    # the largest singular value of a layer ~ sqrt(learning rate / decay) width^.75, the decay being AdamW's
    "the gain of a layer": lambda share, run: (
        math.sqrt(run.learning_rate / (share / run.learning_rate)) * run.width**0.75
    ),
}


@pytest.mark.parametrize("source", UNITS, ids=lambda unit: unit.name)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.quantity}, {rule.source}")
def test_a_rule_keeps_what_it_says_it_keeps(rule, source):
    """In whatever convention and under every optimizer it applies to; the passes over the data stay too."""
    seen = 0
    for optimizer, schedule in itertools.product(OPTIMIZERS, SCHEDULES):
        run = RUN._replace(optimizer=optimizer, schedule=schedule)
        number = units.number_of(1e-4, source, run)
        found = rescale(number, source.name, run, rule.quantity, NEW[rule.quantity])
        (ours,) = [one for one in found if one.rule is rule] or [None]
        speaks = optimizer in rule.optimizers and is_exact(source.family, rule.family, optimizer, schedule)
        assert (ours is not None) == speaks
        if ours is None:
            continue
        seen += 1
        share = units.share_of(ours.number, source, ours.setting)
        kept = KEPT[rule.keeps]
        assert kept(share, ours.setting) == pytest.approx(kept(1e-4, run), rel=1e-9)
        assert getattr(ours.setting, rule.quantity) == NEW[rule.quantity]
        assert ours.setting.learning_rate == pytest.approx(ours.learning_rate * run.learning_rate)
        if rule.quantity in ("batch_size", "examples"):
            passes = [one.steps * one.batch_size / one.examples for one in (ours.setting, run)]
            assert passes[0] == pytest.approx(passes[1])
    assert seen or source.family != rule.family


@pytest.mark.parametrize(
    ("quantity", "new", "optimizer", "source", "factors"),
    [
        ("batch_size", 256, "adam", "torch-adamw", {"Bergsma": (4, 1), "Loshchilov": (2, 1)}),
        ("batch_size", 256, "momentum", "torch-coupled", {"Goyal": (1, 4)}),
        ("steps", 48_000, "adam", "torch-adamw", {"Loshchilov": (1 / 2, 1)}),
        ("steps", 48_000, "momentum", "torch-coupled", {"Lewkowycz": (1 / 4, 1)}),
        ("examples", 200_000, "adam", "torch-adamw", {"Wang": (1 / 4, 1), "Loshchilov": (1 / 2, 1)}),
        ("examples", 200_000, "adam", "torch-coupled", {"MacKay": (1 / 4, 1)}),
        ("examples", 200_000, "adam", "l2-per-example", {"MacKay": (1, 1)}),
        ("width", 1_024, "adam", "torch-adamw", {"Wang": (4, 1 / 4), "Fan": (2, 1 / 4)}),
        ("width", 1_024, "adam", "loshchilov-hutter", {"Wang": (1, 1 / 4), "Fan": (1 / 2, 1 / 4)}),
        ("width", 1_024, "momentum", "torch-coupled", {}),
        ("width", 1_024, "momentum", "torch-adamw", {}),
    ],
)
def test_four_times_the_quantity_by_every_rule(quantity, new, optimizer, source, factors):
    """The factors on the number and on the learning rate, as the papers have them."""
    run = RUN._replace(optimizer=optimizer)
    found = rescale(1e-3, source, run, quantity, new)
    seen = {one.rule.source.split()[0]: (one.number / 1e-3, one.learning_rate) for one in found}
    assert seen == {name: pytest.approx(pair) for name, pair in factors.items()}


def test_a_rule_that_asks_too_much_of_a_step_gives_no_number():
    bergsma, normalized = rescale(5.0, "torch-adamw", RUN._replace(batch_size=1), "batch_size", 2)
    assert bergsma.number is None
    assert normalized.number == pytest.approx(5 * math.sqrt(2))


def test_the_warm_up_keeps_its_share_of_the_run():
    (shorter,) = rescale(0.1, "torch-adamw", Setting(1e-3, 1_000, warmup=500), "steps", 100)
    assert (shorter.setting.steps, shorter.setting.warmup) == (100, 50)


@pytest.mark.parametrize(("warmup", "steps", "kept"), [(99, 1, 0), (99, 2, 1), (60, 50, 30), (0, 7, 0)])
def test_a_warm_up_always_ends_before_a_shorter_run_does(warmup, steps, kept):
    for one in rescale(0.1, "torch-adamw", Setting(1e-3, 100, warmup=warmup), "steps", steps):
        assert (one.setting.steps, one.setting.warmup) == (steps, kept)


def test_a_run_without_learning_rate_and_steps_can_be_rescaled():
    for one in rescale(1e-3, "big-vision", Setting(width=256), "width", 1_024):
        assert (one.setting.learning_rate, one.setting.steps, one.learning_rate) == (None, None, 0.25)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cosine", schedules.cosine(500, 50)),
        ("linear", schedules.linear(500, 50)),
        ("wsd", schedules.stable(500, 50, 0.3)),
        ("inverse-root", schedules.inverse_root(500, 50)),
    ],
)
def test_the_schedules_of_the_units_are_those_that_train(name, ours):
    setting = Setting(steps=500, warmup=50, schedule=name, cooldown=0.3)
    steps = np.arange(500)
    assert np.allclose(
        learning_rate_schedule(steps.astype(float), setting), [ours(int(step)) for step in steps], atol=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedule": "inverse-root"}, "an inverse root falls from the end of the warm-up on"),
        ({"schedule": "wsd", "cooldown": 0.0}, "a cool-down of 0 does not fit the run"),
        (
            {"schedule": "wsd", "warmup": 60, "cooldown": 0.5},
            "a cool-down of 0.5 does not fit the run: give a share above 0",
        ),
    ],
)
def test_a_schedule_that_does_not_fit_is_one_sentence(changes, says):
    with pytest.raises(UserError) as raised:
        table(0.1, "torch-adamw", Setting(learning_rate=1e-3, steps=100)._replace(**changes))
    assert says in str(raised.value)
