"""How the best decay depends on batch and length: what decay removes, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.batch import SHORT, Case, Hypers, best_shares, best_spans, claims_of, experiment, optimizer_of
from experiments.language.setting import OFTEN, ONCE, schedule_of

CASES = [Case(seen, batch, 512) for seen in (OFTEN, ONCE) for batch in (4, 16, 64)]
LENGTHS = [Case(ONCE, 16, windows) for windows in (128, 512, 2_048)]
VALUES = np.float32([0, 1, 2, 4, 8, 16, 32, 64])


@pytest.mark.parametrize("case", CASES[:3])
def test_without_gradients_a_step_removes_time_scales_over_steps_whatever_the_batch(case):
    optimizer = optimizer_of(case)(Hypers(jnp.float32(0.03), jnp.float32(6.0)))
    params = {"kernel": jnp.eye(3), "scale": jnp.ones(3)}

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    left, _ = jax.lax.fori_loop(0, case.steps, step, (params, optimizer.init(params)))
    peak = schedule_of(case.steps)
    expected = np.prod([1 - 6 / case.steps * float(peak(step)) for step in range(case.steps)])
    np.testing.assert_allclose(left["kernel"], expected * np.eye(3), rtol=1e-4)
    np.testing.assert_array_equal(left["scale"], 1)


def test_the_learning_rate_goes_with_the_root_of_the_batch():
    def second_step(batch):
        optimizer = optimizer_of(Case(ONCE, batch, 64 * batch))(Hypers(jnp.float32(0.03), jnp.float32(0)))
        params = {"kernel": jnp.zeros((2, 2))}
        state = optimizer.init(params)
        for _ in range(4):  # the last is at the peak, behind three of warm-up
            updates, state = optimizer.update({"kernel": jnp.full((2, 2), 0.1)}, state, params)
        return float(updates["kernel"][0, 0])

    assert [second_step(batch) for batch in (8, 32)] == pytest.approx([-0.03, -0.06], rel=1e-3)


def arm(best):
    """An arm whose seeds have this best number of time scales: parabolas over its logarithm, and 2 without decay."""
    loss = np.where(VALUES > 0, 1 + 0.1 * np.log(np.maximum(VALUES, 1e-9) / best) ** 2, 2.0)
    grid = Hypers(np.full(len(VALUES), 0.03, np.float32), VALUES)
    values = np.float32([loss] * 4)
    return wd.labelled(grid, "time_scales", 10, {"validation_loss": values, "test_loss": values})


def test_shares_are_of_a_step_and_spans_of_a_run():
    case = Case(ONCE, 16, 512)
    assert best_shares(case, arm(3.0)) == pytest.approx([3 / 32] * 4, rel=1e-3)
    assert best_spans(case, arm(3.0)) == pytest.approx([1 / 3] * 4, rel=1e-3)


def test_a_claim_compares_what_it_says():
    best = {OFTEN: {4: 16, 16: 8, 64: 4}, ONCE: {4: 8, 16: 8, 64: 8}}
    lengths = {128: 4, 512: 8, 2_048: 16}
    arms = {case.name: arm(best[case.seen][case.batch]) for case in CASES}
    arms = wd.Evidence({**arms, **{case.name: arm(lengths[case.windows]) for case in LENGTHS}})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of(CASES, LENGTHS)}  # fmt: skip
    off = 0.1 * np.log(2) ** 2
    assert found["once-linear"] == pytest.approx({ONCE: 1.0}, rel=1e-3)
    assert found["often-linear"] == pytest.approx({OFTEN: 0.5}, rel=1e-3)
    assert found["length-root"] == found["length-constant"] == pytest.approx({ONCE: -0.5}, rel=1e-3)
    others = [case for case in CASES if case.batch != 16]
    assert found["rule"] == pytest.approx({c.name: off if c.seen == OFTEN else 0 for c in others}, abs=1e-5)
    assert found["unchanged"] == pytest.approx({c.name: 0 for c in others if c.seen == OFTEN}, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"batches": (4, 16)}, "--batches 4 16 are too few: give three or more"),
     ({"lengths": (8_192,)}, "--lengths has no other than --windows 8192"),
     ({"windows": 1_000}, "1000 windows are no multiple of a batch of 16"),
     ({"lengths": (100,)}, "100 windows are no multiple of a batch of 16"),
     ({"once": 262_144}, "8192 windows are more than --once 262144 characters have"),
     ({"scales_once": (1, 2)}, "--scales-once has no 0"),
     ({"often": 3_000_000}, "--often 3000000 is not below --once 2000000"),
     ({"scales_often": (0, 128)}, "128 time scales in 128 steps leave nothing of a weight"),
     ({"windows": 0}, "--windows 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    expected = ["once-linear", "often-linear", "length-root", "length-constant", "rule", "unchanged"]
    assert [claim["id"] for claim in result.summary["claims"]] == expected
    assert all((tmp_path / "figures" / f"{name}.png").exists() for name in ("best_decay", "loss_over_decay"))
