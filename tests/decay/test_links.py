"""Laws of the links: masks and rates in every form, schedules, injected rates, frozen weights, complex weights."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from wd_research.decay.masks import DecayError, everything, matching
from wd_research.decay.own import decayed
from wd_research.decay.places import constant, coupled, decoupled, independent, proximal
from wd_research.decay.proximal import soft_threshold
from wd_research.decay.pulls import cautious, down, toward
from wd_research.decay.transforms import (
    corrected,
    decay_toward_start,
    decay_weights,
    frozen,
    normalized,
    proximal_step,
    scheduled,
)

PARAMS = {
    "Dense_0": {"bias": np.array([1.5, -0.5]), "kernel": np.arange(1.0, 7.0).reshape(3, 2)},
    "Embed_0": {"embedding": np.arange(2.0, 14.0).reshape(4, 3)},
}
ROWS = np.array([0.5, 0.0, 1.0, 2.0])


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def tree(bias, kernel, embedding):
    return {"Dense_0": {"bias": bias, "kernel": kernel}, "Embed_0": {"embedding": embedding}}


# A form, and what it says of bias, kernel and embedding.
MASKS = {
    "a function": (matching("kernel|embedding"), (0, 1, 1)),
    "a tree": (tree(False, True, True), (0, 1, 1)),
    "a prefix": ({"Dense_0": True, "Embed_0": False}, (1, 1, 0)),
    "a FrozenDict": (FrozenDict(tree(False, True, False)), (0, 1, 0)),
    "None for no": ({"Dense_0": None, "Embed_0": {"embedding": True}}, (0, 0, 1)),
    "bools of NumPy": (tree(np.bool_(True), np.bool_(False), np.bool_(True)), (1, 0, 1)),
    "numbers": (tree(0.5, 2, np.float32(0.25)), (0.5, 2, 0.25)),
    "a number of JAX": (lambda params: tree(jnp.float32(0.5), 1.0, 1.0), (0.5, 1, 1)),
    "a coefficient per row": ({"Dense_0": False, "Embed_0": {"embedding": ROWS[:, None]}}, (0, 0, ROWS[:, None])),
    "bools per row": ({"Dense_0": True, "Embed_0": ROWS[:, None] > 0.7}, (1, 1, ROWS[:, None] > 0.7)),
}
RATES = {
    "a number": (0.25, (0.25, 0.25, 0.25)),
    "an array": (np.float32(0.25), (0.25, 0.25, 0.25)),
    "a tree": (tree(0.1, 0.2, 0.3), (0.1, 0.2, 0.3)),
    "a prefix": ({"Dense_0": 0.1, "Embed_0": 0.3}, (0.1, 0.1, 0.3)),
    "a FrozenDict": (FrozenDict({"Dense_0": 0.1, "Embed_0": 0.3}), (0.1, 0.1, 0.3)),
    "None for no": ({"Dense_0": 0.1, "Embed_0": None}, (0.1, 0.1, 0)),
    "a rate per row": ({"Dense_0": 0.1, "Embed_0": {"embedding": ROWS[:, None]}}, (0.1, 0.1, ROWS[:, None])),
    "a schedule": (lambda step: {"Dense_0": 0.1 + step, "Embed_0": 0.3}, (0.1, 0.1, 0.3)),
}
# Links that take a rate and a mask, and the pull of each at PARAMS after a start at 0.
LINKS = {
    "decay_weights": (decay_weights, lambda w: w),
    "toward a tree": (partial(decay_weights, pull=toward(jax.tree.map(np.ones_like, PARAMS))), lambda w: w - 1),
    "decay_toward_start": (decay_toward_start, lambda w: w),
    "decayed": (
        lambda rate, mask: decayed(lambda decay: optax.adamw(-1.0, weight_decay=decay), rate, mask),
        lambda w: w,
    ),
}


def moved(link, params=PARAMS):
    """What the link makes of updates of 0, after a start at 0."""
    still = jax.tree.map(np.zeros_like, params)
    return link.update(still, link.init(still), params)[0]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("link", LINKS)
def test_a_mask_and_a_rate_say_the_same_in_every_form(link, mask, rate):
    (of, pull), (mask, c), (rate, r) = LINKS[link], MASKS[mask], RATES[rate]
    expected = jax.tree.map(lambda r, c, w: r * c * pull(w), tree(*r), tree(*c), PARAMS)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-7), moved(of(rate, mask=mask)), expected)


@pytest.mark.parametrize("link", LINKS)
def test_traced_rates_and_coefficients_are_their_values(link):
    of, _ = LINKS[link]

    def traced(number):
        return moved(of({"Dense_0": number, "Embed_0": 0.3}, mask=tree(False, True, number)))

    ours = jax.jit(jax.vmap(traced))(ROWS)
    for i, number in enumerate(ROWS):
        expected = moved(of({"Dense_0": number, "Embed_0": 0.3}, mask=tree(False, True, number)))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-12), ours, expected)


@pytest.mark.parametrize("mask", MASKS)
def test_a_dict_and_a_frozen_dict_are_one_to_a_mask(mask):
    ours = moved(decay_weights(0.3, mask=MASKS[mask][0]), FrozenDict(PARAMS))
    assert isinstance(ours, FrozenDict)
    jax.tree.map(np.testing.assert_array_equal, ours.unfreeze(), moved(decay_weights(0.3, mask=MASKS[mask][0])))


MISFITS = {
    "a leaf without a rate": ({"rate": {"Dense_0": 0.1}}, "the rate says nothing of Embed_0/embedding"),
    "a rate without a leaf": (
        {"rate": {"Dense_0": 0.1, "Embed_0": 0.1, "Dense_9": 0.2}}, "the rate has an entry Dense_9"
    ),
    "a word for a rate": ({"rate": {"Dense_0": "much", "Embed_0": 0.1}}, "the rate of Dense_0/bias is 'much'"),
    "a schedule in a tree": ({"rate": {"Dense_0": abs, "Embed_0": 0.1}}, "the rate of Dense_0/bias is a function: a"),
    "rates of another shape": (
        {"rate": {"Dense_0": 0.1, "Embed_0": ROWS}}, r"the rate of Embed_0/embedding has shape \(4,\)"
    ),
    "a schedule of misfits": ({"rate": lambda step: {"Dense_0": step}}, "the rate says nothing of Embed_0/embedding"),
    "a leaf without a coefficient": ({"mask": {"Dense_0": True}}, "the mask says nothing of Embed_0/embedding"),
    "a coefficient without a leaf": (
        {"mask": {"Dense_0": True, "Embed_0": {"w": True}}}, "the mask has an entry Embed_0/w"
    ),
    "coefficients of another shape": (
        {"mask": {"Dense_0": True, "Embed_0": np.ones((4, 2))}}, r"the mask of Embed_0/embedding has shape \(4, 2\)"
    ),
    "a mask of nothing": ({"mask": {"Dense_0": False, "Embed_0": None}}, "the mask takes in no leaf"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("link", LINKS)
def test_what_does_not_fit_the_params_is_named_at_init(link, what):
    arguments, says = MISFITS[what]
    of = LINKS[link][0](**{"rate": 0.1, "mask": everything, **arguments})
    with pytest.raises(DecayError, match=says):
        of.init(PARAMS)


NO_RATES = {
    "a bool": (True, "the rate is True: give a number, a tree of numbers or a schedule"),
    "nothing": (None, "the rate is None"),
    "NaN": (math.nan, "the rate is NaN: give a number"),
    "True in a tree": ({"Dense_0": True, "Embed_0": 0.1}, "the rate of Dense_0 is True: give a number, or None"),
    "NaN in a tree": ({"Dense_0": 0.1, "Embed_0": np.array([0.1, np.nan])}, "the rate of Embed_0 is NaN"),
}


@pytest.mark.parametrize("what", NO_RATES)
@pytest.mark.parametrize("link", LINKS)
def test_a_rate_that_cannot_be_meant_is_refused(link, what):
    rate, says = NO_RATES[what]
    with pytest.raises(DecayError, match=says):
        LINKS[link][0](rate, mask=everything).init(PARAMS)


def test_a_target_that_does_not_fit_is_named_at_init():
    link = decay_weights(0.1, cautious(toward({"Dense_0": PARAMS["Dense_0"]})))
    with pytest.raises(DecayError, match="the target says nothing of Embed_0/embedding"):
        link.init(PARAMS)


@pytest.mark.parametrize("mask", [True, False, 0.5, np.bool_(True), np.float32(1), np.ones(())])
def test_a_mask_that_is_one_value_is_refused(mask):
    with pytest.raises(DecayError, match=r"the mask is one value, .* such as `everything`.* static_args"):
        decay_weights(0.1, mask=mask)
    with pytest.raises(DecayError, match="the mask is one value"):
        decayed(lambda decay: optax.adamw(0.1, weight_decay=decay), 0.1, mask)


@pytest.mark.parametrize("link", LINKS)
def test_a_link_of_default_mask_leaves_biases_out(link):
    of, pull = LINKS[link]
    seen = moved(of(0.1, mask=None))["Dense_0"]
    np.testing.assert_array_equal(seen["bias"], 0)
    np.testing.assert_allclose(seen["kernel"], 0.1 * pull(PARAMS["Dense_0"]["kernel"]), rtol=1e-12)


def steps(link, count=4):
    """What the link makes of updates of 0 at every step, the params staying at PARAMS, and its last state."""
    still = jax.tree.map(np.zeros_like, PARAMS)
    state, seen = link.init(still), []
    for _ in range(count):
        updates, state = link.update(still, state, PARAMS)
        seen.append(updates["Dense_0"]["kernel"] / PARAMS["Dense_0"]["kernel"])
    return np.array(seen)[:, 0, 0], state


def falling(step):
    return 0.8 * 0.5**step


SCHEDULED = {
    "a schedule": lambda: decay_weights(falling),
    "a schedule of trees": lambda: decay_weights(lambda step: {"Dense_0": falling(step), "Embed_0": 0.1}),
    "scheduled": lambda: scheduled(decay_weights, falling),
    "toward the start": lambda: decay_toward_start(falling),
    "corrected": lambda: corrected(0.8, lambda step: 0.5**step),
    "decayed": lambda: decayed(lambda decay: optax.adamw(-1.0, weight_decay=decay), falling),
    "injected": lambda: optax.inject_hyperparams(decay_weights)(rate=falling),
    "injected toward the start": lambda: optax.inject_hyperparams(decay_toward_start)(rate=falling),
}


@pytest.mark.parametrize("form", SCHEDULED)
def test_a_schedule_is_the_rate_of_each_step(form):
    np.testing.assert_allclose(steps(SCHEDULED[form]())[0], falling(np.arange(4)), rtol=1e-12)


@pytest.mark.parametrize("mask", [None, FrozenDict(tree(False, True, False))], ids=["default", "tree"])
@pytest.mark.parametrize(
    "of", [decay_weights, decay_toward_start, partial(normalized, batch_size=1, examples=1, epochs=1)]
)
def test_an_injected_rate_is_a_hyperparameter_that_can_be_changed(of, mask):
    link = optax.inject_hyperparams(of)(0.1, mask=mask)
    seen, state = steps(link)
    np.testing.assert_allclose(seen, 0.1, rtol=1e-12)
    name = "norm" if "norm" in state.hyperparams else "rate"
    state.hyperparams[name] = jnp.asarray(0.7)
    updates, _ = link.update(jax.tree.map(np.zeros_like, PARAMS), state, PARAMS)
    np.testing.assert_allclose(updates["Dense_0"]["kernel"], 0.7 * PARAMS["Dense_0"]["kernel"], rtol=1e-12)
    np.testing.assert_array_equal(updates["Dense_0"]["bias"], 0)


def test_injected_masks_are_named_or_refused():
    """A function is taken for a schedule and becomes its value at step 0, which decays all leaves or none."""
    inject = partial(optax.inject_hyperparams, decay_weights)
    named = inject(static_args=("pull", "mask"))(0.1, pull=cautious(toward(PARAMS)), mask=matching("bias"))
    jax.tree.map(np.testing.assert_array_equal, moved(named), jax.tree.map(np.zeros_like, PARAMS))
    named = inject(static_args=("pull", "mask"))(0.1, mask=matching("bias"))
    jax.tree.map(np.testing.assert_allclose, moved(named), moved(decay_weights(0.1, mask=matching("bias"))))
    for mask in (everything, lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params)):
        with pytest.raises(DecayError, match="the mask is one value"):
            inject()(0.1, mask=mask).init(PARAMS)


@pytest.mark.parametrize("link", LINKS)
def test_the_state_maps_over_its_params(link):
    """As sharding does: `optax.tree.map_params` asks the link for the state of a tree without leaves."""
    of = LINKS[link][0](lambda step: {"Dense_0": 0.1, "Embed_0": 0.2}, mask=tree(False, True, True))
    state = of.init(PARAMS)
    doubled = optax.tree.map_params(of, lambda leaf: leaf, state)
    assert jax.tree.structure(doubled) == jax.tree.structure(state)


# weights that stay

COSINE = optax.cosine_decay_schedule(1.0, 10)
KEPT = {"Dense_0": {"bias": False, "kernel": True}, "Embed_0": ROWS[:, None] > 0.7}
CHAINS = {
    "coupled": lambda: coupled(optax.scale_by_adam(), decay_weights(0.3, mask=everything), 0.1, COSINE),
    "decoupled": lambda: decoupled(optax.trace(0.9), decay_weights(0.3, mask=everything), 0.1, COSINE),
    "independent": lambda: independent(optax.scale_by_adam(), decay_weights(0.3, mask=everything), 0.1, COSINE),
    "constant": lambda: constant(optax.scale_by_adam(), decay_weights(0.3, mask=everything), 0.1, COSINE),
    "proximal": lambda: proximal(optax.identity(), partial(soft_threshold, mask=everything), 0.3, 0.1, COSINE),
    "optax.adamw": lambda: optax.adamw(0.1, weight_decay=0.3),
    "no learning at all": lambda: optax.scale(jnp.nan),
}


def train(optimizer, arrives=1.0, count=6):
    """The weights in the end; the loss is a sum over entries. The state too."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    state = optimizer.init(params)
    for _ in range(count):
        gradients = jax.tree.map(lambda w: arrives * jnp.sin(w), params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("arrives", [0.0, 1.0])
@pytest.mark.parametrize("chain", CHAINS)
def test_frozen_weights_stay_and_the_others_move_as_before(chain, arrives):
    optimizer = CHAINS[chain]()
    ours, free = train(optax.chain(optimizer, frozen(KEPT)), arrives)[0], train(optimizer, arrives)[0]
    expected = jax.tree.map(
        lambda kept, w, moved: np.where(kept, w, moved), tree(False, True, KEPT["Embed_0"]), PARAMS, free
    )
    jax.tree.map(np.testing.assert_array_equal, ours, expected)
    assert not np.array_equal(free["Dense_0"]["kernel"], PARAMS["Dense_0"]["kernel"])


BEFORE = optax.masked(optax.set_to_zero(), tree(False, True, False))
GROUPS = {"Dense_0": {"bias": "free", "kernel": "held"}, "Embed_0": "free"}
THAWED = {
    "zeros before AdamW": optax.chain(BEFORE, optax.adamw(0.1, weight_decay=0.3)),
    "zeros before a link": optax.chain(BEFORE, optax.scale(0.1), decay_weights(0.3), optax.scale(-1.0)),
    "a link behind a partition": optax.chain(
        optax.partition({"free": optax.scale(0.1), "held": optax.set_to_zero()}, GROUPS),
        decay_weights(0.3),
        optax.scale(-1),
    ),
    "frozen before a proximal step": optax.chain(
        optax.scale(-0.1), frozen(matching("kernel")), proximal_step(soft_threshold, 0.1)
    ),
}


@pytest.mark.parametrize("chain", THAWED)
def test_zeros_elsewhere_than_last_leave_decay(chain):
    kept = matching("Dense_0/kernel")
    moved, stays = (train(o)[0]["Dense_0"]["kernel"] for o in (THAWED[chain], optax.chain(THAWED[chain], frozen(kept))))
    assert np.all(np.abs(moved) < np.abs(PARAMS["Dense_0"]["kernel"]))
    np.testing.assert_array_equal(stays, PARAMS["Dense_0"]["kernel"])


def test_the_second_weights_of_schedule_free_are_frozen_in_its_base():
    base, last = optax.chain(optax.sgd(0.1), frozen(KEPT)), frozen(KEPT)
    inside, outside = (optax.contrib.schedule_free(b, 0.1) for b in (base, optax.sgd(0.1)))
    for optimizer, stays in ((optax.chain(inside, last), True), (optax.chain(outside, last), False)):
        params, (state, _) = train(optimizer)
        evaluated = optax.contrib.schedule_free_eval_params(state, params)["Dense_0"]["kernel"]
        np.testing.assert_array_equal(params["Dense_0"]["kernel"], PARAMS["Dense_0"]["kernel"])
        assert np.allclose(evaluated, PARAMS["Dense_0"]["kernel"], rtol=1e-12) == stays


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (tree(False, 0.5, True), "frozen wants True or False, and the mask of Dense_0/kernel is 0.5"),
        (tree(1, True, True), "the mask of Dense_0/bias is 1:"),
        ({"Dense_0": True, "Embed_0": ROWS[:, None]}, "the mask of Embed_0/embedding"),
        ({"Dense_0": True}, "the mask says nothing of Embed_0/embedding"),
        (lambda params: jax.tree.map(lambda leaf: False, params), "takes in no leaf"),
    ],
)
def test_frozen_takes_yes_or_no(mask, says):
    with pytest.raises(DecayError, match=says):
        frozen(mask).init(PARAMS)


