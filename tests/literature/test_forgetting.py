"""What a net remembers of its decay: what a step removes when, what the claims compare, and a short run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.literature.forgetting import (
    FALLS,
    HISTORIES,
    MOMENTUM,
    OTHERS,
    History,
    Window,
    after_history,
    claims_of,
    experiment,
    in_window,
)

STRENGTHS = np.float32([0, 0.01, 0.1, 1])


def course(optimizer, steps):
    """The size of a weight after each step without gradients."""
    params, left = {"kernel": jnp.eye(3)}, []
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        left.append(float(params["kernel"][0, 0]))
    return left


def test_without_gradients_weights_shrink_by_the_history_and_then_as_all_do():
    left = course(after_history(3)(History(*map(jnp.float32, (0.4, 0.1, 0.1, 0.5)))), 6)
    np.testing.assert_allclose(left, np.cumprod([0.96] * 3 + [0.95] * 3), rtol=1e-5)


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (0, 0.5), (0.5, 1)])
def test_without_gradients_weights_shrink_in_their_window_by_momentum_and_a_rate_that_falls(begin, end):
    left = course(in_window(8)(Window(*map(jnp.float32, (0.1, 0.5, begin, end, 0.01)))), 8)
    weight, memory = 1.0, 0.0
    for step, found in enumerate(left):
        memory = MOMENTUM * memory + 0.5 * weight * (begin * 8 <= step < end * 8)
        weight -= 0.1 * 0.01 ** (step / 8) * memory
        assert found == pytest.approx(weight, rel=1e-4)


def histories(norms):
    """Results of six histories over seven times with ten evaluations each; the norms f64[6] hold for the first six."""
    hypers = History(*np.ones((4, 6), np.float32))
    parts = []
    for k in range(1, 71):
        now = np.ones(6) if k > 60 else np.asarray(norms)
        values = {"weights_norm": now, "test_loss": now / 10, "test_accuracy": now / 20}
        parts.append(wd.labelled(hypers, "decay", k, {name: np.tile(of, (4, 1)) for name, of in values.items()}))
    joined = wd.joined([part.drop_vars("diverged_at") for part in parts], "step")
    return joined.assign(diverged_at=parts[0].diverged_at)


def arm(accuracy):
    """Results over strengths with these accuracies f64[4]."""
    points = wd.grid(Window, learning_rate=(0.1,), decay=STRENGTHS, begin=(0,), end=(1,), last=(1,))
    values = np.tile(np.asarray(accuracy, float), (4, 1))
    return wd.labelled(points, "decay", 10, {"validation_accuracy": values, "test_accuracy": values})


def test_a_claim_compares_what_it_says():
    arms = {HISTORIES: histories([1, 2, 0.5, 1.2, 0.9, 3])}
    for name in FALLS:
        arms |= {f"{name}, always": arm([0.7, 0.75, 0.8, 0.1]), f"{name}, early": arm([0.7, 0.9, 0.78, 0.1]),
                 f"{name}, late": arm([0.7, 0.9, 0.71, 0.1])}  # fmt: skip
    evidence = wd.Evidence(arms)
    found = {claim.id: {name: cell.values[0] for name, cell in evidence.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["forgets-norm"] == found["forgets-loss"] == found["forgets-accuracy"] == dict.fromkeys(OTHERS, 0)
    assert found["remembers-at-first"] == pytest.approx(dict(zip(OTHERS, [1, 0.5, 0.2, 0.1, 2], strict=True)))
    assert found["decay-helps"] == pytest.approx({"falling": 0.1})
    assert found["removed"] == pytest.approx({"falling": 0.02})
    assert found["added-late"] == pytest.approx({"falling": 0.01})
    assert found["removed-constant"] == pytest.approx({"constant": 0.02})


@pytest.mark.parametrize(
    ("given", "says"),
    [({"strengths": (0.1, 1)}, "--strengths has no 0"),
     ({"share": 1.0}, "--share 1 leaves no early or no late part"),
     ({"rate": 1.0, "decay": 0.5}, "--rate 1 and --decay 0.5 have a time 1 / (rate * decay) below 10 steps"),
     ({"decay": 0.0}, "--decay 0.0 cannot be"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = replace(experiment(rate=0.5, decay=0.1, strengths=(0, 0.01, 0.1), seeds=2, steps=70), confirm=2)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert (tmp_path / "figures" / "forgetting.png").exists()
