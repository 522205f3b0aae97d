"""Does the right decay remove double descent, is it the same at any number of examples, and does training find it?

python -m experiments.literature.double_descent

python -m experiments.literature.double_descent --dimension 100     # 5 s; the smallest differences stay undecided

The estimate b minimises |X b - y|^2 + lambda |b|^2, with y = <x, beta> + sigma N(0, 1), x ~ N(0, I_d) and |beta| = 1.
Gradient descent minimises the mean over examples of (y - <b, x>)^2 / 2 + strength |b|^2 / 2, so its strength is
lambda / n. The risk is the mean squared error on new examples, |b - beta|^2 + sigma^2, exact for every estimate. At
n = d its mean over samples is infinite without decay, so without decay its logarithm is measured, at n = d and on both
flanks.

Expected (10 s on 2 CPU cores; 1,760 estimates in closed form by 176 decompositions, 128 members in two programs):
lambda = 125 has the lowest mean risk of the grid at all eleven n; the closest call is n = 100, where half of it costs
0.0022 [0.0006, 0.0037]. Without decay the risk is 1.02, 1.49, 2.64, 1,164, 2.76, 0.50 at n / d = 0.4, 0.8, 0.9, 1, 1.1,
2 (geometric means; medians 1.01, 1.49, 2.51, 693, 2.73, 0.50; at n = d the seeds span 20 to 272,000). With lambda = 125
it is 0.95, 0.73, 0.68, 0.64, 0.60, 0.43 there and falls at every step, within 3 % of theory. Descent ends at the risk
of the closed form, to five digits. All six claims hold.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

import wd_research as wd
from experiments.literature.cells import cells
from experiments.literature.linear import (
    Setting,
    check_factors,
    draw_beside_theory,
    mark_best,
    predicted_risk,
    risk_without_decay,
)
from experiments.literature.ridge import Ridge, check_descent, closed_form, descent

CLOSED_FORM = "closed form"


def experiment(
    *,
    dimension: int = 500,
    noise: float = 0.5,
    ratios: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0),
    factors: tuple[float, ...] = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    trained_ratios: tuple[float, ...] = (0.4, 2.0),
    seeds: int = 16,
    steps: int = 300,
) -> wd.Experiment:
    """Ridge regression in closed form over examples and decay, and by gradient descent at some of these points.

    Args:
        dimension: Inputs d of the regression.
        noise: Standard deviation of the targets about the teacher, whose norm is 1.
        ratios: Numbers of examples as multiples of the dimension.
        factors: Values of lambda as multiples of the optimum by theory; 0 and 1 among them.
        trained_ratios: The ratios at which gradient descent is run as well, with no decay, the best, and the grid's
            ends; far from 1, where it takes few steps.
        seeds: Each has its own teacher, inputs and noise; fewer examples are the first ones of more.
        steps: Steps of gradient descent.
    """
    wd.flags.positive(noise=(noise,), ratios=ratios, trained_ratios=trained_ratios)
    wd.flags.decays(factors=factors)
    wd.flags.counts(dimension=dimension, steps=steps)
    wd.flags.seeds(seeds)
    check_grids(dimension, noise, ratios, factors, trained_ratios)
    for ratio in trained_ratios:
        check_descent(steps, ratio)

    setting = Setting(dimension, noise)
    penalties = [setting.best * factor for factor in sorted(factors)]
    few = [setting.best * factor for factor in (0, min(filter(None, factors)), 1, max(factors))]
    counts = [round(ratio * dimension) for ratio in sorted(ratios)]
    trained = [round(ratio * dimension) for ratio in sorted(trained_ratios)]
    return wd.Experiment(
        arms={
            CLOSED_FORM: closed_form(setting, wd.grid(Ridge, examples=counts, penalty=penalties)),
            **{f"descent, n = {examples}": descent(setting, examples, few) for examples in trained},
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=1,
        claims=claims(setting),
        figures=lambda arms: {"double_descent": figure(setting, arms)},
    )


def check_grids(
    dimension: int, noise: float, ratios: Sequence[float], factors: Sequence[float], trained_ratios: Sequence[float]
) -> None:
    """Raise UserError unless the grids hold what the claims compare."""
    counts = [round(ratio * dimension) for ratio in ratios]
    if min(counts) < 1 or len(set(counts)) < len(counts):
        raise wd.UserError(
            f"--ratios times --dimension {dimension} round to {counts}: give ratios that differ by an example"
        )
    check_factors(factors)
    if sum(1 - noise <= ratio <= 1 for ratio in ratios) < 2 or sum(ratio >= 1 for ratio in ratios) < 2:
        raise wd.UserError(
            f"--ratios needs two or more from {max(0.0, 1 - noise):g} to 1, where the risk without decay rises, and "
            "two or more from 1 on, where it falls"
        )
    if absent := [ratio for ratio in trained_ratios if ratio not in ratios]:
        raise wd.UserError(
            f"--trained-ratios {absent[0]} is not among --ratios: training is compared with the closed form there"
        )


# What is measured

Arms = Mapping[str, wd.Results]


class Table(NamedTuple):
    """The risks of an arm."""

    examples: np.ndarray  # i64[n]
    penalties: np.ndarray  # f64[l]
    risk: np.ndarray  # f64[s, n, l]
    best: int  # which of the penalties is the optimum by theory

    @property
    def tuned(self) -> np.ndarray:
        """The risk at the best penalty; f64[s, n]."""
        return self.risk[..., self.best]

    @property
    def untuned(self) -> np.ndarray:
        """The logarithm of the risk without decay; f64[s, n]."""
        return np.log(self.risk[..., 0])


def table(setting: Setting, results: wd.Results) -> Table:
    """The risks of an arm, whose points are a grid of ascending examples and penalties."""
    examples, penalties = (np.unique(results[name].to_numpy()).astype(float) for name in Ridge._fields)
    if "test_error" in results:  # it is trained
        risk = setting.dimension * wd.surviving(results, "test_error") + setting.noise**2
    else:
        risk = wd.final(results, "risk")
    best = int(np.abs(penalties - setting.best).argmin())
    return Table(examples.astype(int), penalties, risk.reshape(-1, len(examples), len(penalties)), best)


def beyond_the_best(exact: Table) -> dict[str, np.ndarray]:
    """The risk at each other lambda above 0 less that at the optimum by theory."""
    differences = exact.risk - exact.risk[..., [exact.best]]
    return {
        f"n = {n}, lambda = {penalty:.4g}": differences[:, i, k]
        for i, n in enumerate(exact.examples)
        for k, penalty in enumerate(exact.penalties)
        if penalty > 0 and k != exact.best
    }


def log_gains(exact: Table) -> dict[str, np.ndarray]:
    """The logarithm of the risk without decay over that at the best lambda."""
    return cells("n = {}", exact.untuned - np.log(exact.tuned), exact.examples)


def falls(exact: Table) -> dict[str, np.ndarray]:
    """By how much the risk at the best lambda falls from each n to the next."""
    return cells("n = {} to {}", -np.diff(exact.tuned, axis=1), exact.examples[:-1], exact.examples[1:])


def rises_and_falls(setting: Setting, exact: Table) -> dict[str, np.ndarray]:
    """By how much the log risk without decay rises from each n to the next up to d, and falls from d on.

    By theory the risk of least squares first falls, up to n = (1 - noise) d; from there on its variance makes it rise.
    """
    first, following = exact.examples[:-1], exact.examples[1:]
    rising = (first >= (1 - setting.noise) * setting.dimension - 0.5) & (following <= setting.dimension)
    falling = first >= setting.dimension
    steps, among = (1.0 * rising - falling) * np.diff(exact.untuned, axis=1), rising | falling
    return cells("n = {} to {}", steps[:, among], first[among], following[among])


def against_theory(setting: Setting, exact: Table) -> dict[str, np.ndarray]:
    """The risk at the best lambda relative to the predicted one."""
    return cells("n = {}", exact.tuned / predicted_risk(setting, exact.examples, setting.best), exact.examples)


def trained_to_exact(setting: Setting, arms: Arms) -> dict[str, np.ndarray]:
    """The risk of the trained estimates relative to that of the closed form, from the same samples."""
    exact = table(setting, arms[CLOSED_FORM])
    found = {}
    for trained in (table(setting, results) for name, results in arms.items() if name != CLOSED_FORM):
        of_examples = exact.risk[:, np.isin(exact.examples, trained.examples)]
        same = of_examples[..., np.isin(exact.penalties, trained.penalties)]
        found |= cells("n = {}, lambda = {:.4g}", (trained.risk / same)[:, 0], trained.examples, trained.penalties)
    return found


def claims(setting: Setting) -> tuple[wd.Claim, ...]:
    """The claims; the risk without decay is measured by its logarithm, because its mean at n = d is infinite."""
    claim = partial(wd.Claim, quantifier=wd.everywhere)

    def exactly(measure: Callable[[Table], dict[str, np.ndarray]]) -> Callable[[Arms], dict[str, np.ndarray]]:
        return lambda arms: measure(table(setting, arms[CLOSED_FORM]))

    return (
        claim(
            id="one-best-decay",
            statement="At every number of examples the best lambda is d sigma^2 / |beta|^2.",
            source="Nakkiran et al. (2003.01897)",
            measure=exactly(beyond_the_best),
            expected=(0.0, np.inf),
        ),
        claim(
            id="best-decay-helps",
            statement="At every number of examples the best lambda lowers the risk against no decay (log risk).",
            source="Nakkiran et al. (2003.01897)",
            measure=exactly(log_gains),
            expected=(0.0, np.inf),
        ),
        claim(
            id="descends-twice",
            statement="Without decay the risk rises towards n = d and falls beyond it (log risk).",
            source="Nakkiran et al. (2003.01897); Hastie et al. (1903.08560)",
            measure=exactly(partial(rises_and_falls, setting)),
            expected=(0.0, np.inf),
        ),
        claim(
            id="descends-once",
            statement="With the best lambda the risk falls with every increase of n.",
            source="Nakkiran et al. (2003.01897)",
            measure=exactly(falls),
            expected=(0.0, np.inf),
        ),
        claim(
            id="risk-as-predicted",
            statement="With the best lambda the risk is the predicted one, within 3 %.",
            source="Dobriban & Wager (1507.03003)",
            measure=exactly(partial(against_theory, setting)),
            expected=(0.97, 1.03),
        ),
        claim(
            id="descent-finds-it",
            statement="Gradient descent on the penalized loss ends at the risk of the closed form, within 1 %.",
            source="Nakkiran et al. (2003.01897), whose estimates are exact",
            measure=partial(trained_to_exact, setting),
            expected=(0.99, 1.01),
        ),
    )


# What is drawn

TOP = 12.0  # where the axis of the risk ends


def figure(setting: Setting, arms: Arms) -> wd.Figure:
    """The risk over examples for four decays, and over decay for four numbers of examples: predicted and measured."""
    drawn, panels = wd.panel_grid(2, 1, width=4.2, height=3.2, share=False)
    draw_over_examples(panels[0, 0], setting, arms)
    draw_over_penalties(panels[1, 0], setting, table(setting, arms[CLOSED_FORM]))
    for panel in panels[:, 0]:
        panel.set_ylabel(r"risk $|b - \beta|^2 + \sigma^2$")
        panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    panels[1, 0].legend(fontsize=8, ncols=2, loc="upper right")
    drawn.supxlabel("lines: predicted    marks: measured, with 95 % bars    rings: trained", fontsize=8)
    return drawn


def draw_over_examples(panel: wd.Axes, setting: Setting, arms: Arms) -> None:
    """Without decay, with the best, and with both ends of the grid; the peak is cut off, with its height beside it."""
    exact, dimension = table(setting, arms[CLOSED_FORM]), setting.dimension
    line = np.arange(np.ceil(exact.examples.min() / 1.2), exact.examples.max() * 1.05)
    for k, style in zip((0, 1, exact.best, -1), wd.STYLES, strict=False):
        predicted = predicted_risk(setting, line, exact.penalties[k]) if k else risk_without_decay(setting, line)
        measured = exact.examples / dimension, geometric_means(exact.risk[..., k])
        label = factor_label(exact.penalties[k] / setting.best)
        draw_beside_theory(panel, (line / dimension, predicted), measured, style, label)
    for found in (table(setting, results) for name, results in arms.items() if name != CLOSED_FORM):
        ratios = np.full(len(found.penalties), found.examples[0] / dimension)
        panel.plot(ratios, found.risk[:, 0].mean(axis=0), "o", color="black", fillstyle="none", markersize=8,
                   markeredgewidth=0.7)  # fmt: skip
    for n, peak in zip(exact.examples, np.exp(exact.untuned.mean(axis=0)), strict=True):
        if peak > TOP:
            panel.annotate(f"↑ {peak:,.0f}", (n / dimension, TOP / 1.05), xytext=(6, 0), textcoords="offset points",
                           fontsize=8, va="top")  # fmt: skip
    ticks = [tick for tick in (0.1, 0.3, 1, 3, 10) if tick > 0.9 * exact.risk.min()]
    panel.set(title="the right decay removes the peak", xlabel="examples n / dimension d", yscale="log")
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_ylim(0.85 * exact.risk.min(), TOP)


def draw_over_penalties(panel: wd.Axes, setting: Setting, exact: Table) -> None:
    """Four numbers of examples, n = d left out; a vertical line marks the optimum by theory."""
    away = np.flatnonzero(exact.examples != setting.dimension)
    chosen = away[np.unique(np.linspace(0, len(away) - 1, 4).round().astype(int))]
    lowest, highest = exact.penalties[1], exact.penalties[-1]
    line = np.append(np.linspace(lowest / 100, lowest, 50), np.geomspace(lowest, highest, 100))
    for i, style in zip(chosen, wd.STYLES, strict=False):
        predicted = line, predicted_risk(setting, exact.examples[i], line)
        measured = exact.penalties, geometric_means(exact.risk[:, i])
        draw_beside_theory(panel, predicted, measured, style, f"n = {exact.examples[i] / setting.dimension:.3g} d")
    mark_best(panel, setting.best, r"\lambda^*", lowest, highest)
    panel.set(title="one decay is the best at every n", xlabel=r"$\lambda$")
    panel.set_ylim(0, 1.25 * np.exp(np.log(exact.risk[:, chosen]).mean(axis=0).max()))


def geometric_means(risk: np.ndarray) -> np.ndarray:
    """The geometric mean over seeds and its 95 % t interval, f64[s, k] -> f64[k, 3]."""
    return np.exp(wd.means(np.log(risk)))


def factor_label(factor: float) -> str:
    """A multiple of the best lambda as the label of a line."""
    if factor == 0:
        return "no decay"
    if np.isclose(factor, 1):
        return r"$\lambda^* = d\sigma^2/|\beta|^2$"
    return rf"$\lambda^* / {1 / factor:.3g}$" if factor < 1 else rf"${factor:.3g}\,\lambda^*$"


if __name__ == "__main__":
    wd.main(experiment)
