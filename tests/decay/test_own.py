"""Laws of an optimizer's own decay: which optimizer it is, what it leaves out, where it ends, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from wd_research.decay.masks import DecayError, everything, matching
from wd_research.decay.own import decayed
from wd_research.decay.places import descend
from wd_research.decay.transforms import decay_weights

STEPS, RATE = 40, 0.05


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


OWN = {
    "prodigy": lambda decay: contrib.prodigy(estim_lr0=1e-2, weight_decay=decay),
    "dadapt_adamw": lambda decay: contrib.dadapt_adamw(estim_lr0=1e-2, weight_decay=decay),
    "schedule_free_sgd": lambda decay: contrib.schedule_free_sgd(0.1, weight_decay=decay),
    "schedule_free_adamw": lambda decay: contrib.schedule_free_adamw(0.1, weight_decay=decay),
    "mechanize": lambda decay: contrib.mechanize(optax.adamw(1.0, weight_decay=decay), s_init=1e-2),
    "adamw": lambda decay: optax.adamw(0.1, weight_decay=decay),
    "lion": lambda decay: optax.lion(0.1, weight_decay=decay),
    "muon": lambda decay: contrib.muon(0.1, weight_decay=decay),
    "adafactor": lambda decay: optax.adafactor(0.1, weight_decay_rate=decay),
    "L2 under momentum": lambda decay: optax.chain(optax.add_decayed_weights(decay), optax.sgd(0.1, 0.9)),
}
RNG = np.random.default_rng(0)
START = {
    "first": {"kernel": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=2)},
    "second": {"kernel": RNG.normal(size=(2, 2))},
}
CENTER = jax.tree.map(lambda w: w + RNG.normal(size=w.shape), START)


def gradient(params, step):
    """Of a sum of squares around CENTER, with noise that turns with the step."""
    return jax.tree.map(
        lambda w, c: w - c + 0.3 * jnp.cos(2.0 * step + jnp.arange(w.size)).reshape(w.shape), params, CENTER
    )


def train(optimizer, steps=STEPS, start=START, gradient=gradient):
    """The weights and the state in the end, and after every step."""

    def step(carry, t):
        params, state = carry
        updates, state = optimizer.update(gradient(params, t), state, params)
        carry = optax.apply_updates(params, updates), state
        return carry, carry

    start = jax.tree.map(jnp.asarray, start)
    return jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(steps))


def assert_same(first, second, tolerance=1e-9):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), first, second)


@pytest.mark.parametrize("own", OWN)
def test_with_one_rate_it_is_the_optimizer_at_that_rate(own):
    """Weights and state, at rates 0, small and large, given as numbers or traced."""
    rates = np.array([0.0, RATE, 3 * RATE])
    column = jax.jit(jax.vmap(lambda rate: train(decayed(OWN[own], rate, everything))[0]))(rates)
    for member, rate in enumerate(rates):
        theirs = jax.jit(lambda rate=rate: train(OWN[own](rate))[0])()
        assert_same(jax.tree.map(lambda leaf, member=member: leaf[member], column), theirs)
        assert_same(jax.jit(lambda rate=rate: train(decayed(OWN[own], float(rate), everything))[0])(), theirs)


ROWS = np.array([[0.0], [0.5], [2.0]])
# Rates and masks, and the rate of each leaf that they make of them.
CHOICES = {
    "default mask": ((RATE, None), (RATE, 0, RATE)),
    "a pattern": ((RATE, matching("bias")), (0, RATE, 0)),
    "a prefix and None": ((RATE, {"first": True, "second": None}), (RATE, RATE, 0)),
    "coefficients": ((RATE, {"first": 0.5, "second": 2}), (RATE / 2, RATE / 2, 2 * RATE)),
    "rates": (({"first": RATE, "second": 3 * RATE}, everything), (RATE, RATE, 3 * RATE)),
    "rates and None": (({"first": None, "second": RATE}, everything), (0, 0, RATE)),
    "rows": (({"first": {"kernel": ROWS, "bias": 0.1}, "second": 0}, everything), (ROWS, 0.1, 0)),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("own", OWN)
def test_a_step_is_that_of_each_leafs_own_rate(own, choice):
    """What is left out moves as without decay, to the last bit."""
    (rate, mask), rates = CHOICES[choice]
    params, state = train(OWN[own](RATE), 5)[0]

    def stepped(optimizer):
        return optimizer.update(gradient(params, 5), state, params)[0]

    ours = stepped(decayed(OWN[own], rate, mask))
    for path, expected in zip((("first", "kernel"), ("first", "bias"), ("second", "kernel")), rates, strict=True):
        for row, rate_of_row in enumerate(np.ravel(expected)):
            which = (row,) if np.ndim(expected) else ()
            theirs = stepped(OWN[own](float(rate_of_row)))[path[0]][path[1]][which]
            same = np.testing.assert_array_equal if np.all(expected == 0) else partial(assert_same, tolerance=1e-12)
            same(ours[path[0]][path[1]][which], theirs)


def test_a_schedule_is_the_rate_of_each_step():
    """AdamW's state knows nothing of decay, so that its steps can be taken at one rate after the other."""
    optimizer = decayed(OWN["adamw"], lambda step: RATE * 0.5**step, everything)
    ours = train(optimizer, 4)[0][0]
    params, state = jax.tree.map(jnp.asarray, START), OWN["adamw"](0.0).init(START)
    for t in range(4):
        updates, state = OWN["adamw"](RATE * 0.5**t).update(gradient(params, t), state, params)
        params = optax.apply_updates(params, updates)
    assert_same(ours, params, 1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("own", ["prodigy", "schedule_free_adamw", "adamw"])
def test_a_step_changes_no_type(own, dtype):
    with jax.enable_x64(False):
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), START)

        def step(rate, params):
            optimizer = decayed(OWN[own], rate)
            state = optimizer.init(params)
            updates, new = optimizer.update(params, state, params)
            return (params, state), (optax.apply_updates(params, updates), new)

        before, after = jax.eval_shape(step, jax.ShapeDtypeStruct((), jnp.float32), params)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert [leaf.dtype for leaf in jax.tree.leaves(before)] == [leaf.dtype for leaf in jax.tree.leaves(after)]


