"""Statistics, tried on simulated results whose truth is known."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from wd_research.evidence.statistics import (
    best_candidate,
    bootstrap,
    confidence_set,
    contenders,
    halves,
    holm,
    nominal_level,
    p_inside,
    p_outside,
    paired_t,
    smallest_effect,
    standard_error,
    variance_prior,
    vertex,
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


def test_a_diverged_candidate_is_never_chosen_and_never_the_best():
    scores = np.array([[0.5, np.nan, 0.5], [0.5, 0.9, 0.4], [0.6, 0.9, 0.6]])
    assert best_candidate(scores) == 0
    assert confidence_set(scores).tolist() == [True, False, True]


def test_halves_are_all_seeds_once():
    even, odd = halves(7)
    assert sorted([*even, *odd]) == list(range(7))
    assert abs(len(even) - len(odd)) == 1


def test_the_confidence_set_leaves_out_what_is_clearly_worse():
    rng = np.random.default_rng(4)
    effect = np.linspace(0, 0.1, 25)
    sets = [confidence_set(accuracies(rng, 25, effect)[1], resolution=1 / 1197) for _ in range(50)]
    assert np.mean([chosen[0] for chosen in sets]) == 0
    assert np.mean([chosen[24] for chosen in sets]) >= 0.95


@pytest.mark.parametrize("seeds", [1, 2])
def test_two_seeds_leave_out_nothing_but_what_diverged(seeds):
    scores = np.array([[0.1, 0.9, np.nan], [0.1, 0.9, 0.5]])[:seeds]
    assert confidence_set(scores).tolist() == [True, True, False]


def test_equal_candidates_are_all_in_the_set():
    assert confidence_set(np.full((8, 5), 0.8)).all()
    assert confidence_set(np.array([[0.5]] * 4)).tolist() == [True]


def test_a_set_at_a_stricter_level_is_no_smaller():
    scores = accuracies(np.random.default_rng(8), 25, np.linspace(0, 0.05, 25))[1]
    assert (confidence_set(scores, alpha=0.01) >= confidence_set(scores, alpha=0.1)).all()


def test_four_seeds_tell_contenders_from_what_is_clearly_worse():
    """Where the set, whose variances are each candidate's own, leaves out nearly nothing."""
    rng, effect = np.random.default_rng(4), np.repeat([0.0, -0.15], [5, 70])
    left = [
        (contenders(scores, 0.005), confidence_set(scores, 0.005))
        for scores in (accuracies(rng, 75, effect)[1][:4] for _ in range(20))
    ]
    assert np.mean([some[:5].all() for some, _ in left]) > 0.9
    assert np.mean([some[5:].mean() for some, _ in left]) < 0.2 < np.mean([chosen[5:].mean() for _, chosen in left])


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_best_mean_is_a_contender_and_nothing_that_diverged(seeds, candidates, number):
    rng = np.random.default_rng(number)
    scores = rng.normal(size=(seeds, candidates))
    scores[rng.random(scores.shape) < 0.05] = np.nan
    left, usable = contenders(scores), np.isfinite(scores).all(axis=0)
    assert not left[~usable].any()
    assert left[best_candidate(scores)] or not usable.any()
    np.testing.assert_array_equal(contenders(3 * scores + 1), left)
    assert (contenders(scores, 0.001) >= left).all()


@pytest.mark.parametrize("scores", [np.full((4, 6), 0.5), np.full((1, 3), 0.2), np.zeros((5, 1))])
def test_equal_candidates_and_one_seed_exclude_nothing(scores):
    assert contenders(scores).all()


@pytest.mark.parametrize(("degrees", "prior", "scale"), [(3, 4.0, 2.0), (3, 20.0, 0.01), (7, 10.0, 1.0)])
def test_a_prior_of_variances_is_found_again(degrees, prior, scale):
    rng = np.random.default_rng(0)
    variances = scale * prior / rng.chisquare(prior, 20_000) * rng.chisquare(degrees, 20_000) / degrees
    found, variance = variance_prior(variances, degrees)
    assert found == pytest.approx(prior, rel=0.1)
    assert variance == pytest.approx(scale, rel=0.05)


def test_one_variance_has_a_prior_without_end():
    assert variance_prior(np.full(10, 4.0), 3) == (1e9, pytest.approx(4.0 * np.exp(-special.digamma(1.5)) * 1.5))
    degrees, variance = variance_prior(np.geomspace(1e-300, 1e300, 40), 2)
    assert degrees < 1e-2
    assert np.isfinite(variance)


@pytest.mark.parametrize(("looks", "level"), [(1, 0.05), (2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158)])
def test_nominal_levels_are_pococks(looks, level):
    """Table 2.1 of Jennison & Turnbull (2000), as levels."""
    assert nominal_level([16 * (k + 1) for k in range(looks)]) == pytest.approx(level, abs=5e-5)


def test_the_nominal_level_lies_between_bonferronis_and_one_look():
    for looks in ([8, 16, 24, 32], [16, 17], [3, 300], range(16, 160, 16)):
        assert 0.05 / len(looks) < nominal_level(looks) < 0.05
    assert nominal_level([16, 32], alpha=0.01) < 0.01


@pytest.mark.parametrize("looks", [[], [0, 16], [16, 16], [32, 16]])
def test_looks_must_grow(looks):
    with pytest.raises(ValueError, match="looks must be growing numbers of seeds"):
        nominal_level(looks)


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


