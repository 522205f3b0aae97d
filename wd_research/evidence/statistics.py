"""Statistics over seeds: every comparison is paired, every choice is scored on data that did not make it.

Shapes: [s] seeds, [s, k] seeds by candidates. Scores are better when larger; a NaN score (a diverged member) is worse
than any number.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

ALPHA = 0.05
TYPICAL = 2_000  # candidates of whose pairs the typical standard error is the median
PAIRS = 2**25  # numbers that a comparison of candidates takes at a time
FEWEST = 3  # seeds that can decide anything


class Estimate(NamedTuple):
    """A mean and its interval, in the unit of what was measured."""

    mean: float
    low: float
    high: float

    def within(self, low: float, high: float) -> "Estimate":
        """The interval without what lies beyond the values that can be, so that it covers as often."""
        return Estimate(self.mean, *(float(np.clip(end, low, high)) for end in (self.low, self.high)))


def standard_error(values: np.ndarray, resolution: float = 0.0) -> np.ndarray:
    """The standard error of the mean over seeds, f64[s, ...] -> f64[...]: sqrt(variance / s).

    `resolution` is the smallest step that a value can make: 1/n for accuracies of n examples and their differences, 0
    where nothing is counted. Seeds that agree by luck are then no certainty. If s n examples count -1, 0 or 1 and have
    the mean m, then m has at least the variance |m| (1 - |m|) / (s n), and one example more is counted, so that 0 and 1
    are no exception: variance >= resolution (|m| (1 - |m|) + resolution / s).
    Source: McNemar (1947), who takes the number of discordant examples for the variance of their difference.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # the loss of a diverged member may be infinite
        size = np.abs(values.mean(axis=0))
        counting = resolution * (np.maximum(size * (1 - size), 0) + resolution / len(values))
        return np.sqrt(np.maximum(values.var(axis=0, ddof=1), counting) / len(values))


def paired_t(values: np.ndarray, alpha: float = ALPHA, resolution: float = 0.0) -> Estimate:
    """The mean over seeds and its t interval: mean +- t_{1-alpha/2, s-1} `standard_error`, from f64[s].

    Of differences taken seed by seed this is the paired t interval; at 8 seeds it covers 95 % where bootstrap intervals
    cover 89. One seed has a mean and no interval, NaN. Source: Student (1908).
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return Estimate(float(values.mean()), np.nan, np.nan)
    mean = values.mean()
    half = t_quantile(1 - alpha / 2, len(values) - 1) * standard_error(values, resolution)
    return Estimate(float(mean), float(mean - half), float(mean + half))


def bootstrap(values: np.ndarray, alpha: float = ALPHA, resamples: int = 2_000) -> Estimate:
    """The mean over seeds and its percentile bootstrap interval, from f64[s]; shown beside t, no verdict hangs on it.

    Fewer than three seeds have none, NaN. Source: Efron (1979).
    """
    values = np.asarray(values, float)
    if len(values) < FEWEST or not np.isfinite(values).all():
        return Estimate(np.nan, np.nan, np.nan)
    from scipy import stats  # here, because it takes a second to import

    drawn = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - alpha, n_resamples=resamples, method="percentile", rng=0
    )
    return Estimate(float(values.mean()), float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def best_candidate(scores: np.ndarray) -> int:
    """The candidate with the best mean score over all seeds, f64[s, k]; of equals the first."""
    return int(np.where(np.isnan(scores), -np.inf, scores).mean(axis=0).argmax())


def vertex(x: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Where losses f64[..., k] at x f64[k], ascending, would be least between the points of a grid; f64[...].

    It is the vertex of the parabola through the least loss and its two neighbours. NaN, with which no verdict is given,
    where the least one is an end of the grid, or beside one that is not finite.
    """
    losses = np.where(np.isfinite(losses), np.asarray(losses, float), np.inf)
    if len(x) < 3:
        return np.full(losses.shape[:-1], np.nan)
    best = losses.argmin(axis=-1)
    inner = np.clip(best, 1, len(x) - 2)
    low, at, high = (np.take_along_axis(losses, (inner + k)[..., None], axis=-1)[..., 0] for k in (-1, 0, 1))
    known = (best == inner) & np.isfinite(low + high)
    low, at, high = (np.where(known, loss, 0.0) for loss in (low, at, high))
    left, right = x[inner] - x[inner - 1], x[inner + 1] - x[inner]
    bend = (low - at) / left + (high - at) / right
    way = ((low - at) * right / left - (high - at) * left / right) / 2
    return np.where(known, x[inner] + np.divide(way, bend, out=np.zeros_like(way), where=bend > 0), np.nan)


