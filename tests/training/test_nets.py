"""The same net written four ways trains to the same weights, and what is no net is said to be none."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from wd_research.flags import UserError
from wd_research.training.data import draw_split
from wd_research.training.loading import from_arrays
from wd_research.training.models import Mlp
from wd_research.training.nets import as_net, mode, of_functions, of_nnx
from wd_research.training.tasks import classification, outputs_of, regression, supervised

INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), jnp.float32)
KEY = jax.random.key(3)


class Linen(nn.Module):
    """Dense, norm, dropout, dense."""

    @nn.compact
    def __call__(self, inputs, training, scale=1.0):
        hidden = nn.BatchNorm(use_running_average=not training, momentum=0.9, name="norm")(
            nn.Dense(6, name="first")(inputs)
        )
        hidden = nn.Dropout(0.5, deterministic=not training)(nn.relu(scale * hidden))
        return nn.Dense(3, name="last")(hidden)


class Nnx(nnx.Module):
    """The same."""

    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(5, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(6, momentum=0.9, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, inputs, scale=1.0):
        return self.last(self.dropout(nnx.relu(scale * self.norm(self.first(inputs)))))


NETS = {"linen": as_net(Linen()), "nnx": of_nnx(lambda rngs: Nnx(rngs))}


def flat(tree):
    return dict(jax.tree_util.tree_leaves_with_path(tree))


@pytest.mark.parametrize("name", NETS)
def test_weights_are_named_trees_and_seeds_differ(name):
    (params, extras), (others, _) = (NETS[name].init(jax.random.key(seed), INPUTS[:1]) for seed in (0, 1))
    assert set(params) == {"first", "norm", "last"}
    assert set(params["first"]) == {"kernel", "bias"}
    assert (params["first"]["kernel"] != others["first"]["kernel"]).all()
    assert {leaf.shape for leaf in jax.tree.leaves(extras)} == {(6,)}


def test_linen_and_nnx_make_the_same_of_the_same_weights():
    params, linen_extras = NETS["linen"].init(KEY, INPUTS[:1])
    _, nnx_extras = NETS["nnx"].init(KEY, INPUTS[:1])
    seen = {}
    for name, extras in (("linen", linen_extras), ("nnx", nnx_extras)):
        outputs, same = NETS[name].apply(params, extras, INPUTS, False)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), same, extras))
        seen[name] = outputs
    np.testing.assert_allclose(seen["linen"], seen["nnx"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_training_draws_by_its_key_and_moves_the_statistics(name):
    params, extras = NETS[name].init(KEY, INPUTS[:1])
    (once, moved), (again, _), (other, _) = (
        NETS[name].apply(params, extras, INPUTS, True, jax.random.key(seed), scale=2.0) for seed in (0, 0, 1)
    )
    assert (once == again).all()
    assert (once != other).any()
    assert any((new != old).any() for new, old in zip(*map(jax.tree.leaves, (moved, extras)), strict=True))
    assert jax.tree.structure(moved) == jax.tree.structure(extras)


@pytest.mark.parametrize("name", NETS)
def test_nothing_leaks_from_a_trace(name):
    """Nets live inside jit, vmap and grad, and can be used after it."""
    net = NETS[name]

    @jax.jit
    @jax.vmap
    def slope(key):
        params, extras = net.init(key, INPUTS[:1])
        return jax.grad(lambda params: net.apply(params, extras, INPUTS, True, key)[0].sum())(params)

    with jax.checking_leaks():
        slopes = slope(jax.random.split(KEY, 3))
    assert slopes["first"]["kernel"].shape == (3, 5, 6)
    assert np.isfinite(net.apply(*net.init(KEY, INPUTS[:1]), INPUTS, False)[0]).all()


class Rated(nn.Module):
    """flax's own Dropout, with a rate that is given; `axes` share what is drawn."""

    axes: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, inputs, train=False, dropout=0.0, called=None):
        drop = nn.Dropout(dropout, broadcast_dims=self.axes, deterministic=None if called is not None else not train)
        return drop(nn.Dense(6)(inputs), *([] if called is None else [called]))


@pytest.mark.parametrize("axes", [(), (0,), (-1,)])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8])
def test_a_dropout_of_flax_may_have_a_traced_rate(rate, axes):
    net = as_net(Rated(axes))
    params, extras = net.init(KEY, INPUTS[:1])
    whole = np.asarray(net.apply(params, extras, INPUTS, False)[0])
    seeds = jax.random.split(KEY, 500)
    drop = jax.jit(jax.vmap(lambda key, rate: net.apply(params, extras, INPUTS, True, key, dropout=rate)[0], (0, None)))
    ratio = np.asarray(drop(seeds, rate)) / whole
    assert np.unique(ratio[ratio > 0].round(4)).tolist() == pytest.approx([1 / (1 - rate)], rel=1e-3)
    assert (ratio == 0).mean() == pytest.approx(rate, abs=0.03)
    for axis in (0, -1):
        along = np.moveaxis(ratio == 0, axis if axis < 0 else axis + 1, 0)  # the first axis is the seeds'
        alike = (along[0] == along[1]).all()
        assert alike == (axis in axes or rate == 0)
    np.testing.assert_array_equal(net.apply(params, extras, INPUTS, False)[0], whole)


@pytest.mark.parametrize(("called", "drops"), [(True, False), (False, True)])
def test_a_traced_rate_heeds_what_the_call_of_dropout_says(called, drops):
    net = as_net(Rated())
    params, extras = net.init(KEY, INPUTS[:1])
    drop = jax.jit(lambda rate: net.apply(params, extras, INPUTS, True, KEY, dropout=rate, called=called)[0])
    assert bool((drop(0.5) == 0).any()) == drops