@pytest.mark.parametrize("link", [decay_weights(0.1), decay_weights(falling), frozen(everything), *(
    of(0.1, mask=None) for of, _ in LINKS.values()
)])  # fmt: skip
def test_a_link_needs_the_weights(link):
    with pytest.raises(ValueError, match="needs the params: call"):
        link.update(PARAMS, link.init(PARAMS))


# complex weights

Z = np.array([[1 + 2j, -3j, 0.5], [2, -1 - 1j, 1e-30 + 1e-30j]])
U = np.array([[2 - 1j, 1 - 1j, -1], [0, -2 - 1j, 3j]])


def square(params):
    """Half the squared magnitudes."""
    return 0.5 * sum(jnp.sum(jnp.real(w) ** 2 + jnp.imag(w) ** 2) for w in jax.tree.leaves(params))


COMPLEX = {
    "toward zero": (None, Z),
    "toward a tree": (toward({"w": U}), Z - U),
    "down a penalty": (down(square), Z),
    "cautious": (cautious(lambda updates, params: params), np.where(np.real(np.conj(U) * Z) >= 0, Z, 0)),
    "cautious toward": (
        cautious(toward({"w": 1j * Z})),
        np.where(np.real(np.conj(U) * (Z - 1j * Z)) >= 0, Z - 1j * Z, 0),
    ),
}


