"""Laws of masks and penalties: a table of penalties crossed with masks, on weights that hypothesis makes up."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.core import freeze
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wd_research.decay.masks import (
    DecayError,
    all_but,
    biases,
    coefficients,
    describe,
    embeddings,
    entries,
    everything,
    kernels,
    leaf_name,
    matching,
    matrices,
    norms,
    per_leaf,
)
from wd_research.decay.penalties import distance, elastic_net, group_lasso, huber, l1, l2, orthogonality, penalized
from wd_research.decay.places import coupled, decoupled
from wd_research.decay.pulls import down
from wd_research.decay.transforms import decay_toward_start, decay_weights

SHAPES = {"kernel": (3, 2), "wide": (2, 4), "patches": (2, 2, 3), "bias": (3,), "gain": ()}
ZEROS = {name: np.zeros(shape) for name, shape in SHAPES.items()}


def target(shape):
    """The weights to be far from."""
    return np.linspace(-2, 3, int(np.prod(shape))).reshape(shape)


TARGET = {name: target(shape) for name, shape in SHAPES.items()}
numbers = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
trees = st.fixed_dictionaries({name: arrays(np.float64, shape, elements=numbers) for name, shape in SHAPES.items()})

HALVES = {"kernel": 0.5, "wide": True, "patches": 2.0, "bias": False, "gain": False}
MASKS = {"kernels": kernels, "halves": lambda params: HALVES, "everything": everything}


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


class Law(NamedTuple):
    """A penalty, and what it is of one leaf in plain NumPy."""

    penalty: Callable
    value: Callable
    gradient: Callable
    of_any_shape: bool = True


def groups(axis):
    """The group lasso along an axis, written out."""

    def norms(w):
        return np.sqrt((w * w).sum(axis=axis, keepdims=True))

    def root_size(w):
        return np.sqrt(w.size / norms(w).size)

    def gradient(w):
        return root_size(w) * np.divide(w, norms(w), out=np.zeros_like(w), where=norms(w) > 0)

    return Law(partial(group_lasso, axis=axis), lambda w: root_size(w) * norms(w).sum(), gradient, False)


def as_matrix(w):
    return w.reshape(-1, w.shape[-1])


def from_orthonormal(w):
    """The squared distance of the singular values from 1, in their squares."""
    return 0.25 * np.sum((np.linalg.svd(as_matrix(w), compute_uv=False) ** 2 - 1) ** 2)


def orthogonality_gradient(w):
    m = as_matrix(w)
    return (m @ (m.T @ m - np.eye(m.shape[1]))).reshape(w.shape)


LAWS = {
    "l2": Law(l2, lambda w: 0.5 * np.sum(w**2), lambda w: w),
    "l1": Law(l1, lambda w: np.sum(np.abs(w)), np.sign),
    "elastic_net": Law(
        partial(elastic_net, share=0.3),
        lambda w: 0.3 * np.sum(np.abs(w)) + 0.35 * np.sum(w**2),
        lambda w: 0.3 * np.sign(w) + 0.7 * w,
    ),
    "huber": Law(
        partial(huber, threshold=1.5),
        lambda w: np.sum(np.where(np.abs(w) <= 1.5, w**2 / 2, 1.5 * np.abs(w) - 1.125)),
        lambda w: np.clip(w, -1.5, 1.5),
    ),
    "group_lasso, rows": groups(-1),
    "group_lasso, columns": groups(0),
    "group_lasso, patches": groups((0, 1)),
    "orthogonality": Law(orthogonality, from_orthonormal, orthogonality_gradient, of_any_shape=False),
    "distance": Law(
        partial(distance, target=TARGET),
        lambda w: 0.5 * np.sum((w - target(w.shape)) ** 2),
        lambda w: w - target(w.shape),
    ),
}
CASES = [(law, mask) for law in LAWS for mask in MASKS if mask != "everything" or LAWS[law].of_any_shape]


@cache
def value_and_gradient(name, mask):
    return jax.jit(jax.value_and_grad(partial(LAWS[name].penalty, mask=MASKS[mask])))


@pytest.mark.parametrize(("name", "mask"), CASES)
@settings(max_examples=25)
@given(params=trees)
@example(params=ZEROS)
@example(params=TARGET)
def test_a_penalty_is_the_weighted_sum_over_leaves_and_so_is_its_gradient(name, mask, params):
    value, gradient = value_and_gradient(name, mask)(params)
    expected = 0.0
    for leaf, coefficient in MASKS[mask](params).items():
        if coefficient is False:
            np.testing.assert_array_equal(gradient[leaf], 0)
        else:
            expected += coefficient * LAWS[name].value(params[leaf])
            slope = coefficient * LAWS[name].gradient(params[leaf])
            np.testing.assert_allclose(gradient[leaf], slope, rtol=1e-10, atol=1e-10)
    assert float(value) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_orthogonality_refuses_a_vector():
    with pytest.raises(ValueError, match=r"needs matrices, but its mask takes in a leaf of shape \(3,\)"):
        orthogonality({"bias": jnp.ones(3)}, everything)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3)])
def test_orthogonality_is_zero_exactly_for_orthonormal_matrices(shape):
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=shape), full_matrices=False)
    assert float(orthogonality({"kernel": left @ right})) == pytest.approx(0, abs=1e-25)
    assert float(orthogonality({"kernel": 1.1 * left @ right})) > 0.01


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1))
def test_the_smallest_l2_of_factors_is_the_nuclear_norm_of_their_product(seed):
    """Balanced factors from the singular value decomposition attain it; no change of basis between them goes below.

    Source: Srebro, Rennie & Jaakkola (2004).
    """
    rng = np.random.default_rng(seed)
    left, values, right = np.linalg.svd(rng.normal(size=(4, 3)), full_matrices=False)
    first, second = left * np.sqrt(values), np.sqrt(values)[:, None] * right
    smallest = float(l2({"first": first, "second": second}))
    assert smallest == pytest.approx(values.sum(), rel=1e-12)
    for size in (1e-3, 0.1, 1.0):
        basis = np.eye(3) + size * rng.normal(size=(3, 3))
        other = {"first": first @ basis, "second": np.linalg.solve(basis, second)}
        np.testing.assert_allclose(other["first"] @ other["second"], (left * values) @ right, atol=1e-6)
        assert float(l2(other)) >= smallest - 1e-9


@pytest.mark.parametrize(
    "objective",
    [
        lambda params, number: elastic_net(params, number),
        lambda params, number: huber(params, number),
        lambda params, number: penalized(plain_loss, l2, number)(params, (), None, None)[0],
    ],
    ids=["share", "threshold", "strength"],
)
def test_the_numbers_of_a_penalty_may_be_traced_and_mapped(objective):
    column = np.array([0.1, 0.5, 0.9])
    together = jax.jit(jax.vmap(jax.grad(objective), in_axes=(None, 0)))(TARGET, column)
    for index, number in enumerate(column):
        alone = jax.grad(objective)(TARGET, float(number))
        jax.tree.map(lambda t, a, i=index: np.testing.assert_allclose(t[i], a, rtol=1e-12), together, alone)


def plain_loss(params, extras, batch, key):
    """Neither flat nor quadratic, and every leaf enters."""
    value = sum(jnp.sum(jnp.cos(leaf + 0.3)) for leaf in jax.tree.leaves(params))
    return value, (extras, {"loss": value})


def trajectory(optimizer, loss=plain_loss, steps=12):
    """The weights after every step, from TARGET upside down."""
    start = jax.tree.map(lambda leaf: jnp.asarray(1 - leaf), TARGET)

    def step(carry, _):
        params, state = carry
        gradients = jax.grad(lambda w: loss(w, (), None, None)[0])(params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1])()


def chain(place, core, decay):
    return place(core, decay, 0.05, lambda count: 1 / (1 + count))


def assert_same(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), first, second)


@pytest.mark.parametrize("name", LAWS)
def test_under_plain_descent_a_penalty_in_the_loss_is_a_decoupled_pull_down_it(name):
    penalty, strength = LAWS[name].penalty, 0.4
    in_loss = trajectory(chain(decoupled, optax.identity(), optax.identity()), penalized(plain_loss, penalty, strength))
    pulled = trajectory(chain(decoupled, optax.identity(), decay_weights(strength, down(penalty))))
    assert_same(in_loss, pulled)
    without = trajectory(chain(decoupled, optax.identity(), optax.identity()))
    assert not np.allclose(in_loss["kernel"], without["kernel"], rtol=1e-3)
    np.testing.assert_array_equal(pulled["bias"], without["bias"])


@pytest.mark.parametrize("core", [optax.identity(), optax.trace(0.9), optax.scale_by_adam()], ids=["sgd", "m", "adam"])
def test_distance_to_the_start_in_the_loss_is_coupled_decay_toward_it(core):
    """L2-SP (1802.01483), in the loss and out of it."""
    start = jax.tree.map(lambda leaf: 1 - leaf, TARGET)
    in_loss = penalized(plain_loss, lambda params: distance(params, start), 0.4)
    assert_same(
        trajectory(chain(coupled, core, optax.identity()), in_loss),
        trajectory(chain(coupled, core, decay_toward_start(0.4))),
    )


@settings(max_examples=25)
@given(trees, st.sampled_from(list(MASKS.values())), st.floats(0, 10))
def test_decay_adds_rate_times_coefficient_times_weight(params, mask, rate):
    link = decay_weights(rate, mask=mask)
    updates = {name: np.ones_like(w) for name, w in params.items()}
    decayed, _ = link.update(updates, link.init(params), params)
    for name, c in mask(params).items():
        np.testing.assert_allclose(decayed[name], 1 + rate * float(c) * params[name], rtol=1e-12, atol=1e-12)


NET = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones((2,))}, "norm": {"scale": jnp.ones((2,))}}


def flags(dense, bias, scale):
    """A tree of coefficients for NET."""
    return {"dense": {"kernel": dense, "bias": bias}, "norm": {"scale": scale}}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (kernels, flags(True, False, False)),
        (matrices, flags(True, False, False)),
        (everything, flags(True, True, True)),
        (biases, flags(False, True, False)),
        (norms, flags(False, False, True)),
        (all_but(biases), flags(True, False, True)),
        (all_but(biases, norms), flags(True, False, False)),
        (all_but(matching("dense")), flags(False, False, True)),
        (all_but({"dense": True, "norm": None}), flags(False, False, True)),
        (matching("^dense/"), flags(True, True, False)),
        (flags(True, False, True), flags(True, False, True)),
        (flags(np.bool_(True), np.array(False), None), flags(True, np.array(False), False)),
        (freeze(flags(True, None, 0.5)), flags(True, False, 0.5)),
        (lambda params: freeze(kernels(params)), flags(True, False, False)),
        (True, flags(True, True, True)),
        ({"dense": True, "norm": False}, flags(True, True, False)),
        ({"dense": {"kernel": 2.0, "bias": None}, "norm": None}, flags(2.0, False, False)),
        ({"dense": {"kernel": 2, "bias": np.float32(3)}, "norm": 0.0}, flags(2, np.float32(3), 0.0)),
        (flags(np.ones((3, 1)), True, False), flags(np.ones((3, 1)), True, False)),
    ],
)
def test_a_mask_is_a_function_or_a_tree_that_may_be_coarser(mask, expected):
    found = coefficients(mask, NET)
    assert jax.tree.structure(found) == jax.tree.structure(NET)
    for c, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(c) is type(e)
        np.testing.assert_array_equal(c, e)
    frozen = coefficients(mask, freeze(NET))
    assert jax.tree.structure(frozen) == jax.tree.structure(freeze(NET))
    assert str(jax.tree.leaves(frozen)) == str(jax.tree.leaves(found))


@jax.tree_util.register_pytree_with_keys_class
class Model:
    """A module that can be called, as those of Equinox are."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def __call__(self, inputs):
        raise AssertionError("a tree of weights is no mask function")

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in ("weight", "bias")], None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


