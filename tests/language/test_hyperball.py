"""Decay as an angle: how kernels and other leaves move by each optimizer, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.hyperball import (
    ADAMW,
    LINE,
    ROOT,
    SHORT,
    SPHERE,
    Hypers,
    adamw,
    angle_of,
    claims_of,
    experiment,
    on_sphere,
    points_of,
)
from experiments.language.setting import OFTEN, ONCE

STEPS, RATE = 40, 0.03
SCHEDULE = np.array([0.0, 0.5, *np.linspace(1, 0, STEPS - 2, endpoint=False)])  # two steps of warm-up, then a line to 0
FOR_EVER = Hypers(jnp.float32(0.7), jnp.float32(4), jnp.float32(ROOT))


def moved(optimizer, h, gradient):
    """The weights after every step, by a gradient that stays; each leaf f32[STEPS, ...]."""
    params = {"head": {"kernel": jax.random.normal(jax.random.key(0), (8, 8))}, "embedding": jnp.ones((4, 8))}
    update = optimizer(RATE, STEPS)(h)
    gradients = jax.tree.map(lambda leaf: gradient * jnp.ones_like(leaf), params)

    def step(carry, _):
        params, state = carry
        updates, state = update.update(gradients, state, params)
        after = jax.tree.map(jnp.add, params, updates)
        return (after, state), after

    _, after = jax.lax.scan(step, (params, update.init(params)), length=STEPS)
    return jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), params, after)


@pytest.mark.parametrize("optimizer", [adamw, on_sphere])
def test_the_embedding_takes_steps_of_the_learning_rate_whatever_kernels_do(optimizer):
    steps = -np.diff(moved(optimizer, FOR_EVER, 0.01)["embedding"][:, 0, 0])
    np.testing.assert_allclose(steps, RATE * SCHEDULE, rtol=2e-3, atol=1e-6)


def test_without_gradients_kernels_shrink_by_learning_rate_times_decay():
    kernel = moved(adamw, FOR_EVER, 0.0)["head"]["kernel"][:, 0, 0]
    np.testing.assert_allclose(kernel[1:] / kernel[:-1], 1 - RATE * 4 * 0.7 * SCHEDULE, rtol=1e-5)


@pytest.mark.parametrize("power", [ROOT, LINE])
def test_on_the_sphere_kernels_keep_their_norm_and_take_steps_of_the_angle(power):
    h = Hypers(jnp.float32(0.7), jnp.float32(1), jnp.float32(power))
    kernel = moved(on_sphere, h, 0.01)["head"]["kernel"].reshape(STEPS + 1, -1)
    norms = np.linalg.norm(kernel, axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-5)
    # of the first steps, whose direction is nearly orthogonal to the weights
    along = 1 / 8 * np.ones(64)
    cosines = kernel @ along / norms
    expected = angle_of(RATE, 0.7) * SCHEDULE**power
    turned = np.arccos(np.clip((kernel[1:] * kernel[:-1]).sum(axis=1) / norms[1:] ** 2, -1, 1))
    near = slice(1, 6)
    np.testing.assert_allclose(turned[near], (expected * np.sqrt(1 - cosines[:-1] ** 2))[near], rtol=0.06)


def test_the_angle_is_that_of_equilibrium():
    assert angle_of(0.03, 0.7) == pytest.approx((2 * 0.03 * 0.7 / 19) ** 0.5)
    assert angle_of(0.03, 16 * 0.7) == pytest.approx(4 * angle_of(0.03, 0.7))


def test_what_is_off_is_off_by_four_between_the_ends():
    points = np.stack(points_of((0, 0.1, 0.4, 1.6), [LINE]), axis=1)
    expected = [(0, 1), (0.1, 1), (0.4, 1), (1.6, 1), (0.4, 0.25), (0.4, 4)]
    np.testing.assert_allclose(points, [(*pair, 1) for pair in expected])


DECAYS = (0.05, 0.1, 0.2, 0.4, 0.8)


def evidence(adamw_best=0.2, sphere_best=0.4):
    """Arms whose loss is a parabola over log2 of the decay, .1 a square, and more where times or power are others."""

    def arm(best, floor, slow, fast, points):
        decay, times, power = (np.asarray(column, float) for column in points)
        loss = floor + 0.1 * np.log2(np.maximum(decay, 1e-9) / best) ** 2
        loss = loss + slow * (times < 1) + fast * (times > 1) + 0.02 * (power == ROOT)
        values = np.tile(loss, (4, 1))
        return wd.labelled(points, "decay", 10, {"validation_loss": values, "test_loss": values})

    arms = {}
    for seen in (OFTEN, ONCE):
        arms[f"{seen}, {ADAMW}"] = arm(adamw_best, 1.5, 0.2, 0.3, points_of((0, *DECAYS), [LINE]))
        arms[f"{seen}, {SPHERE}"] = arm(sphere_best, 1.45, 0.5, 0.9, points_of(DECAYS, [LINE, ROOT]))
    return wd.Evidence(arms)


def measured(arms):
    return {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
            for claim in claims_of()}  # fmt: skip


def test_a_claim_compares_what_it_says():
    found, both = measured(evidence()), (OFTEN, ONCE)
    assert list(found) == ["angle", "loss", "loss-line", "better", "off-0.25", "off-4"]
    assert found["angle"] == pytest.approx(dict.fromkeys(both, 0.5), abs=1e-5)
    assert found["loss"] == pytest.approx(dict.fromkeys(both, 1.45 + 0.1 + 0.02 - 1.5), abs=1e-5)
    assert found["loss-line"] == pytest.approx(dict.fromkeys(both, 1.45 + 0.1 - 1.5), abs=1e-5)
    assert found["better"] == pytest.approx({ONCE: 0.05}, abs=1e-5)
    assert found["off-0.25"] == pytest.approx(dict.fromkeys(both, 0.3), abs=1e-5)
    assert found["off-4"] == pytest.approx(dict.fromkeys(both, 0.6), abs=1e-5)


def test_no_verdict_hangs_on_a_best_angle_at_an_end_of_the_grid():
    found = measured(evidence(sphere_best=0.8))
    assert np.isnan(list(found["angle"].values())).all()
    assert np.isnan(list(found["off-4"].values())).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0.1, 0.2, 0.4, 1)}, "--decays has no 0"),
     ({"decays": (0, 0.1, 1)}, "--decays has 3 values"),
     ({"learning_rate": 0.0}, "--learning-rate 0.0 cannot be")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    for name in ("loss_over_angle", "off_by_four"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
