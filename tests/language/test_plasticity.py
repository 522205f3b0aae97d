"""Decay before fine-tuning: one vocabulary, two texts in turn, what steps remove, what the claims compare, a run."""

import string

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from experiments.language.plasticity import (
    ALIKE,
    OTHER,
    SHORT,
    begun_anew,
    claims_of,
    experiment,
    in_turn,
    optimizer_of,
)
from experiments.language.setting import OFTEN, ONCE, Hypers
from wd_research.training.loop import followed

HYPERS = Hypers(jnp.float32(0.03), jnp.float32(1.5))
DECAYS = np.float32([0, 0.1, 0.2, 0.4, 0.8, 1.6])


def language(letters):
    """A task of a text of these letters in the alphabet."""
    drawn = np.random.default_rng(0).integers(0, len(letters), 2**14)
    places = np.array([string.ascii_lowercase.index(letter) for letter in letters], np.uint8)
    text = wd.texts.Text(places[drawn], 26, 1.0, letters)
    return wd.language(wd.Decoder(26, 8, 1, 2), text, 16, 2, 4_096, 2_048, evaluated=8)


@pytest.mark.parametrize("start", [3, 9])
def test_batches_are_of_the_first_text_until_the_switch_and_then_of_the_second_from_its_beginning(start):
    first, second, switch, key = language("abc"), language("xyz"), 5, jax.random.key(1)
    both = in_turn(first, second, switch)
    split, order = both.split(0), both.order(key, jnp.int32(start), 4)
    for step in range(4):
        got, now = both.gather(both.data, split, order[step]), start + step
        task, at = (first, now) if now < switch else (second, now - switch)
        places = task.order(key, jnp.int32(at), 1)[0]
        wanted = task.gather(task.data, task.split(0), places)
        assert (got.inputs == wanted.inputs).all()
        assert (got.targets == wanted.targets).all()
    held_out = both.splits(both.data, split)
    assert int(held_out["first_test"].inputs.max()) == 2
    assert int(held_out["test"].inputs.min()) == 23


def test_without_gradients_pretraining_removes_by_its_own_decay_and_fine_tuning_by_a_small_one():
    optimizer, params = optimizer_of(20, 10)(HYPERS), {"kernel": jnp.eye(3)}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        after = jax.tree.map(jnp.add, params, updates)
        return (after, state), after["kernel"][0, 0]

    _, left = jax.lax.scan(step, (params, optimizer.init(params)), length=30)
    before = [0.0, *np.linspace(1, 0, 19, endpoint=False)]  # a step of warm-up, then a line to 0
    after = np.linspace(1, 0, 10, endpoint=False) / 3
    np.testing.assert_allclose(left, np.cumprod(1 - 0.03 * np.array([*(1.5 * np.array(before)), *(0.1 * after)])),
                               rtol=1e-5)  # fmt: skip


def test_a_core_forgets_at_its_step():
    params, gradients = {"w": jnp.zeros(3)}, [{"w": jnp.arange(3.0) + step} for step in range(6)]

    def steps(core, given):
        state, made = core.init(params), []
        for gradient in given:
            updates, state = core.update(gradient, state, params)
            made.append(updates["w"])
        return np.array(made)

    once, plain = steps(begun_anew(wd.cores.adam(), 4), gradients), wd.cores.adam()
    np.testing.assert_allclose(once[:4], steps(plain, gradients[:4]), rtol=1e-6)
    np.testing.assert_allclose(once[4:], steps(plain, gradients[4:]), rtol=1e-6)
    assert np.array_equal(steps(begun_anew(optax.trace(0.9), 9), gradients), steps(optax.trace(0.9), gradients))


def parabola(best):
    """A loss over the decays with its least at one of them; f32[h]."""
    return np.float32([2.0, *1 + 0.1 * np.log2(DECAYS[1:] / best) ** 2])


def arm(first, second):
    """Results whose best decay is the one before fine-tuning and the other after it; all begin that at a loss of 3."""
    points = Hypers(np.full_like(DECAYS, 0.03), DECAYS)

    def at(step, **losses):
        return wd.labelled(points, "decay", step, {name: np.stack([loss] * 4) for name, loss in losses.items()})

    high, own, other = np.full_like(DECAYS, 3), parabola(first), parabola(second)
    return followed(at(10, first_validation_loss=own, validation_loss=high, test_loss=high),
                    at(15, first_validation_loss=high, validation_loss=other, test_loss=other))  # fmt: skip


def test_a_claim_compares_what_it_says():
    arms = wd.Evidence({f"{ONCE}, {ALIKE}": arm(0.2, 0.4), f"{ONCE}, {OTHER}": arm(0.4, 0.4),
                        f"{OFTEN}, {ALIKE}": arm(0.2, 0.8), f"{OFTEN}, {OTHER}": arm(0.2, 1.6)})  # fmt: skip
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of(10)}  # fmt: skip
    assert found["higher"] == pytest.approx({f"{ONCE}, {ALIKE}": 1, f"{ONCE}, {OTHER}": 0}, abs=1e-5)
    assert found["higher-repeated"][f"{OFTEN}, {ALIKE}"] == pytest.approx(2, abs=1e-5)
    assert np.isnan(found["higher-repeated"][f"{OFTEN}, {OTHER}"])  # on the edge
    lost = {f"{ONCE}, {ALIKE}": 0.1, f"{ONCE}, {OTHER}": 0, f"{OFTEN}, {ALIKE}": 0.4, f"{OFTEN}, {OTHER}": 0.9}
    assert found["matters"] == pytest.approx(lost, abs=1e-5)
    assert found["learns-more"][f"{ONCE}, {ALIKE}"] == pytest.approx(0, abs=1e-5)  # the parabola lies in the middle
    assert found["learns-more"][f"{OFTEN}, {ALIKE}"] > 0.1


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"tuning_steps": 300}, "--steps 1000 is no multiple of --tuning-steps 300"),
     ({"tuned": 9_000_000}, "the American Standard Version"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of(20)]
    assert (tmp_path / "figures" / "losses_over_decay.png").exists()