class Pair(NamedTuple):
    """Two leaves."""

    kernel: object
    bias: object


def linear(rngs):
    return nnx.Linear(3, 2, rngs=rngs)


W, B = jnp.ones((3, 2)), jnp.ones((2,))
CONTAINERS = {
    "list": ([W, B], [True, False]),
    "tuples": (((W, B), (W,)), ((True, False), (True,))),
    "NamedTuple": (Pair(W, B), Pair(True, False)),
    "a module": (Model(W, B), Model(True, False)),
    "a module without its bias": (Model(W, None), Model(True, None)),
    "nnx.State": (nnx.state(linear(nnx.Rngs(0))), {"kernel": True, "bias": False}),
    "an nnx module": (linear(nnx.Rngs(0)), {"kernel": True, "bias": False}),
    "a group of optax": ({"a": {"kernel": W}, "b": optax.MaskedNode()}, {"a": True, "b": False}),
    "one array": (W, True),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_params_may_be_any_tree(kind):
    params, tree = CONTAINERS[kind]
    for mask in (tree, kernels, lambda params: kernels(params)):
        found = coefficients(mask, params)
        assert jax.tree.structure(found) == jax.tree.structure(params)
        assert [c for c in jax.tree.leaves(found) if c] == [True] * sum(w.ndim == 2 for w in jax.tree.leaves(params))
        decayed = sum(0.5 * jnp.sum(w * w) for w in jax.tree.leaves(params) if w.ndim == 2)
        assert float(l2(params, mask)) == pytest.approx(float(decayed))


@pytest.mark.parametrize("params", [{}, {"w": optax.MaskedNode()}, None])
def test_a_tree_without_leaves_needs_no_decay(params):
    for mask in (kernels, matching("w"), {"w": True} if params else None):
        assert jax.tree.leaves(coefficients(mask, params)) == []


LEAVES = "the leaves are: dense/bias, dense/kernel, norm/scale"


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ([True, False, True], f"the mask has an entry 0, and the params nothing there: {LEAVES}"),
        ({"dense": True, "nrom": True}, f"the mask has an entry nrom, and the params nothing there: {LEAVES}"),
        ({"dense": {"kernel": {"x": True}}, "norm": 1}, "the mask has an entry dense/kernel/x, and the params nothing"),
        ({"dense": True}, "the mask says nothing of norm/scale: give a value to it or to a subtree that it is in"),
        (lambda params: {"norm": True}, "the mask says nothing of dense/bias"),
        (flags(True, np.ones(3), False), r"the mask of dense/bias has shape \(3,\), which does not broadcast against"),
        (flags(np.ones((4, 3, 2)), True, False), r"the mask of dense/kernel has shape \(4, 3, 2\), which does not"),
        (flags("yes", True, False), "the mask of dense/kernel is 'yes': give True, False, None, a number or an array"),
        (embeddings, f"the mask takes in no leaf, so nothing would decay: give one that does; {LEAVES}"),
        ({"dense": None, "norm": False}, "the mask takes in no leaf, so nothing would decay"),
        ({"dense": 0.0, "norm": np.zeros(2)}, "the mask takes in no leaf, so nothing would decay"),
        (all_but(everything), "the mask takes in no leaf, so nothing would decay"),
        (matching("kernal"), f"the mask pattern 'kernal' matches no leaf; {LEAVES}"),
    ],
)
def test_a_mask_that_does_not_fit_says_where(mask, says):
    for use in (lambda: coefficients(mask, NET), lambda: l2(NET, mask), lambda: entries(NET, mask)):
        with pytest.raises(DecayError, match=says):
            use()


