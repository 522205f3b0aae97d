"""One table: optimizers crossed with the rules of decay, and the laws that every cell obeys.

A cell is compiled once: ten steps of a column of members, which differ in their rate and in whether any gradient
arrives. What has no place in the table says why beside it; lamb and adafactor, whose decay is their own, follow.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything, matching, matrices
from wd_research.decay.penalties import huber, l1
from wd_research.decay.places import constant, coupled, decoupled, independent, proximal
from wd_research.decay.proximal import soft_threshold
from wd_research.decay.pulls import cautious, down, toward, toward_zero
from wd_research.decay.transforms import corrected, decay_toward_start, decay_weights, normalized, scheduled

STEPS, LEARNING_RATE = 10, 0.2
COSINE = optax.cosine_decay_schedule(1.0, STEPS)
SHAPES = {"first": {"kernel": (3, 2), "bias": (2,)}, "second": {"kernel": (2, 2)}}
RATES, ARRIVES = np.array([0.0, 0.2, 0.6, 0.6]), np.array([1.0, 1.0, 1.0, 0.0])  # of the four members of a cell
NO_RATE, SMALL, LARGE, NO_GRADIENT = range(4)


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def draw(seed):
    """Weights of either sign, none of them small."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape),
        SHAPES,
        is_leaf=lambda shape: isinstance(shape, tuple),
    )


ORIGIN, START, TARGET = draw(0), draw(1), draw(2)  # the state is born at ORIGIN; training goes on from START


def compiled_once(core):
    """The same core; its update is compiled for all the tests that take single steps."""
    return optax.GradientTransformation(core.init, jax.jit(core.update))


CORES = {
    "sgd": optax.identity(),
    "momentum": optax.trace(0.9),
    "adam": optax.scale_by_adam(),
    "lion": optax.scale_by_lion(),
    "muon": compiled_once(optax.chain(optax.contrib.muon(1.0), optax.scale(-1.0))),  # its vectors go through Adam
}


class Rule(NamedTuple):
    """A way to decay, and what one step of it leaves of a decayed leaf that no gradient reaches, in NumPy."""

    optimizer: Callable  # (core, rate) -> optax.GradientTransformation
    left: Callable | None  # (weights, rate, step, "first" or "second") -> weights


def shrinking(rate_at):
    """w <- (1 - rate_t) w."""
    return lambda w, rate, t, name: (1 - rate_at(rate, t)) * w


def down_slope(slope):
    """w <- w - eta s_t rate slope(w)."""
    return lambda w, rate, t, name: w - LEARNING_RATE * COSINE(t) * rate * slope(w, name)


def in_place(place, decay):
    return lambda core, rate: place(core, decay(rate), LEARNING_RATE, COSINE)


def halving(step):
    return 0.5**step


def doubled_in_second(rate):
    """A tree of rates: one for a subtree, one for a leaf."""
    return {"first": rate, "second": {"kernel": 2 * rate}}