class Noisy(nn.Module):
    """A Dropout that draws from the streams of these names, one after the other, each from its inputs."""

    streams: tuple[str, ...]
    traced: bool = False

    @nn.compact
    def __call__(self, inputs, train=False):
        rate = jnp.float32(0.5) if self.traced else 0.5
        return jnp.stack(
            [nn.Dropout(rate, rng_collection=name, deterministic=not train)(inputs) for name in self.streams]
        )


@pytest.mark.parametrize("traced", [False, True])
def test_a_linen_module_may_draw_from_a_stream_of_any_name(traced):
    net = as_net(Noisy(("dropout", "noise", "shake"), traced))
    params, extras = net.init(KEY, INPUTS[:1])
    draw = jax.jit(lambda key: net.apply(params, extras, INPUTS, True, key)[0])
    once, again, other = (np.asarray(draw(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    for first, second in ((once[0], once[1]), (once[1], once[2]), *zip(once, other, strict=True)):
        assert ((first == 0) != (second == 0)).any()
    np.testing.assert_array_equal(net.apply(params, extras, INPUTS, False)[0], np.stack([INPUTS] * 3))
    alone = as_net(Noisy(("dropout",), traced)).apply({}, {}, INPUTS, True, jax.random.key(0))[0]
    np.testing.assert_array_equal(once[0], alone[0])


def test_streams_of_random_numbers_differ_from_each_other():
    class Two(nnx.Module):
        def __init__(self, rngs):
            self.one, self.two = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, inputs):
            return self.one(inputs) - self.two(inputs)

    outputs, _ = of_nnx(lambda rngs: Two(rngs)).apply({}, {}, INPUTS, True, KEY)
    assert (outputs != 0).any()


def test_functions_are_a_net():
    net = of_functions(
        lambda key: jax.random.normal(key, (5, 3)), lambda params, inputs, scale=1.0: scale * inputs @ params
    )
    params, extras = net.init(KEY, INPUTS[:1])
    np.testing.assert_allclose(net.apply(params, extras, INPUTS, False, scale=9.0)[0], INPUTS @ params, rtol=1e-5)
    np.testing.assert_allclose(
        net.apply(params, extras, INPUTS, True, KEY, scale=2.0)[0], 2 * INPUTS @ params, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["train", "training", "is_training", "deterministic"])
def test_a_module_is_told_whether_it_trains(name):
    call = eval(f"lambda inputs, {name}: None")
    assert mode(call, True) == {name: name != "deterministic"}
    assert mode(call, False) == {name: name == "deterministic"}
    assert mode(lambda inputs: None, True) == {}


def test_what_is_no_net_is_said():
    with pytest.raises(TypeError, match=r"a Nnx is no net: .*of_nnx\(lambda rngs"):
        as_net(Nnx(nnx.Rngs(0)))  # pyright: ignore


CLASSES, NUMBERS = np.array([0, 1, 2] * 10), np.linspace(-5, 50, 30)
POOL = np.random.default_rng(1).normal(size=(30, 5))


def split(seed):
    raise AssertionError("nothing was to be drawn")


@pytest.mark.parametrize(
    ("task", "model", "targets", "said"),
    [
        (classification, Mlp((4,), 2), CLASSES, r"outputs of shape \(2,\) from an example: .* logits of shape \(3,\)"),
        (classification, Mlp((4,), 3), NUMBERS, "no classes"),
        (regression, Mlp((4,), 2), NUMBERS, r"outputs of shape \(2,\) .* targets are of shape \(\)"),
        (regression, Mlp((4,), 1), CLASSES, "are classes"),
    ],
)
def test_a_net_that_does_not_fit_is_one_sentence(task, model, targets, said):
    with pytest.raises(UserError, match=said) as caught:
        task(model, from_arrays(POOL, targets), split, 5)
    assert "\n" not in str(caught.value)


def test_what_a_net_raises_says_of_which_example():
    """It may be a bug of its author's, so it keeps its type and its traceback."""
    with pytest.raises(ValueError, match="number of dimensions") as caught:
        classification(nn.Conv(3, (2, 2, 2)), from_arrays(POOL, CLASSES), split, 5)
    assert not isinstance(caught.value, UserError)
    assert any("example of shape (5,), type float32" in note for note in caught.value.__notes__)


def test_a_net_that_always_says_the_mean_has_regression_loss_1():
    examples = from_arrays(POOL, NUMBERS)
    zero = of_functions(lambda key: jnp.zeros(()), lambda params, inputs: params * jnp.ones((len(inputs), 1)))
    task = regression(zero, examples, lambda seed: draw_split(examples, seed, 10, 5), 5)
    drawn = task.split(0)
    splits = task.splits(examples, drawn)
    losses = [float(task.evaluate(jnp.zeros(()), {}, batch, name)["loss"]) for name, batch in splits.items()]
    assert np.dot(losses, [10, 5, 15]) / 30 == pytest.approx(1, rel=1e-5)


def test_a_loss_of_ones_own():
    examples = from_arrays(POOL, NUMBERS)

    def measure(outputs, targets):
        return {"loss": jnp.abs(outputs[:, 0] - targets).mean(), "most": outputs.max()}

    task = supervised(as_net(Mlp((4,), 1)), examples, lambda seed: draw_split(examples, seed, 10, 5), 5, measure)
    batch = task.splits(examples, task.split(0))["test"]
    measured = jax.eval_shape(lambda key: task.evaluate(*task.init(key), batch, "test"), KEY)
    assert set(measured) == {"loss", "most"}
    assert outputs_of(as_net(Mlp((4,), 1)), examples) == (1,)
