"""The audit against simulations, for optimizers and wrappers that nobody here made: what it says is left, is left."""

import math
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from wd_research.audit.leaves import audit_decay, auditor
from wd_research.decay.masks import DecayError, everything, kernels, matrices
from wd_research.decay.own import decayed
from wd_research.decay.transforms import scheduled
from wd_research.flags import UserError
from wd_research.updates import update

STEPS, DECAY = 100, 0.1
COSINE = optax.cosine_decay_schedule(0.01, STEPS)
RNG = np.random.default_rng(0)
PARAMS = {
    "first": {"kernel": RNG.normal(size=(8, 6)).astype(np.float32) / 3, "bias": np.full(6, 0.1, np.float32)},
    "last": {"kernel": RNG.normal(size=(6, 4)).astype(np.float32) / 3, "bias": np.full(4, 0.1, np.float32)},
}
BATCH = RNG.normal(size=(32, 8)).astype(np.float32), np.arange(32) % 4


def loss(params, batch):
    hidden = jax.nn.relu(batch[0] @ params["first"]["kernel"] + params["first"]["bias"])
    logits = hidden @ params["last"]["kernel"] + params["last"]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def loss_of(_, params, batch):
    return loss(params, batch)


def float_clock(rate, steps):
    """A learning rate that falls to 0 by a counter kept as a float."""

    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda u: -rate * jnp.maximum(1 - state / steps, 0) * u, updates), state + 1

    return optax.GradientTransformation(lambda params: jnp.float32(0), update)


def lookahead(inner, every=6):
    """Weights that go half way back to where they were, every so often (Zhang et al., 1907.08610)."""

    def init(params):
        return jnp.int32(0), jax.tree.map(jnp.asarray, params), inner.init(params)

    def update(updates, state, params):
        count, slow, state = state
        updates, state = inner.update(updates, state, params)
        back = (count + 1) % every == 0
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(lambda s, f: jnp.where(back, (s + f) / 2, s), slow, fast)
        landed = jax.tree.map(lambda s, f: jnp.where(back, s, f), slow, fast)
        return jax.tree.map(jnp.subtract, landed, params), (count + 1, slow, state)

    return optax.GradientTransformation(init, update)


def with_masters(inner):
    """Weights of half precision that follow others in float32."""

    def init(params):
        masters = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
        return masters, inner.init(masters)

    def update(updates, state, params):
        masters, state = state
        updates, state = inner.update(jax.tree.map(lambda u: u.astype(jnp.float32), updates), state, masters)
        masters = optax.apply_updates(masters, updates)
        return jax.tree.map(lambda m, w: m.astype(w.dtype) - w, masters, params), (masters, state)

    return optax.GradientTransformation(init, update)


def adamw(rate, decay, **options):
    return optax.adamw(rate, weight_decay=decay, mask=matrices, **options)