RULES = {
    # what is left depends on the memory of the core, which is written out for each further down
    "coupled": Rule(in_place(coupled, decay_weights), None),
    "decoupled": Rule(in_place(decoupled, decay_weights), shrinking(lambda rate, t: LEARNING_RATE * COSINE(t) * rate)),
    "independent": Rule(in_place(independent, decay_weights), shrinking(lambda rate, t: COSINE(t) * rate)),
    "constant": Rule(in_place(constant, decay_weights), shrinking(lambda rate, t: rate)),
    "own schedule": Rule(
        in_place(constant, lambda rate: scheduled(decay_weights, lambda t: rate * halving(t))),
        shrinking(lambda rate, t: rate * halving(t)),
    ),
    "corrected": Rule(
        in_place(decoupled, lambda rate: corrected(rate, COSINE)),
        shrinking(lambda rate, t: LEARNING_RATE * COSINE(t) ** 2 * rate),
    ),
    "cautious": Rule(
        in_place(decoupled, partial(decay_weights, pull=cautious(toward_zero))),
        shrinking(lambda rate, t: LEARNING_RATE * COSINE(t) * rate),
    ),
    "normalized": Rule(
        in_place(independent, lambda norm: normalized(norm, batch_size=5, examples=50, epochs=4)),
        shrinking(lambda norm, t: COSINE(t) * norm * np.sqrt(5 / (50 * 4))),
    ),
    "a tree of rates": Rule(
        in_place(independent, lambda rate: decay_weights(doubled_in_second(rate))),
        lambda w, rate, t, name: (1 - COSINE(t) * rate * (2 if name == "second" else 1)) * w,
    ),
    "toward the start": Rule(
        in_place(decoupled, decay_toward_start), down_slope(lambda w, name: w - ORIGIN[name]["kernel"])
    ),
    "toward a tree": Rule(
        in_place(decoupled, partial(decay_weights, pull=toward(TARGET))),
        down_slope(lambda w, name: w - TARGET[name]["kernel"]),
    ),
    "down huber": Rule(
        in_place(decoupled, partial(decay_weights, pull=down(partial(huber, threshold=0.8)))),
        down_slope(lambda w, name: np.clip(w, -0.8, 0.8)),
    ),
    "down l1": Rule(in_place(decoupled, partial(decay_weights, pull=down(l1))), down_slope(lambda w, name: np.sign(w))),
    "proximal": Rule(
        lambda core, rate: proximal(core, soft_threshold, rate, LEARNING_RATE, COSINE),
        lambda w, rate, t, name: np.sign(w) * np.maximum(np.abs(w) - LEARNING_RATE * COSINE(t) * rate, 0),
    ),
}
CELLS = [(core, rule) for core in CORES for rule in RULES]


def gradient(params, t):
    """Of a loss that is a sum over entries, neither flat nor quadratic, with noise that turns with the step."""
    return jax.tree.map(
        lambda w: 0.3 * w + jnp.sin(3 * w) + jnp.cos(2.0 * t + jnp.arange(w.size)).reshape(w.shape), params
    )


def train(optimizer, arrives):
    """The weights after every step; gradients are multiplied by `arrives`, 0 or 1."""

    def step(carry, t):
        params, state = carry
        gradients = jax.tree.map(lambda g: arrives * g, gradient(params, t))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jax.tree.map(jnp.asarray, START)
    return jax.lax.scan(step, (start, optimizer.init(ORIGIN)), jnp.arange(STEPS))[1]


def train_eagerly(optimizer, arrives, gradient=gradient):
    """The same training as a loop over operations: no vmap, no scan, nothing traced."""
    params, state, seen = START, optimizer.init(ORIGIN), []
    for t in range(STEPS):
        gradients = jax.tree.map(lambda g: arrives * g, gradient(params, t))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *seen)


@cache
def column(core, rule):
    """The compiled cell (rates f64[4], arrives f64[4]) -> weights, and a list as long as it was traced often."""
    traces = []

    def member(rate, arrives):
        traces.append(1)
        return train(RULES[rule].optimizer(CORES[core], rate), arrives)

    return jax.jit(jax.vmap(member)), traces


@cache
def members(core, rule):
    return jax.tree.map(np.asarray, column(core, rule)[0](RATES, ARRIVES))


@cache
def plain(core):
    """The optimizer without a link that decays."""
    return train_eagerly(decoupled(CORES[core], optax.identity(), LEARNING_RATE, COSINE), 1.0)


def of(member, tree):
    return jax.tree.map(lambda leaf: leaf[member], tree)


def assert_same(first, second, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("core", "rule"), CELLS)
def test_at_rate_0_the_optimizer_is_plain(core, rule):
    assert_same(of(NO_RATE, members(core, rule)), plain(core))