@pytest.mark.parametrize(
    ("build", "says"),
    [(all_but, "all_but wants masks to leave out"), (lambda: matching("["), r"'\[' is no regular expression")],
)
def test_what_is_no_mask_is_refused_when_it_is_made(build, says):
    with pytest.raises(DecayError, match=says):
        build()


def test_of_many_leaves_the_first_are_named():
    with pytest.raises(DecayError, match=r"leaves are: b00, .*, b19 and 5 more$"):
        coefficients(kernels, {f"b{number:02}": jnp.ones(2) for number in range(25)})


def test_a_tree_of_rates_and_a_target_meet_the_params_in_the_same_way():
    assert per_leaf({"dense": 0.1, "norm": None}, NET, "rate") == flags(0.1, 0.1, False)
    with pytest.raises(DecayError, match="the rate says nothing of norm/scale"):
        per_leaf({"dense": 0.1}, NET, "rate")
    assert float(distance(NET, freeze(NET))) == 0
    with pytest.raises(DecayError, match="the target says nothing of norm/scale"):
        distance(NET, {"dense": NET["dense"]})


@pytest.mark.parametrize("name", ["l2", "l1", "elastic_net", "huber"])
def test_a_coefficient_per_row_weighs_every_entry_of_the_row(name):
    rows = np.array([[0.0], [0.5], [2.0]])
    table = {"embedding": target((3, 4)), "kernel": target((2, 2))}
    value, slope = jax.value_and_grad(partial(LAWS[name].penalty, mask={"embedding": rows, "kernel": None}))(table)
    by_hand = sum(float(c) * LAWS[name].value(row) for (c,), row in zip(rows, table["embedding"], strict=True))
    assert float(value) == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(slope["embedding"], rows * LAWS[name].gradient(table["embedding"]), rtol=1e-12)
    np.testing.assert_array_equal(slope["kernel"], 0)