# optimizers as functions of their decay, and the place that the audit must name
KNOWN = {
    "adamw": (lambda d: adamw(COSINE, d), "decoupled"),
    "adamaxw": (lambda d: optax.adamaxw(COSINE, weight_decay=d, mask=matrices), "decoupled"),
    "nadamw": (lambda d: optax.nadamw(COSINE, weight_decay=d, mask=matrices), "decoupled"),
    "adan": (lambda d: optax.adan(0.01, weight_decay=d), "decoupled"),
    "lion": (lambda d: optax.lion(COSINE, weight_decay=d, mask=matrices), "decoupled"),
    "lamb": (lambda d: optax.lamb(COSINE, weight_decay=d, mask=matrices), "mixed with the gradient"),
    "lars": (lambda d: optax.lars(0.1, weight_decay=d, weight_decay_mask=matrices), "coupled"),
    "novograd": (lambda d: optax.novograd(0.01, weight_decay=d), "coupled"),
    "adadelta": (lambda d: optax.adadelta(1.0, weight_decay=d, weight_decay_mask=matrices), "coupled"),
    "adafactor": (
        lambda d: optax.adafactor(0.01, weight_decay_rate=d / 10, weight_decay_mask=matrices), "decoupled",
    ),
    "acprop": (
        lambda d: optax.chain(contrib.scale_by_acprop(), optax.add_decayed_weights(d), optax.scale(-0.01)), "decoupled",
    ),
    "ademamix": (lambda d: contrib.ademamix(0.01, weight_decay=d, mask=matrices), "decoupled"),
    "simplified ademamix": (lambda d: contrib.simplified_ademamix(0.01, weight_decay=d, mask=matrices), "decoupled"),
    "cocob": (lambda d: contrib.cocob(weight_decay=d), "coupled"),
    "galore": (lambda d: contrib.galore(0.01, weight_decay=d), "decoupled"),
    "madgrad": (lambda d: contrib.madgrad(0.01, weight_decay=d), "coupled"),
    "momo": (lambda d: contrib.momo(0.1, weight_decay=d), "decoupled"),
    "momo_adam": (lambda d: contrib.momo_adam(0.01, weight_decay=d), "decoupled"),
    "muon": (lambda d: contrib.muon(0.01, weight_decay=d), "decoupled"),
    "schedule_free_adamw": (lambda d: contrib.schedule_free_adamw(0.01, weight_decay=d), "decoupled"),
    "schedule_free_sgd": (lambda d: contrib.schedule_free_sgd(0.1, weight_decay=d), "coupled"),
    "schedule_free around adamw": (lambda d: contrib.schedule_free(adamw(0.01, d), 0.01), "decoupled"),
    "coupled momentum": (lambda d: optax.chain(optax.add_decayed_weights(d, matrices), optax.sgd(0.1, 0.9)), "coupled"),
    "coupled adam, flattened": (
        lambda d: optax.flatten(optax.chain(optax.add_decayed_weights(d), optax.adam(0.01))), "coupled",
    ),
    "optimistic": (
        lambda d: optax.chain(optax.add_decayed_weights(d, matrices), optax.optimistic_gradient_descent(0.01)),
        "coupled",
    ),
    "accumulated": (lambda d: optax.MultiSteps(adamw(0.01, d), 4).gradient_transformation(), "decoupled"),
    "clipped before": (lambda d: optax.chain(optax.clip_by_global_norm(0.1), adamw(COSINE, d)), "decoupled"),
    "clipped by each unit before": (lambda d: optax.chain(optax.adaptive_grad_clip(0.01), adamw(0.01, d)), "decoupled"),
    "clipped after": (
        lambda d: optax.chain(
            optax.scale_by_adam(), optax.add_decayed_weights(d, matrices), optax.clip_by_global_norm(0.1),
            optax.scale(-0.1),
        ),
        "mixed with the gradient",
    ),
    "normalized after": (
        lambda d: optax.chain(
            optax.add_decayed_weights(d, matrices), optax.normalize_by_update_norm(), optax.scale(-0.01)
        ),
        "mixed with the gradient",
    ),
    "averaged after": (lambda d: optax.chain(adamw(0.01, d), optax.ema(0.9)), "coupled"),
    "every tenth step": (lambda d: adamw(lambda t: jnp.where(t % 10 == 0, 0.1, 0.0), d), "decoupled"),
    "a clock of floats": (
        lambda d: optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(d, matrices), float_clock(0.01, STEPS)),
        "decoupled",
    ),
    "if finite": (lambda d: optax.apply_if_finite(adamw(0.01, d), 3), "decoupled"),
    "injected": (
        lambda d: optax.inject_hyperparams(optax.adamw, static_args="mask")(0.01, weight_decay=d, mask=matrices),
        "decoupled",
    ),
    "rprop": (lambda d: optax.chain(optax.rprop(0.01), optax.add_decayed_weights(-d / 100, matrices)), "decoupled"),
    "wants the loss": (
        lambda d: optax.chain(optax.polyak_sgd(), optax.add_decayed_weights(-d / 100, matrices)), "decoupled",
    ),
    "lookahead": (lambda d: lookahead(adamw(0.01, d)), "decoupled"),
    "falls on a plateau": (lambda d: optax.chain(adamw(0.01, d), contrib.reduce_on_plateau()), "decoupled"),
}  # fmt: skip