# what the estimates see

W0, C, A = np.array([5.0, 5.0, -5.0]), np.array([3.0, -2.0, 1.0]), np.array([1.0, 0.5, 2.0])


def slope(w, t):
    """Of the sum of a (w - c)^2 / 2."""
    return A * (w - C)


def test_of_two_runs_with_the_same_gradients_dadapt_shrinks_the_difference_by_its_shares():
    """So its estimate sees no decay, and a step removes rate * eta, eta being the step at that time."""
    optimizer = decayed(OWN["dadapt_adamw"], RATE, everything)
    given = jnp.asarray(np.random.default_rng(1).normal(size=(STEPS, 3)))
    runs = [train(optimizer, start=sign * W0, gradient=lambda w, t: given[t])[1] for sign in (1, -1)]
    (weights, state), (mirrored, other) = runs
    np.testing.assert_array_equal(state.estim_lr, other.estim_lr)
    estimates = np.concatenate([[1e-2], state.estim_lr[:-1]])
    t = np.arange(1, STEPS + 1)
    shares = RATE * estimates * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    np.testing.assert_allclose(weights[-1] - mirrored[-1], 2 * W0 * np.prod(1 - shares), rtol=1e-9)
    assert np.prod(1 - shares) < 0.99


@pytest.mark.parametrize("rate", [0.0, 1.0, 5.0])
def test_prodigys_estimate_stays_within_the_way_to_the_minimum_of_the_loss(rate):
    """From near the minimum of a convex loss the estimate is small, whatever decay does to the weights meanwhile.

    Decay in the gradient is another loss, whose minimum is further away.
    """
    near, prodigy = C + 0.1, lambda decay: contrib.prodigy(estim_lr0=1e-3, weight_decay=decay)
    run = partial(train, steps=3_000, start=near, gradient=slope)
    own = run(decayed(prodigy, rate, everything))[0][1].estim_lr
    assert 1e-3 < own <= 0.1
    if rate:
        assert run(optax.chain(decay_weights(rate, mask=everything), prodigy(0.0)))[0][1][1].estim_lr > 0.3


# where it ends

RIDGE = A * C / (A + 0.3)  # the minimum of the sum of a (w - c)^2 / 2 + 0.3 w^2 / 2
IN_BASE = optax.chain(decay_weights(0.3, mask=everything), optax.sgd(0.05))
SCHEDULE_FREE = {
    "decayed": decayed(lambda decay: contrib.schedule_free_sgd(0.05, weight_decay=decay), 0.3, everything),
    "in the base": contrib.schedule_free(IN_BASE, 0.05),
}


@pytest.mark.parametrize("way", SCHEDULE_FREE)
def test_schedule_free_ends_where_loss_and_decay_do(way):
    """The weights, the sequence z, and their average, at which it is evaluated."""
    params, state = train(SCHEDULE_FREE[way], 20_000, W0, slope)[0]
    for weights in (params, state.z, contrib.schedule_free_eval_params(state, params)):
        np.testing.assert_allclose(weights, RIDGE, rtol=1e-4)


