"""Decay and rounding to four bits: what rounding does, the two schedules, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.quantization import SHORT, Hypers, claims_of, experiment, in_four_bits, optimizer_of
from experiments.language.setting import OFTEN, ONCE
from wd_research.training.loop import followed

STEPS = 40
RISING = [0.0, 0.5]  # two steps of warm-up


def test_rounding_has_fifteen_levels_for_every_output_and_leaves_what_is_no_kernel():
    kernel = jax.random.normal(jax.random.key(0), (100, 3)) * jnp.array([1.0, 10.0, 0.0])
    params = {"Dense_0": {"kernel": kernel, "bias": jnp.ones(3)}, "embedding": kernel}
    rounded = in_four_bits(params)
    levels = np.asarray(rounded["Dense_0"]["kernel"] / jnp.abs(kernel).max(axis=0) * 7)[:, :2]
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)
    assert np.abs(levels).max() == pytest.approx(7)
    off = np.abs(np.asarray(rounded["Dense_0"]["kernel"] - kernel)).max(axis=0)
    assert (off <= np.asarray(jnp.abs(kernel).max(axis=0)) / 14 * 1.001).all()
    assert (rounded["Dense_0"]["bias"] == 1).all()
    assert (rounded["embedding"] == kernel).all()


@pytest.mark.parametrize(("held", "last"), [(0, np.linspace(1, 0, 8, endpoint=False)), (1, np.ones(8))])
def test_without_gradients_a_step_removes_learning_rate_times_decay_times_the_schedule(held, last):
    rate, decay = 0.03, 1.5
    optimizer = optimizer_of(STEPS)(Hypers(jnp.float32(rate), jnp.float32(decay), jnp.float32(held)))
    params = {"kernel": jnp.eye(3)}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        after = jax.tree.map(jnp.add, params, updates)
        return (after, state), after["kernel"][0, 0]

    _, left = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)
    schedule = np.array([*RISING, *np.ones(STEPS - 10), *last])
    np.testing.assert_allclose(left, np.cumprod(1 - rate * decay * schedule), rtol=1e-5)


def arm(errors):
    """Results at steps 8 and 10, of a decay of 0, .1, .2, .4, .8; errors (early, end, end where the rate stays)."""
    points = wd.grid(Hypers, learning_rate=(0.03,), decay=(0, 0.1, 0.2, 0.4, 0.8), held=(0, 1))
    loss = np.repeat([2.0, 1.9, 1.5, 1.6, 1.7], 2) + np.tile([0.0, 0.5], 5)
    early, end, stays = (np.asarray(column) for column in errors)
    parts = [np.repeat(early, 2), np.stack([end, stays], axis=1).ravel()]

    def at(step, off):
        metrics = {"validation_loss": loss, "test_loss": loss, "test_rounded_loss": loss + off}
        return wd.labelled(points, "decay", step, {name: np.stack([row] * 4) for name, row in metrics.items()})

    return followed(at(8, parts[0]), at(10, parts[1]))


def test_a_claim_compares_what_it_says():
    few = arm([[0.1] * 5, [0.5, 0.4, 0.3, 0.2, 0.1], [0.2] * 5])
    many = arm([[0.1, 0.05, 0, 0, 0], [0.3, 0.3, 0.2, 0.2, 0.2], [0.3, 0.1, 0, 0, 0]])
    arms = wd.Evidence({OFTEN: few, ONCE: many})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["less-error"] == pytest.approx({OFTEN: 0.2, ONCE: 0.1})  # the best decay is .2
    assert found["slope"][OFTEN] == pytest.approx(-0.1)
    assert found["growth"] == pytest.approx({f"{OFTEN}, decay 0": 0.4, f"{OFTEN}, decay 0.1": 0.3,
                                             f"{ONCE}, decay 0": 0.2, f"{ONCE}, decay 0.1": 0.25})  # fmt: skip
    assert found["not-steps"] == pytest.approx({f"{OFTEN}, decay 0": 0.3, f"{OFTEN}, decay 0.1": 0.2,
                                                f"{ONCE}, decay 0": 0.0, f"{ONCE}, decay 0.1": 0.2})  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0, 1)}, "--decays has no 0.1"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"steps": 1_001}, "--steps 1001 is no multiple of 10"),
     ({"once": 9_000_000}, "the King James Bible"),
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
    assert [claim["id"] for claim in result.summary["claims"]] == ["less-error", "slope", "growth", "not-steps"]
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"error_over_training", "error_over_decay"} <= drawn