# those whose step is estimated from gradients that only training knows
ESTIMATED = {
    "dadapt_adamw": lambda d: contrib.dadapt_adamw(1.0, weight_decay=d),
    "prodigy": lambda d: contrib.prodigy(1.0, weight_decay=d),
    "dog": lambda d: contrib.dog(1.0, weight_decay=d),
    "dowg": lambda d: contrib.dowg(1.0, weight_decay=d),
    "mechanize": lambda d: contrib.mechanize(optax.sgd(0.1), weight_decay=d),
    "mechanize around adamw": lambda d: contrib.mechanize(adamw(0.1, d), weight_decay=0.0),
}


def simulated(optimizer, gradients, params=None, steps=STEPS):
    """The weights after a run beside the gradient of every step, [steps, ...]."""
    params = PARAMS if params is None else params

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(params, gradients):
        def step(carry, gradient):
            at, state = carry
            updates, state = update(optimizer, gradient, state, at, jnp.float32(1))
            return (optax.apply_updates(at, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), gradients)[0][0]

    return run(params, gradients)


def still(params=None, steps=STEPS):
    return jax.tree.map(lambda leaf: np.zeros((steps, *leaf.shape), leaf.dtype), PARAMS if params is None else params)


def left_of(weights, start):
    """|w| / |start| by the name of each leaf."""
    shares = jax.tree.map(lambda w, s: np.linalg.norm(np.float64(w)) / np.linalg.norm(np.float64(s)), weights, start)
    return {f"{module}/{name}": share for module, leaves in shares.items() for name, share in leaves.items()}


@cache
def audit_of(build):
    """The audit of an optimizer as a function of its decay, which is compiled once."""
    return auditor(loss_of, build)


@pytest.mark.parametrize(("build", "place"), KNOWN.values(), ids=KNOWN)
def test_what_is_left_is_what_a_simulation_leaves(build, place):
    found = audit_of(build)(DECAY, PARAMS, BATCH, STEPS)
    left = left_of(simulated(build(DECAY), still()), PARAMS)
    for row in found.rows:
        assert row.left == pytest.approx(left[row.path], rel=5e-3, abs=1e-4)
        assert (row.place != "") == (left[row.path] < 1 - 1e-6)
        if "kernel" in row.path:
            assert row.place == place


@pytest.mark.parametrize(
    "build", [*(build for build, _ in KNOWN.values()), *ESTIMATED.values()], ids=[*KNOWN, *ESTIMATED]
)
def test_without_decay_nothing_decays_and_nothing_is_suspicious(build):
    found = audit_of(build)(0.0, PARAMS, BATCH, STEPS)
    assert [row.place for row in found.rows] == [""] * 4
    assert found.warnings == ()


@pytest.mark.parametrize("build", ESTIMATED.values(), ids=ESTIMATED)
def test_where_the_gradients_decide_the_decay_is_not_known(build):
    found = audit_of(build)(DECAY, PARAMS, BATCH, STEPS)
    for row in found.rows:
        assert math.isnan(row.left)
        assert row.place != ""
    (said,) = [warning for warning in found.warnings if "not known" in warning][:1]
    assert "it depends on" in said
    assert "not known" in str(found).splitlines()[1]