@pytest.mark.parametrize("penalty", [group_lasso, orthogonality])
def test_what_takes_a_leaf_as_a_whole_wants_one_number_for_it(penalty):
    with pytest.raises(DecayError, match="the mask of kernel is an array, and leaves are penalized as a whole here"):
        penalty({"kernel": jnp.ones((3, 2))}, mask={"kernel": np.ones((3, 1))})


PER_LAYER = {
    "orthogonality": orthogonality,
    "group_lasso, rows": group_lasso,
    "group_lasso, columns": partial(group_lasso, axis=0),
    "group_lasso, whole layers": partial(group_lasso, axis=(0, 1)),
}


@pytest.mark.parametrize("name", PER_LAYER)
def test_a_kernel_of_stacked_layers_is_penalized_layer_by_layer(name):
    layers = [{"kernel": target((4, 2)) + layer, "bias": np.ones(2)} for layer in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *layers)
    assert float(PER_LAYER[name](stacked)) == pytest.approx(sum(map(float, map(PER_LAYER[name], layers))), rel=1e-12)


def test_coefficients_may_be_traced_and_mapped():
    def of(number):
        return l2(NET, {"dense": number, "norm": None})

    column = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(column), column * (3 + 1), rtol=1e-12)


def test_entries_are_those_of_the_leaves_that_are_taken_in():
    params = {"kernel": jnp.arange(6.0).reshape(3, 2), "bias": jnp.array([9.0])}
    np.testing.assert_array_equal(entries(params), np.arange(6.0))
    np.testing.assert_array_equal(entries(params, {"bias": True, "kernel": False}), [9.0])


