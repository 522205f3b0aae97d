"""How the best decay depends on how often data repeat: what is measured, what fits into minutes, and a short run."""

import numpy as np
import pytest

import wd_research as wd
from experiments.language import budget, repeated_data
from experiments.language.budget import Case, parts_of, within
from experiments.language.repeated_data import (
    SHORT,
    best_shares,
    cases_of,
    claims_of,
    experiment,
    scales,
    share_of,
    slope_over,
)

RATES, DECAYS = (m.ravel() for m in np.meshgrid([0.003, 0.01, 0.03], [0, 0.1, 0.3, 1, 3, 10], indexing="ij"))
CASES = cases_of((16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576), (32, 16, 64), (1, 2, 4, 8), 65_536)


def losses(best_decay, best_rate=0.01, curvature=0.1):
    """A loss over the grid with its minimum at a decay and a rate; f64[h]."""
    away = np.log(np.maximum(DECAYS, 0.01) / best_decay) ** 2 + 3 * np.log(RATES / best_rate) ** 2
    return 1 + curvature * away


@pytest.mark.parametrize("decay", [0.3, 0.5, 0.9, 1.7, 2.9])
@pytest.mark.parametrize("rate", [0.003, 0.01, 0.03])
def test_the_best_share_is_the_vertex_of_a_parabola_between_the_decays_of_the_grid(decay, rate):
    assert share_of(losses(decay, rate), RATES, DECAYS) == pytest.approx(rate * decay, rel=1e-6)


@pytest.mark.parametrize(("decay", "found"), [(0.01, 0.1), (50.0, 10.0)])
def test_a_best_decay_on_an_edge_is_that_edge(decay, found):
    assert share_of(losses(decay), RATES, DECAYS) == pytest.approx(0.01 * found)


def results(*decays):
    """The results of an arm whose seeds have these best decays; one member has diverged."""
    Grid = repeated_data.Hypers
    loss = np.stack([losses(decay) for decay in decays]).astype(np.float32)
    diverged = np.full(loss.shape, -1)
    loss[:, 0], diverged[:, 0] = -9, 3
    return wd.labelled(Grid(RATES.astype(np.float32), DECAYS.astype(np.float32)), "decay", 10,
                       {"validation_loss": loss}, diverged)  # fmt: skip


def test_every_seed_has_its_own_and_a_diverged_member_is_no_best_one():
    assert best_shares(results(0.5, 2.0)) == pytest.approx([0.005, 0.02], rel=1e-3)


def test_slopes_and_scales_are_those_of_the_shares():
    cases = [Case(16_384, 32, 1), Case(65_536, 32, 1)]
    arms = {cases[0].name: results(2.0, 2.0), cases[1].name: results(0.5, 0.5)}
    assert slope_over(cases, "characters", arms)["slope"] == pytest.approx([-1, -1], rel=1e-3)
    found = scales(cases, 1_000, arms)
    assert np.allclose(list(found.values()), 0, atol=0.01)  # a quarter of the share at four times the data
    same = {name: results(1.0, 1.0) for name in arms}
    assert scales(cases, 1_000, same)[cases[0].name] == pytest.approx([1, 1], rel=0.05)
    longer = [Case(65_536, 32, 1), Case(65_536, 32, 4)]
    halved = {longer[0].name: results(2.0, 2.0), longer[1].name: results(1.0, 1.0)}
    assert slope_over(longer, "length", halved)["slope"] == pytest.approx([-0.5, -0.5], rel=1e-3)


def test_a_case_is_said_once_and_every_claim_has_what_it_compares():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) == 6 + 4 + 3
    assert [claim.id for claim in claims_of(CASES, 1_000, (32, 16, 64))] == [
        "usual-loses", "a-slope", "b-epochs", "b-root", "c-constant", "d-tuned", "d-usual"]  # fmt: skip


def test_parts_are_smaller_and_smaller():
    parts = parts_of(CASES)
    sizes = [sum(case.length for case in part) for part in parts]
    assert parts[0] == CASES
    assert sizes == sorted(sizes, reverse=True)
    assert all(set(part) <= set(CASES) for part in parts)
    assert len(parts[-1]) >= 3


@pytest.mark.parametrize("middle", [16_384, 32_768, 65_536, 1_048_576])
def test_every_part_has_two_sizes_and_a_longer_training(middle):
    for part in parts_of(cases_of((16_384, 32_768, 65_536, 1_048_576), (32, 16, 64), (1, 2, 4, 8), middle)):
        assert len({case.characters for case in part}) >= 2
        assert any(case.length > 1 for case in part)


@pytest.mark.parametrize(("minutes", "seeds", "count"), [(10_000, 4, 13), (60, 4, 13), (20, 3, 7)])
def test_what_is_taken_fits(monkeypatch, minutes, seeds, count):
    """At a second per hundred steps of all points of a seed."""
    monkeypatch.setattr(budget, "seconds_of", lambda arm, case: 0.01)
    chosen, taken = within(60 * minutes, None, CASES, 4, 1_000)
    cost = sum(budget.BESIDE * taken * 10 * case.length + budget.COMPILING / 2 for case in chosen)
    assert cost <= 60 * minutes
    assert taken >= 3
    if minutes > 50:
        assert (len(chosen), taken) == (count, seeds)


def test_sizes_that_are_nearly_alike_are_arms_of_their_own_and_two_seeds_may_be_asked_for(monkeypatch):
    assert Case(16_384, 32, 1).name != Case(16_400, 32, 1).name
    monkeypatch.setattr(budget, "seconds_of", lambda arm, case: 0.01)
    assert within(60_000, None, CASES, 2, 1_000) == (CASES, 2)
    longer = cases_of((16_384, 65_536), (32,), (1, 16), 65_536)
    assert within(60_000, None, longer, 3, 1_000) == (longer, 3)


def test_too_few_minutes_are_one_sentence(monkeypatch):
    monkeypatch.setattr(budget, "seconds_of", lambda arm, case: 1.0)
    with pytest.raises(wd.UserError, match="--minutes 1 is too little: the smallest part takes about"):
        within(60, None, CASES, 4, 1_000)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"middle": 3}, "--middle 3 is none of the --characters"),
        ({"lengths": (2, 4)}, "--lengths has no 1"),
        ({"decays": (0, 1)}, "--decays has no 0.1"),
        ({"decays": (0.1, 1)}, "--decays has no 0"),
        ({"minutes": 0.0}, "--minutes 0 cannot be"),
        ({"widths": (10,)}, "a width of 10 cannot be shared by 4 heads"),
        ({"characters": (16_384, 9_000_000)}, "the King James Bible"),
        ({"steps": 0}, "--steps 0 is too few"),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


def test_a_short_run_answers_and_draws(tmp_path):
    result = wd.run(experiment(**SHORT), tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == ["b-epochs", "b-root"]
    assert {"best_decay", "loss_over_decay"} <= {path.stem for path in (tmp_path / "figures").glob("*.png")}
    steps = {name: int(found["step"][-1]) for name, found in result.arms.items()}
    assert steps == {"16k, width 8": 4, "16k, width 8, 2 times the steps": 8}
