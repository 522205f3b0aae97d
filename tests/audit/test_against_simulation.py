"""The audit against simulations, for optimizers and wrappers that nobody here made: what it says is left, is left."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from wd_research.audit.leaves import audit_decay, auditor
from wd_research.decay.masks import everything, matrices

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
    optimizer = optax.with_extra_args_support(optimizer)
    params = PARAMS if params is None else params

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(params, gradients):
        def step(carry, gradient):
            at, state = carry
            updates, state = optimizer.update(gradient, state, at, value=jnp.float32(1))
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


SHARE = 1e-3

# a chain, a run of so many steps, and what is left of a weight after it
LONG = {
    "accumulated over four steps": (
        optax.MultiSteps(adamw(0.01, 0.1), 4).gradient_transformation(), 10_000, 0.999**2500,
    ),
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


def test_a_norm_of_all_weights_is_that_of_whole_leaves():
    """Clipping after decay, in a net of 64-128-5: the weights shrink by what the norm of all of them lets through."""
    rng = np.random.default_rng(0)
    params = {
        "first": {"kernel": rng.normal(size=(64, 128)).astype(np.float32) / 8, "bias": np.full(128, 0.1, np.float32)},
        "last": {"kernel": rng.normal(size=(128, 5)).astype(np.float32) / 11, "bias": np.full(5, 0.1, np.float32)},
    }
    batch = rng.normal(size=(32, 64)).astype(np.float32), np.arange(32) % 5
    chain = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(1.0, matrices),
        optax.clip_by_global_norm(1.0),
        optax.scale(-0.01),
    )
    found = audit_decay(loss, chain, params, batch, 300)
    left = left_of(simulated(chain, still(params, 300), params, 300), params)
    for row in found.rows:
        if "kernel" in row.path:
            assert row.left == pytest.approx(left[row.path], rel=0.02)


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


def test_a_negative_decay_is_said():
    (warning,) = audit_decay(loss, adamw(0.01, -1.0), PARAMS, BATCH, STEPS).warnings
    assert warning == "the decay is negative, so the weights grow: first/kernel, last/kernel"


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