@pytest.mark.parametrize(("core", "rule"), CELLS)
def test_a_column_of_traced_rates_is_its_entries_and_new_values_do_not_trace_again(core, rule):
    for member in (SMALL, LARGE, NO_GRADIENT):
        optimizer = RULES[rule].optimizer(CORES[core], float(RATES[member]))
        assert_same(of(member, members(core, rule)), train_eagerly(optimizer, ARRIVES[member]))
    cell, traces = column(core, rule)
    traced = len(traces)
    cell(RATES + 0.1, ARRIVES)
    assert len(traces) == traced == 1


@pytest.mark.parametrize(("core", "rule"), [(core, rule) for core, rule in CELLS if RULES[rule].left])
def test_without_gradients_matrices_shrink_by_the_rule_and_vectors_stay(core, rule):
    seen = of(NO_GRADIENT, members(core, rule))
    for name in SHAPES:
        w = START[name]["kernel"]
        for t in range(STEPS):
            w = RULES[rule].left(w, RATES[NO_GRADIENT], t, name)
            np.testing.assert_allclose(seen[name]["kernel"][t], w, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(seen["first"]["bias"][-1], START["first"]["bias"])


@pytest.mark.parametrize(("core", "rule"), CELLS)
def test_a_leaf_that_is_left_out_moves_as_if_nothing_decayed(core, rule):
    """The loss is a sum over leaves, so that the others cannot move it either."""
    decayed, free = of(LARGE, members(core, rule)), plain(core)
    assert_same(decayed["first"]["bias"], free["first"]["bias"])
    assert not np.allclose(decayed["first"]["kernel"], free["first"]["kernel"], rtol=1e-3)


@pytest.mark.parametrize(("core", "rule"), CELLS)
def test_a_step_changes_no_type(core, rule):
    """Neither shape nor dtype nor weak type, with float32 weights and a traced float32 rate: `scan` works."""

    def step(rate, params):
        optimizer = RULES[rule].optimizer(CORES[core], rate)
        state = optimizer.init(params)
        updates, new = optimizer.update(params, state, params)
        return (params, state), (optax.apply_updates(params, updates), new)

    with jax.enable_x64(False):
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), START)
        before, after = jax.eval_shape(step, jax.ShapeDtypeStruct((), jnp.float32), params)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)


def sgd(g, memory, t):
    return g, memory


def momentum(g, memory, t):
    m = 0.9 * memory[0] + g
    return m, (m, 0)


def adam(g, memory, t):
    m, v = 0.9 * memory[0] + 0.1 * g, 0.999 * memory[1] + 0.001 * g * g
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v)


def lion(g, memory, t):
    return np.sign(0.9 * memory[0] + 0.1 * g), (0.99 * memory[0] + 0.01 * g, 0)


@pytest.mark.parametrize("core", [sgd, momentum, adam, lion], ids=lambda core: core.__name__)
def test_coupled_decay_without_gradients_goes_through_the_memory_of_the_core(core):
    """g = rate * w, and then the core, written out in NumPy."""
    seen = of(NO_GRADIENT, members(core.__name__, "coupled"))
    for name in SHAPES:
        w, memory = START[name]["kernel"], (0, 0)
        for t in range(STEPS):
            direction, memory = core(RATES[NO_GRADIENT] * w, memory, t + 1)
            w = w - LEARNING_RATE * COSINE(t) * direction
            np.testing.assert_allclose(seen[name]["kernel"][t], w, rtol=1e-11)
    np.testing.assert_array_equal(seen["first"]["bias"][-1], START["first"]["bias"])


def test_coupled_decay_without_gradients_under_muon_is_muon_on_the_weights():
    """Its Newton-Schulz steps are not written out again: g = rate * w is given to it from outside."""

    def along_the_weights(params, t):
        return jax.tree.map(lambda c, w: RATES[NO_GRADIENT] * c * w, matrices(params), params)

    optimizer = decoupled(CORES["muon"], optax.identity(), LEARNING_RATE, COSINE)
    assert_same(of(NO_GRADIENT, members("muon", "coupled")), train_eagerly(optimizer, 1.0, along_the_weights))


