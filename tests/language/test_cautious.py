"""Which entries should decay: what each rule removes, what the claims compare, and a short run."""

import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.cautious import LINKS, SHORT, TIMES, claims_of, experiment, name_of
from experiments.language.setting import OFTEN, ONCE, Hypers

DECAY = 0.25


def removed(rule, update):
    """What the link of a rule adds to an update of ones, in units of decay and weight."""
    link, params = LINKS[rule](Hypers(jnp.float32(1), jnp.float32(DECAY))), {"kernel": 2 * jnp.ones((64, 64))}
    updates = {"kernel": jnp.full((64, 64), update)}
    after, _ = link.update(updates, link.init(params), params)
    return (after["kernel"] - updates["kernel"]) / (DECAY * params["kernel"])


@pytest.mark.parametrize("update", [-1.0, 1.0])
def test_plain_decay_removes_the_same_from_every_entry(update):
    np.testing.assert_allclose(removed("plain", update), 1, rtol=1e-6)


def test_cautious_decay_removes_it_where_the_step_makes_the_weight_smaller():
    np.testing.assert_allclose(removed("cautious", 1.0), 1, rtol=1e-6)
    np.testing.assert_array_equal(removed("cautious", -1.0), 0)


@pytest.mark.parametrize("update", [-1.0, 1.0])
def test_the_control_removes_it_from_half_of_the_entries_whatever_the_step(update):
    found = removed("a random half", update)
    assert set(np.unique(np.round(found, 5))) == {0, 1}
    assert 0.45 < found.mean() < 0.55


def test_rules_that_decay_half_of_the_entries_have_twice_the_rates():
    arms = experiment(decays=(0, 0.1, 1)).arms
    assert list(arms) == [name_of(seen, rule) for seen in (OFTEN, ONCE) for rule in LINKS]
    for seen in (OFTEN, ONCE):
        for rule, times in TIMES.items():
            np.testing.assert_allclose(arms[name_of(seen, rule)].points.decay, np.multiply([0, 0.1, 1], times))


def test_a_claim_compares_what_it_says():
    assert [claim.id for claim in claims_of()] == ["one-pass", "entries", "repeated", "twice", "behind"]
    losses = {"plain": [1.9, 1.5, 1.7], "cautious": [1.9, 1.6, 1.4], "a random half": [1.9, 1.503, 1.45]}

    def arm(rule):
        grid = Hypers(np.float32([0.1] * 3), np.float32(np.multiply([0, 0.1, 1], TIMES[rule])))
        values = np.float32([losses[rule]] * 4)
        return wd.labelled(grid, "decay", 10, {"validation_loss": values, "test_loss": values})

    arms = wd.Evidence({name_of(seen, rule): arm(rule) for seen in (OFTEN, ONCE) for rule in LINKS})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["one-pass"] == pytest.approx({"seen once, plain": 0.1}, abs=1e-6)
    assert found["entries"] == pytest.approx({"seen once, a random half": 0.05}, abs=1e-6)
    assert found["repeated"] == pytest.approx({"seen often, cautious": -0.1}, abs=1e-6)
    assert found["twice"] == pytest.approx({f"{seen}, a random half": 0.003 for seen in (OFTEN, ONCE)}, abs=1e-6)
    assert found["behind"] == pytest.approx({"seen once, cautious": -0.1}, abs=1e-6)


def test_half_of_the_steps_is_looked_at_where_the_end_has_chosen():
    behind = next(claim for claim in claims_of() if claim.id == "behind")
    losses = {"plain": ([1.8, 2.0], [1.7, 1.5]), "cautious": ([1.7, 2.3], [1.6, 1.4])}  # at half, at the end

    def arm(rule):
        grid = Hypers(np.float32([0.1] * 2), np.float32([0, TIMES[rule]]))
        half, end = (
            wd.labelled(grid, "decay", 10, {f"{part}_loss": np.float32([loss] * 4) for part in ("validation", "test")})
            for loss in losses[rule]
        )
        both = wd.joined([half.drop_vars("diverged_at").assign_coords(step=[5]), end.drop_vars("diverged_at")], "step")
        return both.assign(diverged_at=end["diverged_at"])

    arms = wd.Evidence({name_of(ONCE, rule): arm(rule) for rule in losses})
    assert arms.score(behind.measure)["seen once, cautious"].values[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"learning_rates": ()}, "--learning-rates is empty"),
     ({"seeds": 0}, "--seeds 0 is too few")],
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
    for name in ("loss_over_decay", "gain_by_rule"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
