"""Laws of training on a sphere: norms stay, a step turns by its angle, everything else trains as it would."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.decay.masks import DecayError, everything, matching
from wd_research.decay.places import decoupled, descend
from wd_research.decay.sphere import keep_norm, on_sphere, relative_steps
from wd_research.decay.transforms import decay_weights

CORES = {"sgd": optax.identity(), "momentum": optax.trace(0.9), "adam": optax.scale_by_adam(),
         "lion": optax.scale_by_lion()}  # fmt: skip
COSINE = optax.cosine_decay_schedule(1.0, 10)
ETA = 0.1


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def drawn(seed):
    draw = np.random.default_rng(seed).standard_normal
    return {"a": {"kernel": draw((3, 2)), "bias": draw(2)}, "b": {"kernel": draw((2, 4))}}


def gradient(params, t):
    return jax.tree.map(lambda w: jnp.sin(3 * w) + jnp.cos(2.0 * t + jnp.arange(w.size)).reshape(w.shape), params)


def path(optimizer, params, steps=10):
    """The weights after every step, the first before it."""
    state, seen = optimizer.init(params), [params]
    for t in range(steps):
        updates, state = optimizer.update(gradient(params, t), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


@pytest.mark.parametrize("core", CORES)
def test_every_step_is_the_formula(core):
    seen, state = path(on_sphere(CORES[core], ETA, COSINE), drawn(0)), CORES[core].init(drawn(0))
    for t, (before, after) in enumerate(pairwise(seen)):
        steps, state = CORES[core].update(gradient(before, t), state, before)
        eta = ETA * float(COSINE(t))
        for name in ("a", "b"):
            w, u, norm = (
                before[name]["kernel"],
                np.asarray(steps[name]["kernel"]),
                np.linalg.norm(drawn(0)[name]["kernel"]),
            )
            v = w - eta * norm * u / np.linalg.norm(u)
            np.testing.assert_allclose(after[name]["kernel"], norm * v / np.linalg.norm(v), rtol=1e-9)
        np.testing.assert_allclose(after["a"]["bias"], before["a"]["bias"] - eta * steps["a"]["bias"], rtol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1), st.floats(1e-4, 0.5))
def test_a_step_across_a_weight_turns_it_by_the_arc_tangent_of_the_rate(seed, eta):
    params = drawn(seed)
    w, u = params["b"]["kernel"], drawn(seed + 1)["b"]["kernel"]
    across = u - w * np.sum(u * w) / np.sum(w * w)
    optimizer = on_sphere(optax.identity(), eta, optax.constant_schedule(1.0))
    updates, _ = optimizer.update({**params, "b": {"kernel": across}}, optimizer.init(params), params)
    turned = np.asarray(w + updates["b"]["kernel"])
    cosine = np.sum(turned * w) / np.sum(w * w)
    assert np.arccos(np.clip(cosine, -1, 1)) == pytest.approx(np.arctan(eta), rel=1e-4)


@pytest.mark.parametrize("core", CORES)
def test_where_the_norm_is_held_decay_is_a_larger_step_and_nothing_else(core):
    """(1 - eta rate) w - eta u has the direction of w - eta / (1 - eta rate) u."""
    constant, rate = optax.constant_schedule(1.0), 0.7
    decayed = optax.chain(decoupled(CORES[core], decay_weights(rate, mask=everything), ETA, constant),
                          keep_norm(everything))  # fmt: skip
    larger = optax.chain(CORES[core], optax.scale(ETA / (1 - ETA * rate)), descend, keep_norm(everything))
    for one, other in zip(path(decayed, drawn(3)), path(larger, drawn(3)), strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), one, other)


def test_a_weight_or_a_step_of_zeros_is_left_as_it_is():
    params = {"w": np.zeros((2, 2)), "v": np.ones((2, 2))}
    optimizer = on_sphere(optax.identity(), ETA, optax.constant_schedule(1.0), everything)
    updates, _ = optimizer.update({"w": np.ones((2, 2)), "v": np.zeros((2, 2))}, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["v"], 0)
    assert np.isfinite(updates["w"]).all()
    alone = keep_norm(everything)
    moved, _ = alone.update({"w": np.full((2, 2), 0.3), "v": -params["v"]}, alone.init(params), params)
    np.testing.assert_array_equal(moved["w"], 0.3)  # no direction to keep
    np.testing.assert_array_equal(moved["v"], -1.0)  # it lands on zero, where no direction is


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_steps_and_weights_whose_squares_no_float_holds_have_a_norm(size):
    with jax.enable_x64(False):
        params, steps = {"w": jnp.ones((2, 2))}, {"w": jnp.full((2, 2), -size)}
        relative, _ = relative_steps(everything).update(steps, optax.EmptyState(), params)
        np.testing.assert_allclose(relative["w"], -1.0, rtol=1e-6)
        held = keep_norm(everything)
        moved, _ = held.update(steps, held.init(params), params)
        landed = np.asarray(params["w"] + moved["w"])
        np.testing.assert_allclose(np.linalg.norm(landed), 2.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_types_stay_and_the_whole_runs_traced(dtype):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), drawn(1))
    optimizer = on_sphere(optax.scale_by_adam(), ETA, COSINE)

    def step(carry, t):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.sin, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (after, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=50)
    for name in ("a", "b"):
        leaves = [np.asarray(tree[name]["kernel"], np.float64) for tree in (params, after)]
        assert after[name]["kernel"].dtype == dtype
        sizes = list(map(np.linalg.norm, leaves))
        assert sizes[1] == pytest.approx(sizes[0], rel=20 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("link", [relative_steps, keep_norm])
@pytest.mark.parametrize(
    ("mask", "says"),
    [(lambda params: jax.tree.map(lambda leaf: leaf > 0, params), "a norm is that of a whole leaf"),
     (matching("nowhere"), "nowhere")],
)  # fmt: skip
def test_a_mask_that_cannot_be_is_one_sentence(link, mask, says):
    with pytest.raises(DecayError, match=says):
        link(mask).init(drawn(0))


@pytest.mark.parametrize("link", [relative_steps(), keep_norm()])
def test_without_weights_it_says_what_is_missing(link):
    with pytest.raises(ValueError, match=r"needs the params: call optimizer.update\(gradients, state, params\)"):
        link.update(drawn(0), link.init(drawn(0)))