@given(values, st.floats(-5, 5), st.floats(0, 5), st.sampled_from([0.1, 0.05, 0.01]), st.sampled_from([0.0, 0.5]))
def test_p_values_say_exactly_whether_the_interval_lies_inside_or_outside(values, low, width, alpha, resolution):
    high, interval = low + width, paired_t(values, alpha, resolution)
    inside = low <= interval.low and interval.high <= high
    outside = interval.high <= low or interval.low >= high
    near = min(abs(a - b) for a in (low, high) for b in interval[1:]) < 1e-6
    if not near:
        assert (p_inside(values, low, high, resolution) <= alpha) == inside
        assert (p_outside(values, low, high, resolution) <= alpha) == outside


@pytest.mark.parametrize(("value", "inside", "outside"), [(0.5, 0, 1), (-0.5, 1, 0)])
def test_without_any_spread_an_exact_law_is_decided(value, inside, outside):
    same = np.full(4, value)
    assert p_inside(same, 0, np.inf) == inside
    assert p_outside(same, 0, np.inf) == outside
    assert paired_t(same) == (value, value, value)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_equal_values_on_the_boundary_decide_nothing(value):
    same = np.full(3, value)
    assert p_inside(same, value, np.inf) == 1
    assert p_outside(same, value, np.inf) == 1


def test_two_seeds_never_decide():
    assert p_inside(np.array([1.0, 1.0]), 0, np.inf) == 1
    assert p_outside(np.array([-1.0, -1.0]), 0, np.inf) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_decides_nothing(value):
    values = np.array([1.0, 1.1, value, 0.9])
    assert p_inside(values, 0, np.inf) == 1
    assert p_outside(values, 0, np.inf) == 1


@pytest.mark.parametrize("gained", [0, 1, 5])
def test_equal_counts_are_no_certainty(gained):
    """Three seeds with 20 examples each, all alike: McNemar's error of the total, with one example more."""
    values, total = np.full(3, gained / 20), 3 * gained
    variance_of_total = total * (1 - gained / 20) + 1
    assert standard_error(values, 1 / 20) == pytest.approx(np.sqrt(variance_of_total) / 60)
    assert p_outside(values, 0, 0, 1 / 20) > 0.05


def test_counting_is_a_floor_and_no_addition():
    values = np.array([0.1, -0.2, 0.3, 0.0])
    assert standard_error(values, 1 / 1000) == pytest.approx(stats.sem(values))
    assert standard_error(np.zeros((4, 2, 3)), 0.1).shape == (2, 3)


@pytest.mark.parametrize("share", [0.8, 0.99])
def test_the_floor_of_an_accuracy_is_at_most_its_binomial_error(share):
    rng, examples = np.random.default_rng(9), 1197
    floor = standard_error(np.full(8, share), 1 / examples)
    measured = np.mean([rng.binomial(examples, share, 8).std(ddof=1) / examples for _ in range(2000)]) / np.sqrt(8)
    assert floor == pytest.approx(measured, rel=0.06)


def test_the_smallest_effect_is_seen_with_the_power_it_promises():
    rng = np.random.default_rng(6)
    effect = np.mean([smallest_effect(rng.normal(size=SEEDS)) for _ in range(500)])
    seen = np.mean([paired_t(rng.normal(effect, 1, SEEDS)).low > 0 for _ in range(1000)])
    assert seen == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("function", [paired_t, bootstrap, smallest_effect])
def test_one_seed_has_no_interval(function):
    ends = function(np.array([1.0]))
    assert np.isnan(ends[1:] if isinstance(ends, tuple) else ends).all()


def test_paired_t_is_scipys():
    differences = np.random.default_rng(7).normal(0.3, 1, 8)
    theirs = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert paired_t(differences)[1:] == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(("count", "pairs"), [(2, 1), (40, 1), (40, 50), (40, 10_000)])
def test_candidates_that_are_compared_in_parts_are_the_same_set(count, pairs, monkeypatch):
    scores = 0.02 * np.random.default_rng(0).normal(size=(8, count)) + np.linspace(0, 0.1, count)
    whole = confidence_set(scores, resolution=0.01)
    monkeypatch.setattr("wd_research.evidence.statistics.PAIRS", pairs)
    assert np.array_equal(confidence_set(scores, resolution=0.01), whole)
    assert 0 < whole.sum() < max(count, 3)


@given(
    x=st.lists(st.floats(-5, 5), min_size=3, max_size=9, unique=True),
    best=st.floats(-5, 5),
    bend=st.floats(0.1, 10),
)
def test_a_vertex_is_that_of_a_parabola_between_the_points_of_a_grid_and_unknown_at_its_ends(x, best, bend):
    x = np.sort(np.round(x, 2))
    assume(np.diff(x).min() > 0)
    losses = 3 + bend * (x - best) ** 2
    if 0 < losses.argmin() < len(x) - 1:
        assert vertex(x, np.stack([losses, losses + 1])) == pytest.approx([best] * 2, abs=1e-6)
    else:
        assert np.isnan(vertex(x, losses))


def test_a_vertex_beside_a_loss_that_is_not_finite_is_unknown():
    x, losses = np.arange(4.0), np.array([1.0, 0.0, 2.0, 3.0])
    for beside in (np.nan, np.inf):
        assert np.isnan(vertex(x, np.where(x == 2, beside, losses)))
        assert np.isfinite(vertex(x, np.where(x == 3, beside, losses)))
    assert np.isnan(vertex(x, np.full(4, np.nan)))
    assert vertex(x, np.ones(4) - (x == 2) * 0.0 - (x == 1) * 1.0) == 1
    assert np.isnan(vertex(x[:2], losses[:2]))