DESCRIPTION = """\
leaf          shape   role    by            decays
dense/bias    2       bias    name: bias    0.5
dense/kernel  3x2     kernel  name: kernel  yes
norm/scale    2       norm    name: scale   no
tau           number  other   name: tau     no
2 of 4 leaves decay, 8 of 11 weights"""


@pytest.mark.parametrize(
    "shaped", [lambda tree: tree, lambda tree: jax.eval_shape(lambda: tree)], ids=["arrays", "shapes"]
)
def test_a_mask_is_described_leaf_by_leaf(shaped):
    params = shaped({**NET, "tau": jnp.ones(())})
    assert describe({"dense": {"kernel": True, "bias": 0.5}, "norm": False, "tau": None}, params) == DESCRIPTION
    said = describe({"dense": {"kernel": np.ones((3, 1)), "bias": np.float32(2)}, "norm": False, "tau": 1}, params)
    assert [line.split()[-1] for line in said.splitlines()[1:-1]] == ["2", "3x1", "no", "1"]


def test_a_traced_coefficient_is_described_as_such():
    said = []
    jax.eval_shape(lambda c: said.append(describe(flags(c, True, None), NET)), 0.1)
    assert [line.split()[-1] for line in said[0].splitlines()[1:-1]] == ["yes", "traced", "no"]


