"""The audit as a table of chains and what it must find in them, and a chain with every fault that it must report."""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.audit.leaves import audit_decay, auditor
from wd_research.decay.masks import everything, matching, matrices
from wd_research.decay.penalties import group_lasso, l1, l2
from wd_research.decay.places import constant, coupled, decoupled, independent, proximal
from wd_research.decay.proximal import shrink, soft_threshold
from wd_research.decay.pulls import cautious, down, toward, toward_zero
from wd_research.decay.transforms import corrected, decay_toward_start, decay_weights, scheduled

STEPS, RATE, ETA = 100, 0.1, 0.02
COSINE = optax.cosine_decay_schedule(1.0, STEPS)
ADAM, MOMENTUM, SGD = optax.scale_by_adam, functools.partial(optax.trace, 0.9), optax.identity


def eta(step):
    return ETA * COSINE(step)


def make_params():
    rng = np.random.default_rng(0)
    return {
        "first": {"kernel": rng.normal(size=(6, 8)).astype(np.float32) / 2, "bias": np.zeros(8, np.float32)},
        "last": {"kernel": rng.normal(size=(8, 4)).astype(np.float32) / 2, "bias": np.zeros(4, np.float32)},
    }


def layer():
    """No axis is longer than what the audit looks at, or it would compile for the whole leaf and for a part of it."""
    return {
        "kernel": np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32) / 2,
        "bias": np.zeros(4, np.float32),
    }


BATCH = (np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32), np.arange(20) % 4)


def logits(params, inputs):
    hidden = jax.nn.relu(inputs @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["last"]["kernel"] + params["last"]["bias"]


def loss(params, batch):
    inputs, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, inputs), labels).mean()