def test_zero_gradient_under_coupled_adam_is_not_geometric():
    """500 steps at learning rate 1e-3 and rate .1 leave .561 of a weight 1, where decoupled decay leaves .951."""
    left = {}
    for place in (coupled, decoupled):
        optimizer = place(optax.scale_by_adam(), decay_weights(0.1, mask=everything), 1e-3, lambda count: 1.0)

        def step(carry, _, optimizer=optimizer):
            updates, state = optimizer.update(jnp.zeros(()), carry[1], carry[0])
            return (carry[0] + updates, state), None

        start = jnp.ones(())
        left[place] = float(jax.lax.scan(step, (start, optimizer.init(start)), length=500)[0][0])
    assert left[coupled] == pytest.approx(0.561, abs=5e-4)
    assert left[decoupled] == pytest.approx((1 - 1e-4) ** 500, rel=1e-9)


def test_cautious_decay_heeds_each_entry():
    """Where the step before the minus sign and the pull have one sign, or there is no step, it decays; else not."""
    updates, params = {"w": jnp.array([[1.0, -1.0, 0.0, 2.0]])}, {"w": jnp.array([[2.0, 3.0, -4.0, -5.0]])}
    for pull, expected in ((toward_zero, [2, 0, -4, 0]), (toward({"w": jnp.full((1, 4), 2.5)}), [0, 0, -6.5, 0])):
        np.testing.assert_array_equal(cautious(pull)(updates, params)["w"][0], expected)


@pytest.mark.parametrize(
    "link",
    [
        partial(decay_weights, 0.3),
        partial(decay_toward_start, 0.3),
        partial(corrected, 0.3, COSINE),
    ],
    ids=["decay_weights", "decay_toward_start", "corrected"],
)
def test_a_link_decays_what_its_mask_names_and_nothing_else(link):
    link = link(mask=matching("first/bias"))
    updates, _ = link.update(jax.tree.map(np.zeros_like, START), link.init(ORIGIN), START)
    assert jax.tree.map(lambda update: bool(np.all(update)), updates) == matching("first/bias")(START)
    assert not any(np.any(updates[name]["kernel"]) for name in SHAPES)


def shrinkage(optimizer):
    """What is left of every entry of the kernels at the end, without gradients; the bias has to stay."""
    end = of(-1, train_eagerly(optimizer, 0.0))
    np.testing.assert_array_equal(end["first"]["bias"], START["first"]["bias"])
    return np.concatenate([(end[name]["kernel"] / START[name]["kernel"]).ravel() for name in SHAPES])


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_lamb_puts_decay_inside_its_trust_ratio(rate):
    """Without gradients weights shrink by 1 - eta at every step, whatever the rate: it only turns the direction."""
    np.testing.assert_allclose(shrinkage(optax.lamb(0.1, weight_decay=rate, mask=matrices)), 0.9**STEPS, rtol=1e-9)


@pytest.mark.parametrize("learning_rate", [0.01, 1.0])
def test_adafactor_decays_after_the_learning_rate(learning_rate):
    """Weights shrink by 1 - rate, whatever the learning rate: the constant place."""
    optimizer = optax.adafactor(learning_rate, weight_decay_rate=0.1, weight_decay_mask=matrices)
    np.testing.assert_allclose(shrinkage(optimizer), 0.9**STEPS, rtol=1e-9)


WRAPPED = {
    "lamb": optax.chain(optax.scale_by_adam(), optax.scale_by_trust_ratio()),
    "adafactor": optax.chain(optax.adafactor(learning_rate=None), optax.scale(-1.0)),
}


@pytest.mark.parametrize("rule", ["decoupled", "independent", "constant"])
@pytest.mark.parametrize("core", WRAPPED)
def test_around_their_cores_decay_is_where_the_places_put_it(core, rule):
    left = 1.0
    for t in range(STEPS):
        left = RULES[rule].left(left, 0.3, t, "first")
    np.testing.assert_allclose(shrinkage(RULES[rule].optimizer(WRAPPED[core], 0.3)), left, rtol=1e-9)