@pytest.mark.parametrize("rate", [0.3, np.float32(0.5), {"w": np.array([[0.2], [0.4]])}], ids=["float", "f32", "rows"])
@pytest.mark.parametrize("pull", COMPLEX)
def test_complex_weights_decay_by_their_pull(pull, rate):
    link, direction = decay_weights(rate, COMPLEX[pull][0], everything), COMPLEX[pull][1]
    updates, _ = link.update({"w": U}, link.init({"w": Z}), {"w": Z})
    np.testing.assert_allclose(
        updates["w"], U + (rate["w"] if isinstance(rate, dict) else rate) * direction, rtol=1e-12
    )


def test_a_complex_weight_decays_unless_its_step_makes_it_grow():
    rng = np.random.default_rng(0)
    z, u = (rng.normal(size=100) + 1j * rng.normal(size=100) for _ in range(2))
    decays = np.asarray(cautious(lambda updates, params: params)({"w": u}, {"w": z})["w"]) != 0
    np.testing.assert_array_equal(decays, np.abs(z - 1e-6 * u) < np.abs(z))
    assert 0 < decays.sum() < 100


@pytest.mark.parametrize("place", [coupled, decoupled])
def test_complex_l2_in_the_loss_is_decay_in_the_chain(place):
    """The chain is given the conjugate of what `jax.grad` returns, as ascent wants."""

    def loss(params, rate):
        return jnp.sum(jnp.abs(jnp.sin(params["w"]) - 0.3j) ** 2) + rate * square(params)

    def trained(in_loss, in_chain):
        optimizer = place(optax.identity(), decay_weights(in_chain, mask=everything), 0.05, COSINE)
        params = {"w": jnp.asarray(Z[0])}
        state = optimizer.init(params)
        for _ in range(10):
            gradients = jax.tree.map(jnp.conj, jax.grad(loss)(params, in_loss))
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params["w"]

    np.testing.assert_allclose(trained(0.4, 0.0), trained(0.0, 0.4), rtol=1e-12)
    assert not np.allclose(trained(0.4, 0.0), trained(0.0, 0.0), rtol=0.01)


def test_a_complex_proximal_step_and_frozen_weights():
    step = proximal_step(lambda params, amount: jax.tree.map(lambda w: w / (1 + amount), params), 0.5)
    np.testing.assert_allclose(
        step.update({"w": U}, step.init({"w": Z}), {"w": Z})[0]["w"], (Z + U) / 1.5 - Z, atol=1e-15
    )
    held = frozen({"w": np.array([[True], [False]])})
    np.testing.assert_array_equal(held.update({"w": U}, held.init({"w": Z}), {"w": Z})[0]["w"], [[0, 0, 0], U[1]])