def halves(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the seeds, i64[] each: the even and the odd ones, of which one seed has none."""
    return np.arange(0, seeds, 2), np.arange(1, seeds, 2)


def confidence_set(scores: np.ndarray, alpha: float = ALPHA, resolution: float = 0.0) -> np.ndarray:
    """Which candidates may be the best one, f64[s, k] -> bool[k]; all usable ones with fewer than three seeds.

    A candidate is left out when some other one beats it in a one-sided paired t test at alpha / (k - 1). The truly best
    candidate is left out only if one of k - 1 true null hypotheses is rejected, so the set holds it with probability
    1 - alpha. Among so many pairs some vary little by luck, or because a rare bad seed has not been seen; so the mean
    difference must be large for the typical standard error as well, the median over all pairs (with more than 2,000
    candidates that do not fit in memory at once, over those of so many), by the normal quantile.
    A candidate with a NaN score is left out. `resolution` is that of `standard_error`.
    Source: Hsu (1981), multiple comparisons with the best, with Bonferroni's correction.
    """
    scores = np.asarray(scores, float)
    usable = np.atleast_1d(np.isfinite(scores).all(axis=0))
    count = int(usable.sum())
    if count < 2 or len(scores) < FEWEST:
        return usable
    from scipy.special import ndtri

    some = scores[:, usable]

    def ahead(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much the candidates of some rows are better than each, and the standard error of that; f64[r, k]."""
        differences = some[:, rows, None] - some[:, None, :]
        return differences.mean(axis=0), standard_error(differences, resolution)

    parts = np.array_split(np.arange(count), -(-len(scores) * count**2 // PAIRS))  # of all pairs, that fit in memory
    first, sample = ahead(parts[0]), parts[0]
    if len(parts) > 1:
        sample = np.unique(np.linspace(0, count - 1, min(count, TYPICAL)).astype(int))
    some_errors = [first[1]] if len(parts) == 1 else [ahead(rows)[1] for rows in np.array_split(sample, len(parts))]
    typical = np.median(np.concatenate(some_errors)[np.arange(count) != sample[:, None]])
    share = 1 - alpha / (count - 1)
    beaten, quantile = np.zeros(count, bool), t_quantile(share, len(scores) - 1)
    for number, rows in enumerate(parts):
        difference, error = ahead(rows) if number else first
        beaten |= (difference > np.maximum(quantile * error, ndtri(share) * typical)).any(axis=0)
    usable[usable] = ~beaten
    return usable


def contenders(scores: np.ndarray, alpha: float = ALPHA, resolution: float = 0.0) -> np.ndarray:
    """Which candidates few seeds do not exclude from being the best one, f64[s, k] -> bool[k].

    A candidate is excluded when the one with the best mean beats it in a one-sided t test at alpha / (k - 1). With few
    seeds a variance of one's own has so few degrees of freedom that nothing is excluded; so those of all k - 1
    differences are taken for draws from one prior, whose degrees of freedom are added, and none counts for less than
    the prior's variance. A candidate with a NaN score is excluded; with one seed, no other. `resolution` is that of
    `standard_error`. How often the best one is excluded is simulated (docs/statistics.md, "Racing").
    Source: Smyth (2004), moderated t statistics.
    """
    scores = np.asarray(scores, float)
    usable = np.atleast_1d(np.isfinite(scores).all(axis=0))
    if usable.sum() < 2 or len(scores) < 2:
        return usable
    some, degrees = scores[:, usable], len(scores) - 1
    best = int(some.mean(axis=0).argmax())
    behind = np.delete(some[:, [best]] - some, best, axis=1)
    error = np.maximum(standard_error(behind, resolution), np.finfo(np.float32).tiny)
    more, typical = variance_prior(error**2, degrees)
    quantile = t_quantile(1 - alpha / behind.shape[1], degrees + more)
    usable[usable] = np.insert(behind.mean(axis=0) <= quantile * np.maximum(error, typical**0.5), best, True)
    return usable


def variance_prior(variances: np.ndarray, degrees: int) -> tuple[float, float]:
    """The degrees of freedom and the variance of the scaled inverse chi-squared prior of sample variances f64[k].

    Their logarithms have the variance trigamma(degrees / 2) + trigamma(d0 / 2): d0 is infinite (here 1e9) where they
    vary no more than samples of one variance do. Source: Smyth (2004), section 6.2.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    def centred(d: float) -> float:
        return float(digamma(d / 2) - np.log(d / 2))

    logs = np.log(variances) - centred(degrees)
    excess = (float(logs.var(ddof=1)) if len(logs) > 1 else 0.0) - float(polygamma(1, degrees / 2))
    low, high = 1e-3, 1e9  # trigamma(d / 2) is 4 / d**2 at the one, 2 / d at the other
    if excess <= polygamma(1, high / 2):
        return high, float(np.exp(logs.mean()))
    if excess >= polygamma(1, low / 2):
        return low, float(np.exp(logs.mean() + centred(low)))
    found: Any = brentq(lambda log: np.log(polygamma(1, np.exp(log) / 2) / excess), np.log(low), np.log(high))
    prior = float(np.exp(found))
    return prior, float(np.exp(logs.mean() + centred(prior)))


def nominal_level(looks: Sequence[int], alpha: float = ALPHA) -> float:
    """The level of each test, if a test is made at every one of the numbers of seeds `looks` until one rejects.

    With one level a at all looks, P(|B(t)| > z_{1-a/2} sqrt(t) at some look t) = alpha for a Brownian motion B: two
    equally spaced looks have .0294 each, five .0158; one look has alpha. Raises ValueError unless looks increase.
    Source: Pocock (1977); the recursion is that of Armitage, McPherson & Rowe (1969). For the p values of t tests:
    Jennison & Turnbull (2000), section 3.8.
    """
    times = np.asarray(looks, float)
    if not len(times) or times[0] <= 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"looks must be growing numbers of seeds, not {list(looks)}")
    from scipy.optimize import root_scalar
    from scipy.special import ndtr, ndtri

    if len(times) == 1:
        return alpha
    widest, narrowest = -ndtri(alpha / 2 / len(times)), -ndtri(alpha / 2)  # Bonferroni's, and that of one look
    nodes = np.polynomial.legendre.leggauss(100)
    found = root_scalar(lambda bound: _crossing(times, bound, *nodes) - alpha, bracket=(narrowest, widest), xtol=1e-10)
    return float(2 * ndtr(-found.root))


def p_inside(values: np.ndarray, low: float, high: float, resolution: float = 0.0) -> float:
    """The smallest alpha at which the (1 - alpha) t interval of the mean lies inside [low, high], at most 1.

    It is 1 with fewer than three seeds: two never decide.
    """
    below, above = _tails(values, low, high, resolution)
    return min(1.0, 2 * max(below, above))


def p_outside(values: np.ndarray, low: float, high: float, resolution: float = 0.0) -> float:
    """The smallest alpha at which the (1 - alpha) t interval of the mean lies outside [low, high], at most 1.

    It is 1 with fewer than three seeds: two never decide.
    """
    below, above = _tails(values, low, high, resolution)
    return min(1.0, 2 * min(1 - below, 1 - above))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p values, f64[m]: p_(i) becomes max_{j <= i} min(1, (m - j + 1) p_(j)).

    Rejecting where they are <= alpha makes any false rejection at most alpha likely. Source: Holm (1979).
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given)
    steps = np.minimum(1.0, given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def smallest_effect(values: np.ndarray, alpha: float = ALPHA, power: float = 0.8, resolution: float = 0.0) -> float:
    """The minimum detectable mean: found different from 0 with the given power, from differences f64[s].

    (t_{1-alpha/2} + t_{power}) `standard_error`, both quantiles at s - 1 degrees of freedom; an approximation from
    below. It is NaN with fewer than three seeds: two find nothing.
    """
    values = np.asarray(values, float)
    if len(values) < FEWEST:
        return np.nan
    quantiles = np.sum([t_quantile(share, len(values) - 1) for share in (1 - alpha / 2, power)])
    return float(quantiles * standard_error(values, resolution))


def t_quantile(share: float, degrees: float) -> float:
    """What Student's t with so many degrees of freedom does not exceed in that share of draws."""
    from scipy.special import stdtrit  # here, because --help need not wait for it

    return float(stdtrit(degrees, share))


def _tails(values: np.ndarray, low: float, high: float, resolution: float) -> tuple[float, float]:
    """One-sided p values that the mean is not above low, and not below high."""
    values = np.asarray(values, float)
    if len(values) < FEWEST or not np.isfinite(values).all():
        return 0.5, 0.5
    error = standard_error(values, resolution)
    # The mean is taken of the distances, so that equal values are exactly 0 away from a bound that equals them.
    distances = np.array([(values - low).mean(), (high - values).mean()])
    with np.errstate(divide="ignore", invalid="ignore"):
        below, above = np.nan_to_num(distances / error, nan=0.0, posinf=np.inf, neginf=-np.inf)
    from scipy.special import stdtr

    return float(stdtr(len(values) - 1, -below)), float(stdtr(len(values) - 1, -above))


def _crossing(times: np.ndarray, bound: float, nodes: np.ndarray, weights: np.ndarray) -> float:
    """P(|B(t)| > bound sqrt(t) at one of the times f64[k]) for a Brownian motion B, by Gauss-Legendre quadrature.

    The density of the paths that have not crossed is carried from look to look: f_k(x) = integral over
    |y| <= bound sqrt(t_{k-1}) of f_{k-1}(y) phi(x - y) dy, phi the normal density with variance t_k - t_{k-1}.
    """
    y, mass = np.zeros(1), np.ones(1)  # where the paths are, and how many
    for step, time in zip(np.diff(times, prepend=0), times, strict=True):
        x = bound * np.sqrt(time) * nodes
        density = np.exp(-((x[:, None] - y) ** 2) / (2 * step)) / np.sqrt(2 * np.pi * step) @ mass
        y, mass = x, bound * np.sqrt(time) * weights * density
    return float(1 - mass.sum())