def loss_of_layer(params, batch):
    inputs, labels = batch
    logits = inputs[:, :4] @ params["kernel"] + params["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def place(where, core, link):
    return where(core(), link, ETA, COSINE)


class Numbers(NamedTuple):
    """What the compiled audits of ADAMW and COUPLED are given."""

    decay: float  # in the optimizer
    l2: float = 0.0  # in the loss
    l1: float = 0.0


def with_penalties(loss):
    return lambda numbers, params, batch: loss(params, batch) + numbers.l2 * l2(params) + numbers.l1 * l1(params)


def adamw(mask, rate=1.0):
    return optax.adamw(eta, weight_decay=rate, mask=mask)


ADAMW = auditor(with_penalties(loss), lambda numbers: adamw(matrices, numbers.decay))
COUPLED = auditor(with_penalties(loss), lambda numbers: place(coupled, ADAM, decay_weights(numbers.decay)))


def audited(optimizer, loss=loss, params=None, steps=STEPS):
    return audit_decay(loss, optimizer, params or make_params(), BATCH, steps)


def rows_of(found):
    return {row.path: row for row in found.rows}


def said(found, words):
    return [warning for warning in found.warnings if words in warning]


# chain, place, pull, coefficient (a strength where coupled, else the rate of a step at its peak)
CHAINS = {
    "adam, coupled": (place(coupled, ADAM, decay_weights(RATE)), "coupled", "w", RATE),
    "momentum, coupled": (place(coupled, MOMENTUM, decay_weights(RATE)), "coupled", "w", RATE),
    "lion, coupled": (place(coupled, optax.scale_by_lion, decay_weights(RATE)), "coupled", "w", RATE),
    "rmsprop, coupled": (place(coupled, optax.scale_by_rms, decay_weights(RATE)), "coupled", "w", RATE),
    "adam, l1 coupled": (place(coupled, ADAM, decay_weights(RATE, down(l1))), "coupled", "sign(w)", RATE),
    "adam, start coupled": (place(coupled, ADAM, decay_toward_start(RATE)), "coupled", "w - start", RATE),
    # without memory coupled and decoupled decay are one, and this is its name
    "sgd, coupled": (place(coupled, SGD, decay_weights(RATE)), "decoupled", "w", ETA * RATE),
    "adam, decoupled": (place(decoupled, ADAM, decay_weights(RATE)), "decoupled", "w", ETA * RATE),
    "momentum, decoupled": (place(decoupled, MOMENTUM, decay_weights(RATE)), "decoupled", "w", ETA * RATE),
    "adam, independent": (place(independent, ADAM, decay_weights(RATE)), "decoupled", "w", RATE),
    "adam, constant": (place(constant, ADAM, decay_weights(RATE)), "constant", "w", RATE),
    "momentum, constant": (place(constant, MOMENTUM, decay_weights(RATE)), "constant", "w", RATE),
    "adam, corrected": (place(decoupled, ADAM, corrected(RATE, COSINE)), "corrected", "w", ETA * RATE),
    "adam, own schedule": (
        place(constant, ADAM, scheduled(decay_weights, lambda t: RATE / (1 + t))),
        "on a schedule of its own", "w", RATE,
    ),
    "adam, cautious": (place(decoupled, ADAM, decay_weights(RATE, cautious(toward_zero))), "cautious", "w", ETA * RATE),
    "adam, start": (place(decoupled, ADAM, decay_toward_start(RATE)), "decoupled", "w - start", ETA * RATE),
    "adam, l1": (place(decoupled, ADAM, decay_weights(RATE, down(l1))), "decoupled", "sign(w)", ETA * RATE),
    "sgd, soft": (proximal(SGD(), soft_threshold, RATE, ETA, COSINE), "decoupled", "sign(w)", ETA * RATE),
    "sgd, shrink": (
        proximal(SGD(), shrink, RATE, ETA, COSINE), "decoupled", "w", ETA * RATE / (1 + ETA * RATE),
    ),
    "optax.adamw": (optax.adamw(eta, weight_decay=RATE, mask=matrices), "decoupled", "w", ETA * RATE),
    "optax.lion": (optax.lion(eta, weight_decay=RATE, mask=matrices), "decoupled", "w", ETA * RATE),
    "optax.muon": (optax.contrib.muon(eta, weight_decay=RATE), "decoupled", "w", ETA * RATE),
    "optax.adafactor": (
        optax.adafactor(eta, weight_decay_rate=RATE, weight_decay_mask=matrices), "constant", "w", RATE,
    ),
    # inside a trust ratio, where its size does not depend on the rate at all
    "optax.lamb": (optax.lamb(eta, weight_decay=RATE, mask=matrices), "mixed with the gradient", "w", ETA),
    "accumulated": (
        optax.MultiSteps(optax.adamw(ETA, weight_decay=RATE, mask=matrices), 4).gradient_transformation(),
        None, "w", ETA * RATE,
    ),
    "clipped": (
        optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(eta, weight_decay=RATE, mask=matrices)),
        "decoupled", "w", ETA * RATE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chain", "where", "pull", "coefficient"), CHAINS.values(), ids=CHAINS)
def test_it_finds_the_place_the_pull_and_the_coefficient_of_any_chain(chain, where, pull, coefficient):
    """In a net of one layer, which compiles in half the time."""
    found = audited(chain, loss_of_layer, layer())
    rows = rows_of(found)
    assert where is None or rows["kernel"].place == where
    assert rows["kernel"].pull == pull
    assert rows["kernel"].coefficient == pytest.approx(coefficient, rel=1e-4)  # of float32, as in the run
    assert (rows["bias"].place, rows["bias"].coefficient, rows["bias"].left) == ("", 0.0, 1.0)
    assert math.isinf(rows["bias"].time_scale)
    assert not said(found, "twice")
    assert not said(found, "biases")


def test_it_finds_the_rate_of_every_leaf():
    rates = {"first": 0.1, "last": {"kernel": 0.3, "bias": 0.0}}
    rows = rows_of(audited(place(decoupled, ADAM, decay_weights(rates))))
    assert rows["first/kernel"].coefficient == pytest.approx(ETA * 0.1)
    assert rows["last/kernel"].coefficient == pytest.approx(ETA * 0.3)


def test_what_is_left_the_half_life_and_the_time_scale_are_those_of_the_run():
    row = rows_of(audited(place(independent, ADAM, decay_weights(RATE)), loss_of_layer, layer(), 30))["kernel"]
    remains = np.cumprod([1 - RATE * float(COSINE(step)) for step in range(30)])
    assert row.left == pytest.approx(remains[-1], rel=1e-6)
    assert row.half_life == np.argmax(remains <= 0.5) + 1
    assert row.time_scale == pytest.approx(1 / np.mean([RATE * float(COSINE(step)) for step in range(30)]), rel=1e-6)


@pytest.mark.parametrize("where", [coupled, decoupled, constant])
def test_a_long_run_is_audited_by_a_faster_clock(where):
    """Ten thousand steps, five at a time: the schedule is followed to its end, and what is left is what is left."""
    steps, rate = 10_000, {coupled: 1e-4, decoupled: 5e-3, constant: 1e-4}[where]
    cosine = optax.cosine_decay_schedule(1.0, steps)
    core = SGD() if where is coupled else ADAM()
    row = rows_of(audited(where(core, decay_weights(rate), ETA, cosine), loss_of_layer, layer(), steps))["kernel"]
    rates = [rate * (1 if where is constant else ETA * float(s)) for s in jax.vmap(cosine)(jnp.arange(steps))]
    assert row.place == ("constant" if where is constant else "decoupled")
    assert row.left == pytest.approx(np.prod(1 - np.array(rates)), rel=2e-3)
    assert row.time_scale == pytest.approx(1 / np.mean(rates), rel=2e-3)


def test_under_coupled_adam_what_is_left_is_what_adam_leaves():
    """Without gradients 500 steps at learning rate 1e-3 leave .561 of a weight 1."""
    chain = coupled(ADAM(), decay_weights(0.1, mask=everything), 1e-3, lambda step: 1.0)
    ones = {"w": np.ones((2, 2), np.float32)}
    found = audit_decay(lambda params, batch: jnp.sum(params["w"] ** 2 * batch), chain, ones, np.ones(()), 500)
    assert found.rows[0].left == pytest.approx(0.561, abs=5e-4)


@pytest.mark.parametrize(
    ("pull", "numbers"), [("w", Numbers(0.0, l2=RATE)), ("sign(w)", Numbers(0.0, l1=RATE))], ids=["w", "sign(w)"]
)
def test_it_finds_a_penalty_in_the_loss(pull, numbers):
    rows = rows_of(COUPLED(numbers, make_params(), BATCH, STEPS))
    for path in ("first/kernel", "last/kernel"):
        assert (rows[path].place, rows[path].pull) == ("in the loss", pull)
        assert rows[path].coefficient == pytest.approx(RATE, rel=1e-5)
        assert rows[path].left < 1
    assert rows["first/bias"].place == ""


def test_a_penalty_in_the_loss_does_what_the_same_decay_does_coupled():
    inside, outside = (
        rows_of(COUPLED(numbers, make_params(), BATCH, STEPS)) for numbers in (Numbers(0.0, l2=RATE), Numbers(RATE))
    )
    for path in ("first/kernel", "last/kernel"):
        assert inside[path].left == pytest.approx(outside[path].left, rel=1e-4)
        assert inside[path].half_life == outside[path].half_life


def test_a_regression_has_no_decay_though_its_error_is_a_square():
    def squares(params, batch):
        return jnp.mean((logits(params, batch[0])[:, 0] - batch[1]) ** 2)

    found = audit_decay(squares, optax.adam(eta), make_params(), (BATCH[0], np.ones(20, np.float32)), STEPS)
    assert [row.place for row in found.rows] == [""] * 4


def only(mask_of_leaf):
    return lambda params: jax.tree.map(mask_of_leaf, params)


FAULTS = {
    "a mask matches nothing": (adamw(only(lambda leaf: False)), "its pattern may match nothing", ""),
    "a part of a partition matches nothing": (
        optax.partition({"decay": adamw(None), "rest": optax.adam(eta)}, only(lambda leaf: "rest")),
        "masked away for every leaf", "",
    ),
    "an inverted mask": (adamw(only(lambda leaf: leaf.ndim < 2)), "mask looks inverted", "first/bias, last/bias"),
    "optax's own default decays biases": (adamw(None), "biases or norm scales decay", "first/bias, last/bias"),
    "twice in a chain": (
        optax.chain(optax.add_decayed_weights(RATE, matrices), adamw(matrices)),
        "decay acts twice", "first/kernel, last/kernel",
    ),
    "the wrapper of hyperparameters takes the mask for a schedule": (
        optax.inject_hyperparams(optax.adamw)(learning_rate=ETA, weight_decay=RATE, mask=matrices),
        "holds weight_decay 0.1, and nothing decays", "",
    ),
    "a step that removes more than all": (
        place(constant, ADAM, decay_weights(1.5)), "more than the whole weight", "first/kernel, last/kernel",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chain", "words", "leaves"), FAULTS.values(), ids=FAULTS)
def test_it_warns_of_the_fault_and_names_the_leaves(chain, words, leaves):
    found = ADAMW(chain, make_params(), BATCH, STEPS) if isinstance(chain, Numbers) else audited(chain)
    (warning,) = said(found, words)
    assert leaves in warning
    assert f"warning: {warning}" in str(found)


def test_a_sound_chain_gets_no_warning():
    found = ADAMW(Numbers(1.0), make_params(), BATCH, STEPS)
    assert found.warnings == ()
    assert "no warnings" in str(found)


def test_it_warns_of_decay_in_the_loss_and_in_the_optimizer():
    found = ADAMW(Numbers(1.0, l2=RATE), make_params(), BATCH, STEPS)
    assert "first/kernel, last/kernel" in said(found, "decay acts twice")[0]
    assert {row.place for row in found.rows} == {"", "in the loss and decoupled"}


def test_it_warns_of_a_leaf_without_a_gradient_that_shrinks():
    params = {**make_params(), "unused": np.ones((3, 3), np.float32)}
    for strength in (0.0, RATE):
        found = ADAMW(Numbers(1.0, l2=strength), params, BATCH, STEPS)
        assert said(found, "no gradient arrives")[0].endswith(": unused")


class Normed(nn.Module):
    norm: type[nn.Module]

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, use_bias=False)(x)
        x = self.norm(use_running_average=False)(x) if self.norm is nn.BatchNorm else self.norm()(x)
        return nn.Dense(4)(nn.relu(x))


@functools.cache
def auditor_of_normed(norm):
    """The audit of a net with this norm, which is compiled once for all penalties, and the net's weights."""
    model = Normed(norm)
    variables = dict(jax.jit(model.init)(jax.random.key(0), BATCH[0]))
    params = variables.pop("params")

    def normed(params, batch):
        outputs, _ = model.apply({"params": params, **variables}, batch[0], mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(outputs, batch[1]).mean()

    return auditor(with_penalties(normed), lambda numbers: adamw(matrices, numbers.decay)), params


@pytest.mark.parametrize("penalty", [0.0, RATE])
@pytest.mark.parametrize("norm", [nn.BatchNorm, nn.LayerNorm, nn.RMSNorm])
def test_it_finds_the_weights_that_a_norm_follows(norm, penalty):
    audit, params = auditor_of_normed(norm)
    found = audit(Numbers(1.0, l2=penalty), params, BATCH, STEPS)
    assert said(found, "does not change with the scale")[0].endswith(": Dense_0/kernel")


def test_other_pulls_are_reported_as_such():
    row = rows_of(audited(place(decoupled, ADAM, decay_weights(RATE, down(group_lasso)))))["first/kernel"]
    assert (row.place, row.pull) == ("decoupled", "other")
    away = {"first": {"kernel": np.ones((6, 8), np.float32), "bias": np.zeros(8)}, "last": make_params()["last"]}
    rows = rows_of(audited(place(decoupled, ADAM, decay_weights(RATE, toward(away)))))
    assert (rows["first/kernel"].pull, rows["last/kernel"].pull) == ("w - v", "w - start")
    assert rows["first/kernel"].coefficient == pytest.approx(ETA * RATE)


def test_a_mask_that_looks_at_sizes_is_not_misled():
    """The optimizer is probed on a few entries of each leaf, unless those decay otherwise than the whole."""
    params = {"kernel": np.ones((4, 9), np.float32), "bias": np.zeros(9, np.float32)}
    large = only(lambda leaf: leaf.size > 20)
    rows = rows_of(audited(adamw(large), loss_of_layer, params))
    assert {path for path, row in rows.items() if row.place} == {"kernel"}


def test_a_pattern_of_ours_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="'kernal' matches no leaf; the leaves are: first/bias"):
        audited(place(decoupled, ADAM, decay_weights(RATE, mask=matching("kernal"))))


def test_weights_whose_length_does_not_matter_just_here_are_not_taken_for_normalized():
    """Where all units do the same, the loss is log(4) at any length; elsewhere it is not."""
    params = {**make_params(), "last": {"kernel": np.ones((8, 4), np.float32), "bias": np.zeros(4, np.float32)}}
    assert not said(ADAMW(Numbers(1.0), params, BATCH, STEPS), "does not change with the scale")
