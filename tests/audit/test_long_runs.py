"""The audit of runs of any length against the exact product of what steps leave: within the error that is said."""

import math
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.audit.clock import samples
from wd_research.audit.course import Course, course
from wd_research.audit.leaves import UNKNOWN, audit_decay
from wd_research.audit.suspicions import KNOWN
from wd_research.decay.transforms import decay_weights

LENGTHS = (100, 10_000, 100_000, 1_000_000)
PARAMS = {"kernel": np.ones((8, 4), np.float32)}
BATCH = np.ones((4, 8), np.float32)


def restarts(t, steps, cycles):
    return (1 + jnp.cos(jnp.pi * (t * (cycles / steps) % 1))) / 2


# factors of a rate by the step and the steps of the run, and whether all that is said of them must be known
SCHEDULES = {
    "constant": (lambda t, steps: 1.0 + 0 * t, True),
    "cosine": (lambda t, steps: (1 + jnp.cos(jnp.pi * t / steps)) / 2, True),
    "linear": (lambda t, steps: 1 - t / steps, True),
    "warm restarts": (lambda t, steps: restarts(t, steps, 4), True),
    "a step at a quarter": (lambda t, steps: jnp.where(t < steps // 4, 1.0, 0.0), False),
    "a step at the end": (lambda t, steps: jnp.where(t >= steps - steps // 10, 1.0, 0.0), False),
    **{f"the last {n}": (lambda t, steps, n=n: jnp.where(t >= steps - n, 1.0, 0.0), False) for n in (10, 100)},
    **{f"every {k}th": (lambda t, steps, k=k: jnp.where(t % k == 0, 1.0, 0.0), False) for k in (97, 1_000)},
    "exp(-t / 30)": (lambda t, steps: jnp.exp(-t / 30), False),
}
SMOOTH = ("constant", "cosine", "linear", "warm restarts")
MOST = ((1_200, 10), (240, 3), (120, 3))  # steps that are looked at, in blocks, where leaves are few and many


def loss(params, batch):
    return ((batch @ params["kernel"]) ** 2).mean()


def truth(rates):
    """What is left, the first step after which half is (going on as on average), and the time scale."""
    forgotten = -np.cumsum(np.log1p(-np.asarray(rates, np.float64)))
    reached = np.flatnonzero(forgotten >= math.log(2) - 1e-9)
    steps = len(forgotten)
    half = reached[0] + 1 if len(reached) else steps * math.log(2) / forgotten[-1]
    return forgotten[-1], half, 1 / np.mean(rates)


@pytest.mark.parametrize("rate", [0.3, 0.005])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_number_is_within_the_error_that_is_said_or_not_known(name, steps, rate):
    factor, all_known = SCHEDULES[name]
    chain = optax.chain(optax.sgd(0.01), decay_weights(lambda t: -rate * factor(t, steps)))
    found = audit_decay(loss, chain, PARAMS, BATCH, steps)
    (row,) = found.rows
    forgotten, half, scale = truth(rate * factor(jnp.arange(steps), steps))
    said = re.findall(r"known to (\d+)%", " ".join(found.warnings))
    error = int(said[0]) / 100 if said else KNOWN
    assert error <= UNKNOWN
    numbers = -math.log(max(row.left, 1e-300)), row.half_life, 1 / row.time_scale
    for number, true in zip(numbers, (min(forgotten, -math.log(1e-300)), half, 1 / scale), strict=True):
        assert math.isnan(number) or (math.isfinite(number) and abs(true - number) <= error * number + 1e-9)
        assert not (math.isnan(number) and (all_known or steps == 100))
    if name in ("constant", "cosine", "linear"):
        assert row.half_life == pytest.approx(half, rel=0.02, abs=1)
        assert found.warnings == ()
    if math.isnan(row.left) or math.isnan(row.half_life):
        (warning,) = found.warnings
        assert "not known" in warning
    else:
        assert (row.left <= 0.5) == (row.half_life <= steps)


@pytest.mark.parametrize("steps", [300, *LENGTHS])
@pytest.mark.parametrize(("most", "block"), MOST)
def test_a_course_is_within_its_error_for_any_number_of_leaves(most, block, steps):
    looked = samples(steps, most, block)
    for name, (factor, _) in SCHEDULES.items():
        rates = 0.01 * np.asarray(factor(jnp.arange(steps), steps), np.float64)
        found = course(-np.log1p(-rates[looked.steps]), looked)
        forgotten, half, _ = truth(rates)
        for (number, error), true in ((found.total(), forgotten), (found.reaches(math.log(2)), half)):
            assert error > UNKNOWN or abs(true - number) <= max(error, KNOWN) * number + 1
        if name in SMOOTH:
            assert found.total()[1] <= UNKNOWN
            assert found.reaches(math.log(2))[1] <= UNKNOWN


def test_steps_that_are_looked_at_are_those_of_the_run():
    for steps in (1_201, 5_000, 1_000_000):
        for most, block in MOST:
            for period in (1, 4, 7):
                looked = samples(steps, most, block, period)
                assert looked.steps[0] == 0
                assert steps - period <= looked.steps[-1] < steps
                assert np.array_equal(np.diff(looked.steps) - 1, looked.gaps[:-1])
                assert not np.any(looked.gaps % period)
                assert looked.weights.sum() == pytest.approx(steps)


def test_a_course_that_falls_and_rises_reaches_a_level_where_it_first_does():
    times, sums = np.arange(5.0), np.array([0.0, 1.0, 0.5, 2.0, 3.0])
    assert Course(times, sums, np.zeros(5)).reaches(1.0) == (1, 0.0)
    assert Course(times, sums, np.zeros(5)).reaches(6.0) == (8.0, 0.0)
    assert Course(times, -sums, np.zeros(5)).reaches(1.0)[0] == math.inf


@pytest.mark.parametrize(("steps", "rate"), [(10_000, 0.01), (10_000, 0.001), (100_000, 0.0003)])
def test_under_a_momentum_decay_that_is_a_gradient_is_followed_over_gaps(steps, rate):
    chain = optax.chain(
        optax.add_decayed_weights(0.1), optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)
    )
    found = audit_decay(loss, chain, PARAMS, BATCH, steps)
    weights, momentum = [1.0], 0.0
    for factor in (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2:
        momentum = 0.9 * momentum + 0.1 * weights[-1]
        weights.append(weights[-1] - rate * factor * momentum)
    assert math.log(found.rows[0].left) == pytest.approx(math.log(weights[-1]), rel=KNOWN)
    assert found.rows[0].half_life == pytest.approx(np.argmax(np.array(weights) <= 0.5), rel=KNOWN)
    assert found.warnings == ()


@pytest.mark.parametrize(("steps", "rate", "leaves"), [(10_000, 1e-3, 1), (10_000, 1e-4, 60), (100_000, 1e-5, 1)])
def test_under_adam_decay_that_is_a_gradient_is_followed_over_gaps(steps, rate, leaves):
    chain = optax.chain(optax.add_decayed_weights(0.1), optax.adam(optax.cosine_decay_schedule(rate, steps)))
    params = {"kernel": PARAMS["kernel"]} | {f"kernel_{leaf}": np.ones((2, 2), np.float32) for leaf in range(1, leaves)}
    row = audit_decay(loss, chain, params, BATCH, steps).rows[0]
    weight, m, v, weights = 1.0, 0.0, 0.0, []
    for step in range(steps):
        m, v = 0.9 * m + 0.1 * 0.1 * weight, 0.999 * v + 0.001 * (0.1 * weight) ** 2
        size = (m / (1 - 0.9 ** (step + 1))) / (math.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
        weight -= rate * (1 + math.cos(math.pi * step / steps)) / 2 * size
        weights.append(weight)
    below = np.flatnonzero(np.array(weights) <= 0.5)
    half = below[0] + 1 if len(below) else -steps * math.log(2) / math.log(weight)
    assert row.half_life == pytest.approx(half, rel=0.02)
    assert math.log(row.left) == pytest.approx(math.log(weight), rel=0.05)