# a chain, a run of so many steps, and what is left of a weight after it
LONG = {
    "accumulated over four steps": (
        optax.MultiSteps(adamw(0.01, 0.1), 4).gradient_transformation(), 10_000, 0.999**2500,
    ),
    **{
        f"accumulated over {k}": (optax.MultiSteps(adamw(0.01, 0.5), k).gradient_transformation(), steps, 0.995**times)
        for k, steps, times in ((7, 20_000, 2857), (30, 3_000, 100), (300, 20_000, 66), (1_000, 20_000, 20))
    },
    "a period of ten": (adamw(lambda t: jnp.where(t % 10 == 0, 0.01, 0.0), 0.5), 20_000, 0.995**2000),
    "a clock of floats": (
        optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1, matrices), float_clock(0.002, 1_000)), 20_000,
        math.exp(-0.1 * 0.002 * 500),
    ),
    "cosine": (adamw(optax.cosine_decay_schedule(0.01, 50_000), 0.004), 50_000, math.exp(-1.0)),
    "warm-up": (
        adamw(optax.warmup_cosine_decay_schedule(0.0, 0.01, 2_000, 50_000), 0.004), 50_000, math.exp(-1.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chain", "steps", "left"), LONG.values(), ids=LONG)
def test_a_long_run_is_followed_over_its_gaps(chain, steps, left):
    found = audit_decay(loss, chain, PARAMS, BATCH, steps)
    assert -math.log(found.rows[1].left) == pytest.approx(-math.log(left), rel=0.03)
    assert found.rows[1].time_scale == pytest.approx(-steps / math.log(left), rel=0.03)


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_in_half_precision_what_is_left_is_what_rounding_leaves(share):
    """A share below 2^-9 moves no weight in bfloat16, however long the run."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    chain = adamw(0.1, share / 0.1)
    found = audit_decay(loss, chain, jax.tree.map(np.asarray, params), BATCH, 300)
    left = left_of(simulated(chain, still(params, 300), params, 300), params)
    for row in found.rows:
        assert row.left == pytest.approx(left[row.path], rel=0.02)
    warned = [warning for warning in found.warnings if "bfloat16" in warning]
    assert bool(warned) == (share == 1e-3)


@pytest.mark.parametrize("masters", [False, True], ids=["of the same", "of float32"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_decay_that_half_precision_bears_is_that_of_the_run(dtype, masters):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    core = optax.chain(optax.scale_by_adam(eps=1e-3), optax.add_decayed_weights(1.0, matrices), optax.scale(-0.01))
    chain = with_masters(core) if masters else core
    found = audit_decay(loss, chain, jax.tree.map(np.asarray, params), BATCH, STEPS)
    left = left_of(simulated(chain, still(params), params), params)
    assert [row.place for row in found.rows] == ["", "decoupled"] * 2
    for row in found.rows:
        assert row.left == pytest.approx(left[row.path], rel=0.02)
    assert found.warnings == ()


def test_masters_of_float32_bear_a_share_that_bfloat16_would_lose():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    chain = with_masters(adamw(0.01, 0.1))
    found = audit_decay(loss, chain, jax.tree.map(np.asarray, params), BATCH, STEPS)
    assert found.rows[1].left == pytest.approx(0.999**STEPS, rel=2e-3)
    assert found.rows[1].time_scale == pytest.approx(1000, rel=0.05)
    assert found.warnings == ()


# chains that take norms, and the place that decay has in them
NORMS = {
    "clipped before": (optax.chain(optax.clip_by_global_norm(1.0), adamw(0.01, 1.0)), "decoupled"),
    "clipped after": (
        optax.chain(
            optax.scale_by_adam(), optax.add_decayed_weights(1.0, matrices), optax.clip_by_global_norm(1.0),
            optax.scale(-0.01),
        ),
        "mixed with the gradient",
    ),
    "clipped after, over four steps": (
        optax.MultiSteps(
            optax.chain(
                optax.scale_by_adam(), optax.add_decayed_weights(1.0, matrices), optax.clip_by_global_norm(1.0),
                optax.scale(-0.01),
            ),
            4,
        ).gradient_transformation(),
        "mixed with the gradient",
    ),
    "a mean of all": (
        optax.chain(
            optax.scale_by_adam(), optax.add_decayed_weights(1.0, matrices), optax.clip_by_block_rms(0.1),
            optax.scale(-0.01),
        ),
        "mixed with the gradient",
    ),
    "lamb": (optax.lamb(0.01, weight_decay=0.1, mask=matrices), "mixed with the gradient"),
    "muon": (contrib.muon(0.01, weight_decay=0.5), "decoupled"),
    "adafactor, factored": (
        optax.adafactor(0.01, min_dim_size_to_factor=32, weight_decay_rate=1e-3, weight_decay_mask=matrices),
        "decoupled",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chain", "place"), NORMS.values(), ids=NORMS)
def test_a_norm_is_that_of_whole_leaves(chain, place):
    """In a net of 64-128-5, of which a few entries of every leaf are run."""
    rng = np.random.default_rng(0)
    params = {
        "first": {"kernel": rng.normal(size=(64, 128)).astype(np.float32) / 8, "bias": np.full(128, 0.1, np.float32)},
        "last": {"kernel": rng.normal(size=(128, 5)).astype(np.float32) / 11, "bias": np.full(5, 0.1, np.float32)},
    }
    batch = rng.normal(size=(32, 64)).astype(np.float32), np.arange(32) % 5
    found = audit_decay(loss, chain, params, batch, 300)
    left = left_of(simulated(chain, still(params, 300), params, 300), params)
    for row in found.rows:
        if "kernel" in row.path:
            assert row.left == pytest.approx(left[row.path], rel=2e-3)
            assert row.place == place


@pytest.mark.parametrize("steps", [1_000, 100_000])
def test_in_a_net_of_many_leaves_the_place_is_known_though_few_steps_are_looked_at(steps):
    params = {f"{layer:02}": {"kernel": np.eye(4, dtype=np.float32)} for layer in range(60)}

    def product(params, batch):
        for layer in params.values():
            batch = batch @ layer["kernel"]
        return jnp.mean(batch**2)

    found = audit_decay(product, optax.adamw(1e-3, weight_decay=0.1), params, np.ones((2, 4), np.float32), steps)
    assert {row.place for row in found.rows} == {"decoupled"}


def beside(act):
    """Adam with decay at the rate 5, times a function of update and weights."""

    def decay(updates, params):
        return jax.tree.map(lambda u, w: u + 5 * w * act(u, w), updates, params)

    return optax.chain(optax.scale_by_adam(), optax.stateless(decay), optax.scale(-0.001))


# decay that acts beside gradients alone, and the share of its rate that it takes on average
BESIDE = {
    "lazy": (beside(lambda u, w: u != 0), 1.0),
    "lazy by the whole leaf": (beside(lambda u, w: jnp.linalg.norm(u) > 0), 1.0),
    "strictly cautious": (beside(lambda u, w: jnp.sign(u) == jnp.sign(w)), 0.5),
}


@pytest.mark.parametrize(("chain", "part"), BESIDE.values(), ids=BESIDE)
def test_decay_that_acts_beside_gradients_alone_is_found(chain, part):
    found = audit_decay(loss, chain, PARAMS, BATCH, STEPS)
    rng = np.random.default_rng(1)
    gradients = jax.tree.map(lambda leaf: rng.normal(size=(STEPS, *leaf.shape)).astype(np.float32), PARAMS)
    mirrored = jax.tree.map(np.negative, PARAMS)
    runs = simulated(chain, gradients), simulated(chain, gradients, mirrored)
    left = left_of(jax.tree.map(lambda a, b: (a - b) / 2, *runs), PARAMS)
    for row in found.rows:
        assert (row.place, row.pull, row.left) == ("beside gradients alone", "w", 1.0)
        assert row.time_scale == pytest.approx(200 / part, rel=0.01)
        assert -STEPS / math.log(left[row.path]) == pytest.approx(row.time_scale, rel=0.1)


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.5, 0.99, 0.995, 0.999, 1.0, 1.5, 2.0])
def test_the_rate_may_be_weak_or_strong(rate):
    chain = optax.chain(optax.sgd(0.01), optax.add_decayed_weights(-rate, matrices))
    found = audit_decay(loss, chain, PARAMS, BATCH, 50)
    for row in found.rows[1::2]:
        assert (row.place, row.pull) == ("decoupled", "w")
        assert row.coefficient == pytest.approx(rate, rel=1e-3)
        assert row.left == pytest.approx(abs(1 - rate) ** 50, rel=1e-4, abs=1e-12)
    assert [warning for warning in found.warnings if "more than the whole weight" in warning] == list(found.warnings)
    assert bool(found.warnings) == (rate >= 1)


def test_decay_below_what_rounding_bears_is_said():
    chain = optax.chain(optax.sgd(0.01), optax.add_decayed_weights(-1e-9, matrices))
    found = audit_decay(loss, chain, PARAMS, BATCH, STEPS)
    assert [(row.place, row.left) for row in found.rows[1::2]] == [("decoupled", 1.0)] * 2
    (warning,) = found.warnings
    assert warning.startswith("rounding to float32 lets 0% of the decay through")


def test_what_decay_removes_that_comes_and_goes_in_a_long_run_is_not_known():
    chain = optax.chain(
        optax.sgd(0.01),
        scheduled(lambda r: optax.add_decayed_weights(r, matrices), lambda t: jnp.where(t % 97 == 0, -0.02, 0.0)),
    )
    found = audit_decay(loss, chain, PARAMS, BATCH, 20_000)
    (warning,) = found.warnings
    assert warning.endswith("left alone and half-life and time scale are not known: first/kernel, last/kernel")
    assert found.rows[1].coefficient == pytest.approx(0.02)


def test_an_optimizer_that_climbs_at_every_other_step_decays_at_the_others():
    """Sharpness-aware minimization (Foret et al., 2010.01412), which takes no value of the loss."""
    chain = contrib.sam(adamw(0.01, 0.5), optax.chain(contrib.normalize(), optax.sgd(0.05)))
    rng = np.random.default_rng(1)
    gradients = jax.tree.map(lambda leaf: rng.normal(size=(STEPS, *leaf.shape)).astype(np.float32), PARAMS)
    runs = simulated(chain, gradients), simulated(chain, gradients, jax.tree.map(np.negative, PARAMS))
    left = left_of(jax.tree.map(lambda a, b: (a - b) / 2, *runs), PARAMS)
    for row in audit_decay(loss, chain, PARAMS, BATCH, STEPS).rows:
        assert bool(row.place) == ("kernel" in row.path)
        assert row.left == pytest.approx(left[row.path], rel=1e-3)


def test_steps_that_are_not_finite_leave_the_decay_unknown():
    broken = optax.stateless(lambda updates, params: jax.tree.map(lambda u: u * jnp.nan, updates))
    found = audit_decay(loss, broken, PARAMS, BATCH, STEPS)
    assert all(math.isnan(row.left) for row in found.rows)
    assert [warning for warning in found.warnings if "finite neither at rest nor beside gradients" in warning]


@pytest.mark.parametrize("own", [contrib.prodigy, contrib.dadapt_adamw])
def test_of_an_optimizer_that_estimates_its_step_leaves_that_do_not_decay_are_told_from_those_that_do(own):
    found = audit_decay(loss, decayed(lambda d: own(weight_decay=d), 0.1, kernels), PARAMS, BATCH, STEPS)
    assert [(row.place, row.left) for row in found.rows[::2]] == [("", 1.0)] * 2
    assert all(math.isnan(row.left) for row in found.rows[1::2])
    (warning,) = found.warnings
    assert warning.endswith(": first/kernel, last/kernel")


def test_a_leaf_without_entries_does_not_decay():
    params = {**PARAMS, "none": {"kernel": np.zeros((0, 4), np.float32)}}
    found = audit_decay(loss, adamw(0.01, 0.5), params, BATCH, STEPS)
    assert (found.rows[-1].path, found.rows[-1].place, found.rows[-1].left) == ("none/kernel", "", 1.0)
    assert found.rows[1].left == pytest.approx(0.995**STEPS, rel=1e-4)
    assert found.warnings == ()


@pytest.mark.parametrize("leaf", [np.int32(3), np.ones(2, bool), jax.random.key(0)], ids=["int", "bool", "key"])
def test_a_leaf_that_has_no_gradient_is_refused(leaf):
    with pytest.raises(DecayError, match=r"the leaf step holds .*, and weights are floats or complex: keep counters"):
        audit_decay(loss, adamw(0.01, 0.5), {**PARAMS, "step": leaf}, BATCH, STEPS)


@pytest.mark.parametrize("optimizer", [optax.lbfgs(), contrib.sophia(0.01)], ids=["lbfgs", "sophia"])
def test_an_optimizer_that_asks_for_more_is_refused(optimizer):
    with pytest.raises(
        UserError, match="the optimizer asks for more than gradients, weights and the value of the loss"
    ):
        audit_decay(loss, optimizer, PARAMS, BATCH, STEPS)


def low_rank(params, batch):
    """A layer with a low-rank correction whose second factor starts at 0, and a head that starts at 0."""
    hidden = batch[0] @ (params["kernel"] + params["lora_a"] @ params["lora_b"])
    logits = jax.nn.relu(hidden) @ params["head"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def test_gradients_that_arrive_from_the_second_step_on_arrive():
    rng = np.random.default_rng(0)
    params = {
        "kernel": rng.normal(size=(8, 6)).astype(np.float32), "lora_a": rng.normal(size=(8, 2)).astype(np.float32),
        "lora_b": np.zeros((2, 6), np.float32), "head": np.zeros((6, 4), np.float32),
    }  # fmt: skip
    found = audit_decay(low_rank, optax.adamw(0.01, weight_decay=1.0, mask=everything), params, BATCH, STEPS)
    assert not [warning for warning in found.warnings if "gradient" in warning]


def test_gradients_that_the_chain_stops_are_seen():
    def kernels(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    stopped = optax.chain(optax.masked(optax.set_to_zero(), kernels), adamw(0.01, 1.0))
    (warning,) = audit_decay(loss, stopped, PARAMS, BATCH, STEPS).warnings
    assert warning == "the optimizer lets no gradient through, yet decay shrinks: first/kernel, last/kernel"
    frozen = optax.chain(adamw(0.01, 1.0), optax.masked(optax.set_to_zero(), kernels))
    found = audit_decay(loss, frozen, PARAMS, BATCH, STEPS)
    assert [line.split()[5] for line in str(found).splitlines()[1:5]] == ["no", "frozen", "no", "frozen"]


@pytest.mark.parametrize("decay", [-0.01, -1.0, -30.0])
def test_a_negative_decay_is_said_with_how_far_weights_grow(decay):
    (warning,) = audit_decay(loss, adamw(0.01, decay), PARAMS, BATCH, STEPS).warnings
    said = re.fullmatch(
        r"the decay is negative, so the weights grow, to (\S+) times what they were without gradients: "
        "first/kernel, last/kernel",
        warning,
    )
    left = left_of(simulated(adamw(0.01, decay), still()), PARAMS)
    assert said
    assert float(said[1]) == pytest.approx(left["first/kernel"], rel=0.01)


@pytest.mark.parametrize("steps", [2, 10, 100])
def test_a_time_scale_beyond_the_run_is_a_column_and_no_warning(steps):
    found = audit_decay(loss, adamw(0.001, 0.1), PARAMS, BATCH, steps)
    assert found.warnings == ()
    assert f"{10_000 / steps:.3g}" in str(found)


def state_space(params, batch):
    states = jnp.exp(-jnp.exp(params["A_log"])) * (batch[0] @ params["in_proj"]["kernel"])
    return optax.softmax_cross_entropy_with_integer_labels(states @ params["out_proj"]["kernel"], batch[1]).mean()


def test_decay_of_what_is_neither_kernel_nor_embedding_is_said():
    rng = np.random.default_rng(0)
    params = {
        "in_proj": {"kernel": rng.normal(size=(8, 6)).astype(np.float32)}, "A_log": np.ones((1, 6), np.float32),
        "out_proj": {"kernel": rng.normal(size=(6, 4)).astype(np.float32)},
    }  # fmt: skip
    found = audit_decay(state_space, adamw(0.01, 1.0), params, BATCH, STEPS)
    assert found.warnings == ("leaves decay that are neither kernels nor embeddings: A_log",)
    assert str(found).splitlines()[1].split()[:5] == ["A_log", "1x6", "other", "name:", "A_log"]