COMPLEX = {
    "kernel": target((3, 2)) + 1j * (target((3, 2))[::-1] + 0.25),
    "wide": 2 - target((2, 4)) + 0.5j,
    "bias": np.ones(3) * 1j,
}
OF_MAGNITUDES = [name for name in LAWS if name not in ("orthogonality", "distance", "group_lasso, patches")]


@pytest.mark.parametrize("name", OF_MAGNITUDES)
def test_complex_weights_are_penalized_by_their_magnitude(name):
    """The conjugate of what jax.grad returns is the slope along the magnitude, in the direction of the weight."""
    value, slope = jax.value_and_grad(LAWS[name].penalty)(COMPLEX)
    assert value.dtype == jnp.float64
    matrices_of = [COMPLEX["kernel"], COMPLEX["wide"]]
    assert float(value) == pytest.approx(sum(LAWS[name].value(np.abs(w)) for w in matrices_of), rel=1e-12)
    for leaf in ("kernel", "wide"):
        size = np.abs(COMPLEX[leaf])
        expected = LAWS[name].gradient(size) * COMPLEX[leaf] / size
        np.testing.assert_allclose(np.conj(slope[leaf]), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(slope["bias"], 0)
    at_zero = jax.grad(LAWS[name].penalty)(jax.tree.map(jnp.zeros_like, COMPLEX))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), at_zero)


def test_complex_distance_and_orthogonality():
    shifted = jax.tree.map(lambda w: w - 3j, COMPLEX)
    assert float(distance(COMPLEX, shifted)) == pytest.approx(0.5 * 9 * (6 + 8), rel=1e-12)
    unitary = np.linalg.svd(COMPLEX["kernel"], full_matrices=False)[0]
    assert float(orthogonality({"kernel": unitary})) == pytest.approx(0, abs=1e-25)
    for w in (COMPLEX["kernel"], COMPLEX["kernel"].T):
        assert float(orthogonality({"kernel": w})) == pytest.approx(from_orthonormal(COMPLEX["kernel"]), rel=1e-10)


def test_descent_with_conjugated_gradients_shrinks_complex_weights_and_without_it_their_imaginary_parts_grow():
    """optax conjugates nothing, and JAX's gradient of a real function is the conjugate of the direction of ascent."""
    optimizer = optax.sgd(0.1)

    def step(w, of_gradient):
        gradient = of_gradient(jax.grad(l2)({"kernel": w})["kernel"])
        updates, _ = optimizer.update({"kernel": gradient}, optimizer.init({"kernel": w}))
        return optax.apply_updates({"kernel": w}, updates)["kernel"]

    w = jnp.asarray(COMPLEX["kernel"])
    np.testing.assert_allclose(step(w, jnp.conj), 0.9 * w, rtol=1e-12)
    np.testing.assert_allclose(step(w, lambda gradient: gradient), 0.9 * w.real + 1.1j * w.imag, rtol=1e-12)


def test_the_name_of_a_leaf_is_its_path():
    params = {"first": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "last": {"kernel": jnp.ones((2, 2))}}
    assert matching("^first/")(params) == {"first": {"kernel": True, "bias": True}, "last": {"kernel": False}}
    assert next(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)) == "first/bias"


def test_penalized_adds_the_penalty_and_keeps_the_terms_apart():
    def loss(params, extras, batch, key):
        return jnp.sum(params["w"]), (extras, {"loss": jnp.sum(params["w"])})

    params = {"w": jnp.array([[1.0, -2.0]])}
    value, (_, metrics) = penalized(loss, l2, 0.1)(params, (), None, None)
    assert float(value) == pytest.approx(-1 + 0.25)
    assert {name: float(x) for name, x in metrics.items()} == pytest.approx({"loss": -1.0, "penalty": 0.25})
