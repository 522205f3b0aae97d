"""Statistics, tried on simulated results whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wd_research.evidence.statistics import (
    at_choice,
    best_candidate,
    best_set,
    bootstrap,
    choose_leaving_one_out,
    holm,
    p_inside,
    p_outside,
    paired_t,
    smallest_effect,
)

SEEDS, TRIALS = 8, 1_500


def accuracies(rng, candidates, effect=0.0):
    """Validation and test accuracies f64[s, k] of nets that share a seed: common difficulty, the net's own quality, and
    counting noise of 400 and 1,197 examples."""
    difficulty = rng.normal(0.8, 0.02, (SEEDS, 1))
    quality = difficulty + rng.normal(0, 0.02, (SEEDS, candidates)) + effect
    return tuple(rng.binomial(n, np.clip(quality, 0, 1)) / n for n in (400, 1197))


def test_paired_t_covers_what_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(TRIALS):
        _, test = accuracies(rng, 2)
        low, high = paired_t(test[:, 0] - test[:, 1])[1:]
        covered += low <= 0 <= high
    assert covered / TRIALS == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / TRIALS) + 0.005)


def test_the_bootstrap_beside_it_covers_less():
    """Why no verdict hangs on it: with 8 seeds it covers some 89 % instead of 95."""
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(300, SEEDS))
    covered = np.mean([low <= 0 <= high for _, low, high in (bootstrap(d, resamples=500) for d in draws)])
    assert 0.8 < covered < 0.94


def claimed_gain(rng, choose):
    """Whether a gain over candidate 0 is claimed when there is none."""
    validation, test = accuracies(rng, 25)
    gains = at_choice(test, choose(validation)) - test[:, 0]
    return paired_t(gains).low > 0


def test_without_an_effect_a_gain_is_claimed_in_at_most_five_percent():
    rng = np.random.default_rng(2)
    assert np.mean([claimed_gain(rng, choose_leaving_one_out) for _ in range(TRIALS)]) <= 0.05


def test_choosing_and_scoring_on_the_same_seeds_flatters_itself():
    """The mistake that leaving one seed out avoids."""
    rng = np.random.default_rng(2)
    naive = np.mean([claimed_gain(rng, lambda scores: np.full(SEEDS, best_candidate(scores))) for _ in range(TRIALS)])
    assert naive > 0.06


def test_a_real_gain_is_found():
    rng = np.random.default_rng(3)
    effect = np.zeros(25)
    effect[12] = 0.05
    found = [
        paired_t(at_choice(test, choose_leaving_one_out(validation)) - test[:, 0]).low > 0
        for validation, test in (accuracies(rng, 25, effect) for _ in range(200))
    ]
    assert np.mean(found) > 0.9


@pytest.mark.parametrize("effect", [np.zeros(25), np.linspace(0, 0.02, 25), np.eye(25)[7] * 0.03])
def test_the_best_set_holds_the_best_one(effect):
    rng = np.random.default_rng(4)
    best = int(effect.argmax())
    held, sizes = zip(
        *((chosen[best], chosen.sum()) for chosen in (best_set(accuracies(rng, 25, effect)[1]) for _ in range(500))),
        strict=True,
    )
    assert np.mean(held) >= 0.95
    assert np.mean(sizes) < 25 or not effect.any()


def test_a_diverged_candidate_is_never_chosen_and_never_the_best():
    scores = np.array([[0.5, np.nan, 0.4], [0.5, 0.9, 0.4], [0.6, 0.9, 0.4]])
    assert best_candidate(scores) == 0
    assert choose_leaving_one_out(scores).tolist() == [1, 0, 0]
    assert best_set(scores).tolist()[1] is False


def test_leaving_one_out_never_looks_at_the_seed_it_scores():
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(6, 9))
    for seed in range(6):
        changed = scores.copy()
        changed[seed] = rng.normal(size=9) * 100
        assert choose_leaving_one_out(scores)[seed] == choose_leaving_one_out(changed)[seed]


def test_holm_is_holms_example():
    """p = .01, .04, .03, .005 become .03, .06, .06, .02."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_p_and_bonferroni_and_keeps_the_order(p_values):
    adjusted, raw = holm(p_values), np.array(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-15).all() or (np.diff(np.sort(adjusted)) >= 0).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


values = st.lists(st.floats(-10, 10), min_size=3, max_size=9).map(np.array).filter(lambda v: v.std() > 1e-3)


@given(values, st.floats(-5, 5), st.floats(0, 5), st.sampled_from([0.9, 0.95, 0.99]))
def test_p_values_say_exactly_whether_the_interval_lies_inside_or_outside(values, low, width, level):
    high, interval = low + width, paired_t(values, level)
    inside = low <= interval.low and interval.high <= high
    outside = interval.high <= low or interval.low >= high
    near = min(abs(a - b) for a in (low, high) for b in interval[1:]) < 1e-6
    if not near:
        assert (p_inside(values, low, high) <= 1 - level) == inside
        assert (p_outside(values, low, high) <= 1 - level) == outside


@pytest.mark.parametrize(("value", "inside", "outside"), [(0.5, 0, 1), (-0.5, 1, 0)])
def test_without_any_spread_the_verdict_is_sure(value, inside, outside):
    same = np.full(4, value)
    assert p_inside(same, 0, np.inf) == inside
    assert p_outside(same, 0, np.inf) == outside
    assert paired_t(same) == (value, value, value)


def test_the_smallest_effect_is_seen_with_the_power_it_promises():
    rng = np.random.default_rng(6)
    effect = np.mean([smallest_effect(rng.normal(size=SEEDS)) for _ in range(500)])
    seen = np.mean([paired_t(rng.normal(effect, 1, SEEDS)).low > 0 for _ in range(1000)])
    assert seen == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("function", [paired_t, bootstrap, smallest_effect, lambda v: p_inside(v, 0, 1)])
def test_one_seed_has_no_interval(function):
    with pytest.raises(ValueError, match="1 seed has no spread: an interval over seeds needs at least 2"):
        function(np.array([1.0]))


def test_paired_t_is_scipys():
    differences = np.random.default_rng(7).normal(0.3, 1, 8)
    theirs = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert paired_t(differences)[1:] == pytest.approx((theirs.low, theirs.high))
