"""Laws of the proximal operators: each minimises what its name says, and descent with it solves the lasso."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wd_research.decay.masks import DecayError, everything, kernels
from wd_research.decay.penalties import elastic_net, group_lasso, l1, l2
from wd_research.decay.places import proximal
from wd_research.decay.proximal import elastic_threshold, group_threshold, shrink, soft_threshold
from wd_research.decay.transforms import proximal_step
from wd_research.types import Penalty, Prox


class Pair(NamedTuple):
    """A proximal operator, and the penalty it belongs to."""

    prox: Prox
    penalty: Penalty


PAIRS = {
    "shrink": Pair(shrink, l2),
    "soft_threshold": Pair(soft_threshold, l1),
    "elastic_threshold": Pair(partial(elastic_threshold, share=0.3), partial(elastic_net, share=0.3)),
    "group_threshold, rows": Pair(group_threshold, group_lasso),
    "group_threshold, columns": Pair(partial(group_threshold, axis=0), partial(group_lasso, axis=0)),
    "group_threshold, patches": Pair(partial(group_threshold, axis=(0, 1)), partial(group_lasso, axis=(0, 1))),
}
SHAPES = {"kernel": (2, 3), "patches": (2, 2, 2), "bias": (2,)}
ZEROS = {name: np.zeros(shape) for name, shape in SHAPES.items()}
ONES = {name: np.ones(shape) for name, shape in SHAPES.items()}
MASKS = {"kernels": kernels, "halves": lambda params: {"kernel": 0.5, "patches": 3.0, "bias": False}}

SIZES = np.repeat([1e-4, 1e-2, 1.0], 50)
STEPS = {
    name: SIZES.reshape(-1, *(1,) * len(shape)) * np.random.default_rng(0).normal(size=(SIZES.size, *shape))
    for name, shape in SHAPES.items()
}

PHASES = {name: np.exp(2j * np.pi * np.random.default_rng(1).uniform(size=step.shape)) for name, step in STEPS.items()}

numbers = st.floats(-4, 4).filter(lambda x: x == 0 or abs(x) > 1e-3)
trees = st.fixed_dictionaries({name: arrays(np.float64, shape, elements=numbers) for name, shape in SHAPES.items()})
amounts = st.floats(0, 3)


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


@cache
def least_excess(name, mask, dtype=np.float64):
    """Compile: the point, and by how much F exceeds the bound of strong convexity at the worst of many other points.

    F(v) = amount * penalty(v) + |v - w|^2 / 2 is strongly convex, so p minimises it if and only if, for every v,
    F(v) >= F(p) + |v - p|^2 / 2. Where p is no minimiser, half of all small steps away from it break this.
    """
    prox, penalty = PAIRS[name]
    steps = {leaf: step * (1 if dtype is np.float64 else PHASES[leaf]) for leaf, step in STEPS.items()}

    def objective(v, w, amount):
        squares = jax.tree.map(lambda v, w: jnp.sum(jnp.abs(v - w) ** 2), v, w)
        return amount * penalty(v, mask=MASKS[mask]) + 0.5 * sum(jax.tree.leaves(squares))

    def worst(params, amount):
        point = prox(params, amount, mask=MASKS[mask])

        def excess(step):
            distance = 0.5 * sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in step.values())
            there = objective(jax.tree.map(jnp.add, point, step), params, amount)
            return there - objective(point, params, amount) - distance

        return point, jnp.min(jax.vmap(excess)(steps))

    return jax.jit(worst)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=25)
@given(params=trees, amount=amounts)
@example(params=ZEROS, amount=1.0)
@example(params=ONES, amount=1.0)  # on the threshold
@example(params=ONES, amount=0.0)
def test_the_operator_minimises_its_definition(name, mask, params, amount):
    point, excess = least_excess(name, mask)(params, amount)
    assert float(excess) > -1e-11
    np.testing.assert_array_equal(point["bias"], params["bias"])
    if amount == 0:
        jax.tree.map(np.testing.assert_array_equal, point, params)


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=25)
@given(real=trees, imaginary=trees, amount=amounts)
@example(real=ZEROS, imaginary=ZEROS, amount=1.0)
@example(real=ZEROS, imaginary=ONES, amount=1.0)
def test_the_operator_minimises_its_definition_over_complex_weights(name, real, imaginary, amount):
    params = {leaf: real[leaf] + 1j * imaginary[leaf] for leaf in SHAPES}
    point, excess = least_excess(name, "halves", np.complex128)(params, amount)
    assert float(excess) > -1e-11
    np.testing.assert_array_equal(point["bias"], params["bias"])
    for leaf in ("kernel", "patches"):  # every weight keeps its direction
        np.testing.assert_allclose((point[leaf] * np.conj(params[leaf])).imag, 0, atol=1e-12)


@settings(max_examples=50)
@given(w=arrays(np.float64, (4, 2), elements=numbers), amount=amounts)
def test_zeros_are_exact_where_the_weights_are_within_the_threshold_and_nowhere_else(w, amount):
    within = np.abs(w) <= amount
    np.testing.assert_array_equal(soft_threshold(w, amount) == 0, within)
    np.testing.assert_array_equal(elastic_threshold(w, amount, share=0.5) == 0, np.abs(w) <= 0.5 * amount)
    np.testing.assert_array_equal(shrink(w, amount) == 0, w == 0)
    silent = np.sqrt((w * w).sum(axis=1)) <= np.sqrt(2) * amount * (1 - 1e-12)
    assert not np.any(group_threshold(w, amount)[silent])


@pytest.mark.parametrize("name", PAIRS)
def test_a_kernel_of_stacked_layers_takes_the_step_of_each(name):
    layers = [{"kernel": np.linspace(-2, 3, 6).reshape(2, 3) + layer, "bias": np.ones(3)} for layer in range(3)]
    prox = PAIRS[name].prox
    stacked = prox(jax.tree.map(lambda *leaves: np.stack(leaves), *layers), 0.5)
    for layer, weights in enumerate(layers):
        np.testing.assert_allclose(stacked["kernel"][layer], prox(weights, 0.5)["kernel"], rtol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_the_amount_may_be_traced_and_mapped(name):
    w = {leaf: np.random.default_rng(0).normal(size=shape) for leaf, shape in SHAPES.items()}
    column = np.array([0.0, 0.1, 0.7])
    together = jax.jit(jax.vmap(PAIRS[name].prox, in_axes=(None, 0)))(w, column)
    for index, amount in enumerate(column):
        alone = PAIRS[name].prox(w, float(amount))
        jax.tree.map(lambda t, a, i=index: np.testing.assert_allclose(t[i], a, rtol=1e-14), together, alone)


@pytest.mark.parametrize("name", ["shrink", "soft_threshold", "elastic_threshold"])
def test_an_amount_per_row_is_that_of_every_row(name):
    w, rows = np.random.default_rng(0).normal(size=(3, 4)), np.array([[0.0], [0.5], [2.0]])
    together = PAIRS[name].prox({"kernel": w}, 0.7, mask={"kernel": rows})["kernel"]
    for row, alone, c in zip(together, w, rows, strict=True):
        np.testing.assert_allclose(row, PAIRS[name].prox({"kernel": alone}, 0.7 * float(c[0]))["kernel"], rtol=1e-14)


def test_a_group_wants_one_coefficient():
    with pytest.raises(DecayError, match="the mask of kernel is an array, and leaves are penalized as a whole here"):
        group_threshold({"kernel": jnp.ones((3, 2))}, 0.1, mask={"kernel": np.ones((3, 1))})


def test_a_mask_tree_meets_the_weights_by_name():
    params = {"kernel": np.ones((2, 2)), "bias": np.ones(2)}
    landed = shrink(params, 1.0, {"kernel": None, "bias": True})
    np.testing.assert_array_equal(landed["bias"], 0.5)
    np.testing.assert_array_equal(landed["kernel"], 1.0)
    with pytest.raises(DecayError, match="the mask has an entry 0, and the params nothing there"):
        shrink(params, 1.0, [False, True])


RATE, STRENGTH = 0.4, 0.1


def lasso_data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 10))
    return X, X @ np.where(np.arange(10) < 4, 1.0, 0.0) + 0.1 * rng.normal(size=40)


def lasso_gradient(w):
    X, y = lasso_data()
    return X.T @ (X @ w - y) / len(y)


def iterative_soft_thresholding(steps):
    """Written out in NumPy."""
    w = np.zeros(10)
    for _ in range(steps):
        v = w - RATE * lasso_gradient(w)
        w = np.sign(v) * np.maximum(np.abs(v) - RATE * STRENGTH, 0)
    return w


@pytest.mark.parametrize(
    "schedule", [lambda step: 1.0, optax.linear_schedule(1.0, 0.3, 1000)], ids=["constant", "falling"]
)
def test_descent_with_proximal_steps_solves_the_lasso(schedule):
    """Against a long run of iterative soft thresholding, and against the conditions that a solution fulfils."""
    optimizer = proximal(optax.identity(), partial(soft_threshold, mask=everything), STRENGTH, RATE, schedule)

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(lasso_gradient(w), state, w)
        return (w + updates, state), None

    start = jnp.ones(10)
    w = np.asarray(jax.lax.scan(step, (start, optimizer.init(start)), length=2000)[0][0])
    np.testing.assert_allclose(w, iterative_soft_thresholding(2000), atol=1e-10)
    gradient = lasso_gradient(w)
    np.testing.assert_allclose(gradient[w != 0], -STRENGTH * np.sign(w[w != 0]), atol=1e-10)
    assert (np.abs(gradient[w == 0]) < STRENGTH).all()
    assert 0 < (w == 0).sum() < 10


def test_a_proximal_step_needs_the_weights():
    link = proximal_step(shrink, 0.1)
    with pytest.raises(ValueError, match="proximal_step needs the params"):
        link.update({"w": jnp.ones((2, 2))}, link.init({"w": jnp.ones((2, 2))}))


def test_a_group_of_zeros_has_a_derivative():
    slope = jax.grad(lambda w: jnp.sum(group_threshold(w, 0.1)))(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(slope, np.zeros((2, 3)))
