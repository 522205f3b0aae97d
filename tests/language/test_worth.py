"""What decay is worth by optimizer and length: what decay removes, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.setting import task_of
from experiments.language.worth import (
    CORES,
    SHORT,
    Hypers,
    claims_of,
    experiment,
    name_of,
    optimizer_of,
    points_of,
    steps_for,
)

STEPS = 40
SCHEDULE = np.array([0.0, 0.5, *np.linspace(1, 0, STEPS - 2, endpoint=False)])  # two steps of warm-up, a line to 0
LENGTHS = [10, 20]


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("rate", [0.003, 0.03])
def test_without_gradients_a_step_removes_time_scales_over_steps_whatever_optimizer_and_learning_rate(name, rate):
    optimizer = optimizer_of(name, STEPS)(Hypers(jnp.float32(rate), jnp.float32(8.0)))
    params = {"block_0_up": {"kernel": jnp.eye(3)}, "head": {"kernel": jnp.eye(3)}, "embedding": jnp.eye(3)}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        after = jax.tree.map(jnp.add, params, updates)
        return (after, state), jax.tree.map(lambda leaf: leaf[0, 0], after)

    _, left = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)
    expected = np.cumprod(1 - 8.0 / STEPS * SCHEDULE)
    np.testing.assert_allclose(left["block_0_up"]["kernel"], expected, rtol=1e-5)
    np.testing.assert_allclose(left["head"]["kernel"], expected, rtol=1e-5)
    np.testing.assert_array_equal(left["embedding"], 1)


def test_muon_is_that_of_hidden_matrices_and_adam_is_left_for_the_head():
    params = {"block_0_up": {"kernel": jnp.ones((2, 3))}, "head": {"kernel": jnp.ones((2, 3))}}
    gradients = jax.tree.map(lambda leaf: jnp.arange(1.0, 7.0).reshape(2, 3), params)
    updates, _ = (core := CORES["Muon"]()).update(gradients, core.init(params), params)
    np.testing.assert_allclose(updates["head"]["kernel"], 1, rtol=1e-5)
    assert np.linalg.matrix_rank(updates["block_0_up"]["kernel"], tol=0.1) == 2


def test_lion_has_a_tenth_of_the_learning_rates_and_all_have_one_grid_of_decay():
    grids = {name: points_of(name, (0.02, 0.04), (0, 3)) for name in CORES}
    assert list(grids["Lion"].learning_rate) == pytest.approx([0.002, 0.002, 0.004, 0.004])
    assert list(grids["Muon"].learning_rate) == pytest.approx([0.02, 0.02, 0.04, 0.04])
    assert all(list(grid.time_scales) == [0, 3, 0, 3] for grid in grids.values())


def test_tokens_a_parameter_are_counted():
    task = task_of(wd.texts.from_string("ab" * 200_000), 100_000)
    with_two = 2 * 32 * 2 + 2 * 12 * 32**2 + 5 * 32  # embedding and head, blocks, gains
    assert steps_for(task, 20) == round(20 * with_two / 512)


def test_a_claim_compares_what_it_says():
    losses = {name_of(10, "AdamW"): (2.0, 1.98), name_of(10, "Lion"): (2.1, 2.07), name_of(10, "Muon"): (1.9, 1.84),
              name_of(20, "AdamW"): (1.8, 1.77), name_of(20, "Lion"): (1.9, 1.86), name_of(20, "Muon"): (1.7, 1.645),
              }  # fmt: skip
    grid = Hypers(np.float32([0.1] * 4), np.float32([0, 1, 3, 9]))

    def arm(name, without, best):
        at_3 = best + (0.005 if "Lion" in name else 0.0)  # Lion alone is best at 1
        values = np.float32([[without, best + (0.0 if "Lion" in name else 0.005), at_3, without]] * 4)
        return wd.labelled(grid, "time_scales", 10, {"validation_loss": values, "test_loss": values})

    arms = wd.Evidence({name: arm(name, *pair) for name, pair in losses.items()})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of(LENGTHS)}  # fmt: skip
    close = pytest.approx
    assert found["gain"] == close({name: without - best for name, (without, best) in losses.items()}, abs=1e-6)
    assert list(found["worth"]) == [name_of(20, name) for name in CORES]
    assert found["growth"] == close({"AdamW, 20 against 10 tokens a parameter": 0.01}, abs=1e-6)
    assert found["muon-stays"] == close({"Muon, 20 against 10 tokens a parameter": -0.005}, abs=1e-6)
    assert found["muon-more"] == close({"10 tokens a parameter": 0.04, "20 tokens a parameter": 0.025}, abs=1e-6)
    assert found["one-share"] == close({name_of(length, name): lost for length in LENGTHS
                                        for name, lost in (("Lion", 0.005), ("Muon", 0.0))}, abs=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [({"time_scales": (1, 3)}, "--time-scales has no 0"),
     ({"lengths": (20,)}, "--lengths 20 is one length"),
     ({"lengths": (20, 0)}, "--lengths 0 cannot be"),
     ({"lengths": (20, 160)}, "--lengths 160 takes 4,654,"),
     ({"learning_rates": (-0.1,)}, "--learning-rates -0.1 cannot be"),
     ({"once": 9_000_000}, "the King James Bible")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of([1, 2])]
    assert all((tmp_path / "figures" / f"{name}.png").exists() for name in ("gain_over_length", "loss_over_decay"))
