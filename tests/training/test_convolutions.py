"""Convolutions compute what JAX's own compute, and name their axes in the one order that XLA's library knows."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.training.convolutions import as_flax_calls, convolution
from wd_research.training.models import Convolution
from wd_research.training.nets import of_linen, of_nnx
from wd_research.training.resnet import ResNet

KNOWN = {"[b, 0, f]x[0, i, o]->[b, 0, f]", "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]",
         "[b, 0, 1, 2, f]x[0, 1, 2, i, o]->[b, 0, 1, 2, f]"}  # fmt: skip


def orders(function, *arguments):
    """The orders of axes in which the program of a function convolves."""
    text = jax.jit(function).lower(*arguments).as_text()
    return re.findall(r"dim_numbers = (\[[^]]*\]x\[[^]]*\]->\[[^]]*\])", text)


@settings(max_examples=8)  # each compiles
@given(
    rows=st.integers(1, 5), columns=st.integers(1, 5), height=st.integers(1, 6), width=st.integers(1, 6),
    channels=st.sampled_from((1, 2, 3, 17)), features=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_convolution_is_flaxs(rows, columns, height, width, channels, features, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((2, height, width, channels)).astype(np.float32)
    kernel = rng.standard_normal((rows, columns, channels, features)).astype(np.float32)
    flaxs = nn.Conv(features, (rows, columns), use_bias=False)
    both = jax.jit(
        lambda inputs, kernel: (convolution(inputs, kernel), flaxs.apply({"params": {"kernel": kernel}}, inputs))
    )
    np.testing.assert_allclose(*both(inputs, kernel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 16])
@pytest.mark.parametrize(("width", "window"), [(6, (3, 3)), (5, (3, 3)), (1, (3, 3)), (5, (1, 1)), (4, (2, 5))])
def test_gradients_of_a_convolution_are_flaxs(width, window, channels):
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((3, 6, width, channels)), jnp.float32)
    ours, theirs = Convolution(4, window), nn.Conv(4, window)

    @jax.jit
    def gradients(key):
        params = ours.init(key, inputs)
        losses = [lambda *at, net=net: jnp.sum(jnp.sin(net.apply(*at))) for net in (ours, theirs)]
        return [jax.grad(loss, argnums=(0, 1))(params, inputs) for loss in losses]

    for mine, yours in zip(*map(jax.tree.leaves, gradients(jax.random.key(0))), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)


SIDES = st.integers(3, 8)


@settings(max_examples=10)  # each compiles
@given(
    sides=st.lists(SIDES, min_size=1, max_size=2), window=st.integers(1, 3), stride=st.integers(1, 3),
    padding=st.one_of(st.sampled_from(("SAME", "VALID")), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    channels=st.sampled_from((2, 17)), dilation=st.sampled_from((1, 1, 1, 2)), groups=st.sampled_from((1, 1, 1, 2)),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_what_flax_calls_is_jaxs(sides, window, stride, padding, channels, dilation, groups, seed):
    rng = np.random.default_rng(seed)
    pads = padding if isinstance(padding, str) else [padding] * len(sides)
    groups = 1 if channels % 2 else groups
    inputs = jnp.asarray(rng.standard_normal((2, *sides, channels)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((*[window] * len(sides), channels // groups, 4)), jnp.float32)
    axes = tuple(range(1, 1 + len(sides)))
    at = {
        "dimension_numbers": jax.lax.ConvDimensionNumbers(
            (0, len(sides) + 1, *axes), (len(sides) + 1, len(sides), *range(len(sides))), (0, len(sides) + 1, *axes)
        ),
        "lhs_dilation": (1,) * len(sides), "rhs_dilation": (dilation,) * len(sides), "feature_group_count": groups,
    }  # fmt: skip

    @jax.jit
    def outputs_and_gradients(inputs, kernel):
        found = []
        for convolve in (as_flax_calls, jax.lax.conv_general_dilated):

            def of(*both, convolve=convolve):
                return convolve(*both, (stride,) * len(sides), pads, **at)

            gradients = jax.grad(lambda *both, of=of: jnp.sin(of(*both)).sum(), (0, 1))
            found.append((of(inputs, kernel), *gradients(inputs, kernel)))
        return found

    for ours, theirs in zip(*outputs_and_gradients(inputs, kernel), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


class Strided(nn.Module):
    """Convolutions as users have them: strides, padding of one's own, and one of one axis."""

    @nn.compact
    def __call__(self, inputs):
        hidden = nn.relu(nn.Conv(16, (3, 3), strides=2, padding=((1, 1), (1, 1)))(inputs))
        hidden = nn.relu(nn.Conv(16, (3, 3), name="same")(hidden))
        hidden = nn.relu(nn.Conv(16, (1, 1), strides=2, padding="VALID")(hidden))
        return nn.Conv(4, (3,))(hidden.mean(axis=1)).mean(axis=1)


class NnxStrided(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(2, 16, (3, 3), strides=2, padding=((1, 1), (1, 1)), rngs=rngs)
        self.layers = nnx.List([nnx.Conv(16, 16, (3, 3), rngs=rngs)])

    def __call__(self, inputs):
        hidden = nnx.relu(self.first(inputs))
        for layer in self.layers:
            hidden = nnx.relu(layer(hidden))
        return hidden.mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("net", "plain"),
    [
        (of_linen(Strided()), lambda params, inputs: Strided().apply({"params": params}, inputs)),
        (of_linen(ResNet((16, 32), 4, norm="none")), None),
        (of_nnx(NnxStrided), None),
    ],
    ids=["flax", "ours", "nnx"],
)
def test_nets_of_flax_convolve_in_the_order_that_is_quick_in_a_loop(net, plain):
    inputs = jax.random.normal(jax.random.key(1), (3, 8, 8, 2))
    params, extras = net.init(jax.random.key(0), inputs[:1])

    def loss(params, inputs):
        return jnp.sin(net.apply(params, extras, inputs, True, jax.random.key(2))[0]).sum()

    seen = orders(jax.grad(loss, (0, 1)), params, inputs)
    assert seen
    assert set(seen) <= KNOWN
    if plain is not None:
        theirs = orders(jax.grad(lambda *at: jnp.sin(plain(*at)).sum(), (0, 1)), params, inputs)
        assert not set(theirs) <= KNOWN  # or this test is of no use
        np.testing.assert_allclose(loss(params, inputs), jnp.sin(plain(params, inputs)).sum(), rtol=1e-5)


def test_a_convolution_of_ones_own_stays():
    def doubled(*arguments, **settings):
        return 2 * jax.lax.conv_general_dilated(*arguments, **settings)

    inputs = jnp.ones((1, 4, 4, 1))
    once, twice = (of_linen(nn.Sequential([nn.Conv(2, (3, 3), use_bias=False, conv_general_dilated=own)]))
                   for own in (None, doubled))  # fmt: skip
    params, _ = once.init(jax.random.key(0), inputs)
    np.testing.assert_allclose(
        2 * once.apply(params, {}, inputs, True)[0], twice.apply(params, {}, inputs, True)[0], rtol=1e-5
    )


def test_the_type_that_a_convolution_of_nnx_asks_for_is_its_own():
    def build(rngs):
        return nnx.Conv(2, 4, (3, 3), param_dtype=jnp.bfloat16, preferred_element_type=jnp.float32, rngs=rngs)

    net = of_nnx(build)
    params, extras = net.init(jax.random.key(0), None)
    outputs, _ = net.apply(params, extras, jnp.ones((1, 4, 4, 2), jnp.bfloat16), True, jax.random.key(1))
    assert outputs.dtype == jnp.float32