def test_schedule_free_ends_there_leaf_by_leaf():
    """Each leaf at the minimum for its own rate, its share of z among what it decays."""
    rates = {"all": 0.3, "rows": np.array([0.3, 0.0, 0.15]), "none": None}
    optimizer = decayed(lambda decay: contrib.schedule_free_sgd(0.05, weight_decay=decay), rates, everything)
    start = dict.fromkeys(rates, W0)
    params, state = train(optimizer, 20_000, start, lambda params, t: jax.tree.map(lambda w: slope(w, t), params))[0]
    evaluated = contrib.schedule_free_eval_params(state, params)
    for leaf, rate in (("all", 0.3), ("rows", rates["rows"]), ("none", 0.0)):
        np.testing.assert_allclose(evaluated[leaf], A * C / (A + rate), rtol=1e-4)


def shrunk_together(share):
    """Schedule-free SGD whose weights and z lose the same share."""
    plain = contrib.schedule_free_sgd(0.05)

    def update(gradients, state, params):
        updates, state = plain.update(gradients, state, params)
        return (1 - share) * (params + updates) - params, state._replace(z=(1 - share) * state.z)

    return optax.GradientTransformation(plain.init, update)


def test_decay_beside_schedule_free_ends_elsewhere():
    """The average follows z more and more slowly, so what shrinks it at a constant share takes it to 0 or beyond."""
    share = 0.05 * 0.3
    behind = optax.chain(contrib.schedule_free_sgd(0.05), descend, decay_weights(share, mask=everything), descend)
    for optimizer, state_of in ((behind, lambda state: state[0]), (shrunk_together(share), lambda state: state)):
        params, state = train(optimizer, 20_000, W0, slope)[0]
        evaluated = contrib.schedule_free_eval_params(state_of(state), params)
        assert np.all(evaluated / RIDGE < 0.1)


@pytest.mark.parametrize("base", [1.0, 0.1])
def test_mechanize_ends_where_loss_and_the_decay_of_its_base_do(base):
    """On average under noise, whatever scale it learns."""

    def noisy(w, t):
        return slope(w, t) + 0.3 * jnp.where(jnp.arange(3) == t % 3, 1.0, -0.5) * (-1.0) ** (t // 3)

    def inside(decay):
        return contrib.mechanize(optax.chain(optax.add_decayed_weights(decay), optax.sgd(base)), 0.0)

    for optimizer in (decayed(inside, 0.3, everything), inside(0.3)):
        seen = train(optimizer, 20_000, W0, noisy)[1][0]
        np.testing.assert_allclose(np.mean(seen[10_000:], axis=0), RIDGE, rtol=0.01)


COUPLED = {
    "dog": contrib.dog(init_step=("distance", 1e-3)),
    "dowg": contrib.dowg(),
    "cocob": contrib.cocob(),
    "madgrad": contrib.madgrad(0.01),
}


@pytest.mark.parametrize("optimizer", COUPLED)
def test_optimizers_that_start_from_the_start_end_where_loss_and_decay_in_the_gradient_do(optimizer):
    coupled = optax.chain(decay_weights(0.3, mask=everything), COUPLED[optimizer])
    np.testing.assert_allclose(train(coupled, 20_000, W0, slope)[0][0], RIDGE, rtol=0.01)


# what it refuses

REFUSED = {
    "an optimizer": (optax.adamw(0.1), "decayed wants a function of the decay, such as"),
    "no decay": (lambda decay: optax.adam(0.1), "does not depend on its decay"),
    "injected": (lambda decay: optax.inject_hyperparams(optax.adamw)(0.1, weight_decay=decay), "does not depend"),
    "coupled Adam": (lambda decay: optax.chain(optax.add_decayed_weights(decay), optax.adam(0.1)), "not linear"),
    "lamb": (lambda decay: optax.lamb(0.1, weight_decay=decay), "not linear"),
    "dog": (lambda decay: contrib.dog(weight_decay=decay), "not linear"),
    "madgrad": (lambda decay: contrib.madgrad(0.1, weight_decay=decay), "not linear"),
    "clipped": (
        lambda decay: optax.chain(optax.adamw(0.1, weight_decay=decay), optax.clip_by_global_norm(1.0)),
        "not linear",
    ),
    "groups": (
        lambda decay: optax.partition(
            {"a": contrib.schedule_free_sgd(0.1, weight_decay=decay), "b": optax.sgd(0.1)},
            {"first": "a", "second": "b"},
        ),
        "not linear",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_taken_leaf_by_leaf_is_refused_while_tracing(what):
    optimizer, says = REFUSED[what]
    with pytest.raises(DecayError, match=says):
        jax.eval_shape(lambda: train(decayed(optimizer, RATE, everything)))
