"""When weights should decay: what each form of decay removes, what the claims compare, and a short run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.setting import OFTEN, ONCE, Hypers
from experiments.language.when_to_decay import FORMS, SHORT, claims_of, experiment, optimizer_of

STEPS = 40
SHARES = np.arange(STEPS) / STEPS
RISING = [0.5, *np.linspace(1, 0, STEPS - 2, endpoint=False)]
SCHEDULE = np.array([0.0, *RISING])[:STEPS]  # two steps of warm-up, then a line to 0
EXPECTED = {
    "constant": np.ones(STEPS),
    "with the learning rate": SCHEDULE,
    "with its square": SCHEDULE**2,
    "cosine squared": SCHEDULE * np.cos(np.pi / 2 * SHARES) ** 2,
    "as one over time": SCHEDULE / (1 + 10 * SHARES),
    "falling, then rising": SCHEDULE * np.interp(SHARES, [0, 2 / 15, 8 / 15, 1], [0.8, 0.8, 0.1, 0.93]) / 0.93,
    "early half": SCHEDULE * (SHARES < 0.5),
    "late half": SCHEDULE * (SHARES >= 0.5),
}


def test_every_form_is_expected():
    assert list(EXPECTED) == list(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_without_gradients_a_step_removes_learning_rate_times_decay_times_the_form(form):
    rate, decay = 0.03, 1.5
    optimizer, params = optimizer_of(form, STEPS)(Hypers(jnp.float32(rate), jnp.float32(decay))), {"kernel": jnp.eye(3)}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        after = jax.tree.map(jnp.add, params, updates)
        return (after, state), after["kernel"][0, 0]

    _, left = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)
    np.testing.assert_allclose(left, np.cumprod(1 - rate * decay * EXPECTED[form]), rtol=1e-5)


def test_a_claim_compares_what_it_says():
    assert [claim.id for claim in claims_of()] == ["late", "constant", "rising", "square", "one-pass"]
    losses = {"early half": 2.0, "late half": 1.5, "constant": 1.4, "with the learning rate": 1.7,
              "falling, then rising": 1.6, "with its square": 1.705, "cosine squared": 1.71,
              "as one over time": 1.69}  # fmt: skip
    grid = Hypers(np.float32([0.1, 0.1]), np.float32([0, 1]))

    def arm(loss):
        values = np.float32([[loss + 0.2, loss]] * 4)
        return wd.labelled(grid, "decay", 10, {"validation_loss": values, "test_loss": values})

    arms = wd.Evidence({f"{seen}, {form}": arm(loss) for seen in (OFTEN, ONCE) for form, loss in losses.items()})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["late"] == pytest.approx({"seen often, early half": 0.5})
    assert found["constant"] == pytest.approx({"seen often, with the learning rate": 0.3})
    assert found["rising"] == pytest.approx({"seen often, with the learning rate": 0.1}, abs=1e-6)
    assert found["square"] == pytest.approx({f"{seen}, with its square": 0.005 for seen in (OFTEN, ONCE)}, abs=1e-6)
    assert len(found["one-pass"]) == len(FORMS) - 1
    assert all(name.startswith(ONCE) for name in found["one-pass"])


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"once": 9_000_000}, "the King James Bible"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = replace(experiment(**SHORT), confirm=2, until_decided=None, grow=False)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert (tmp_path / "figures" / "loss_by_form.png").exists()
