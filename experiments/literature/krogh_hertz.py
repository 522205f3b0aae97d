"""Does decay remove weights in the null space of the inputs, and does the right size of it suppress label noise?

python -m experiments.literature.krogh_hertz

python -m experiments.literature.krogh_hertz --inputs 60 --few 30 --many 120     # 11 s, wider intervals

The energy of Krogh & Hertz is a sum over p examples, sum (y - <w, x>)^2 / 2 + lambda |w|^2 / 2, with y = <u, x> + noise
and x ~ N(0, I / N). Our loss is the mean over examples, so the strength of the decay is lambda / p. The test error is
|w - u|^2 / N, the excess over the noise on new examples; |u|^2 / N is 1, so by theory the optimal lambda is sigma^2.
With fewer examples than inputs the null space of the inputs holds the directions orthogonal to every example.

Expected (12 s on 2 CPU cores; 512 members, two programs): with p = 100 examples of N = 200 inputs and no decay, the
component of the weights in the null space stays, to a millionth; with the smallest decay 0.17 % of it is left, by the
predicted course to 1e-5, which reduces the test error by 48 % [44, 52] even on clean labels, 1.00 to 0.51. On noisy
labels lambda = sigma^2 = 0.25 is the best of the grid; twice as much costs 0.011 [0.004, 0.017] at p = 100, half of it
0.012 [0.007, 0.018] at p = 400. Against no decay it reduces the test error by 48 % [44, 51] at p = 100 (1.26 to 0.65)
and by 29 % [25, 34] at p = 400 (0.257 to 0.179). On clean labels with p = 400 no error is left without decay (1e-13),
and every decay costs some, the smallest 0.0015 [0.0014, 0.0016]. All eight claims hold.
"""

from collections.abc import Mapping
from functools import partial

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
from experiments.literature.null_space import NULL_SPACE, decaying_net, step_size

EVALUATIONS = 20
RESOLVED = 1e-3  # the share of the initial null-space component down to which float32 resolves it to 1 %


def experiment(
    *,
    inputs: int = 200,
    few: int = 100,
    many: int = 400,
    noise: float = 0.5,
    factors: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    seeds: int = 16,
    steps: int = 1_000,
) -> wd.Experiment:
    """Four arms: fewer examples than inputs and more, with clean labels and with noisy ones.

    Gradient descent on all examples from random weights N(0, 1), the decay decoupled, which without momentum is L2.

    Args:
        inputs: Inputs N of the linear net.
        few: Examples p of two arms, fewer than the inputs.
        many: Examples p of the other two, more than the inputs.
        noise: Standard deviation sigma of the noise on noisy labels; the clean labels have mean square 1.
        factors: Values of lambda as multiples of sigma^2, the optimum by theory; 0 and 1 among them.
        seeds: Each has its own teacher, inputs, noise and initial weights.
        steps: Steps of training; enough for the smallest decay to remove the initial weights from the null space.
    """
    wd.flags.positive(noise=(noise,))
    wd.flags.decays(factors=factors)
    wd.flags.counts(inputs=inputs, few=few, many=many, steps=steps)
    wd.flags.seeds(seeds)
    if not few < inputs < many:
        raise wd.UserError(f"--few {few}, --inputs {inputs}, --many {many}: give fewer examples than inputs, and more")
    check_factors(factors)

    penalties = [factor * noise**2 for factor in sorted(factors)]
    check_steps(steps, step_size(inputs, few, penalties[-1]) * penalties[1])
    return wd.Experiment(
        arms={
            f"{labels}, p = {examples}": decaying_net(Setting(inputs, sigma), examples, penalties)
            for examples in (few, many)
            for labels, sigma in (("clean", 0.0), ("noisy", noise))
        },
        seeds=seeds,
        confirm=0,  # no claim follows a choice
        steps=steps,
        evaluations=EVALUATIONS,
        claims=claims(noise**2, penalties[1]),
        figures=lambda arms: {"krogh_hertz": figure(inputs, noise, arms)},
    )


def check_steps(steps: int, rate: float) -> None:
    """Raise UserError unless a decay of this rate per step is resolved at the first evaluation and over at the end."""
    shortest, longest = (int(times * np.log(RESOLVED) / np.log1p(-rate)) for times in (0.8, EVALUATIONS))
    if not shortest <= steps <= longest:
        raise wd.UserError(
            f"--steps {steps} does not show the smallest decay: give {shortest} or more, after which less than 1 % of "
            f"the initial null-space component is left, and at most {longest}, so that the first of {EVALUATIONS} "
            "evaluations still measures it"
        )


# What is measured

Arms = Mapping[str, wd.Results]


def with_null_space(arms: Arms) -> dict[str, wd.Results]:
    """The arms with fewer examples than inputs."""
    return {name: results for name, results in arms.items() if f"{NULL_SPACE}_kept" in results}


def without_null_space(arms: Arms) -> dict[str, wd.Results]:
    """The arms with more examples than inputs."""
    return {name: results for name, results in arms.items() if f"{NULL_SPACE}_kept" not in results}


def of_labels(labels: str, arms: Arms) -> dict[str, wd.Results]:
    """The arms with clean labels, or with noisy ones."""
    return {name: results for name, results in arms.items() if name.startswith(labels)}


def penalties_of(results: wd.Results) -> np.ndarray:
    """Lambda at every point, ascending; f64[h]."""
    return results["penalty"].to_numpy().astype(float)


def nearest(results: wd.Results, penalty: float) -> int:
    """The point of a lambda."""
    return int(np.abs(penalties_of(results) - penalty).argmin())


def course(results: wd.Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps f64[t], the share left of the null-space component at each f64[s, h, t], and the predicted one f64[h, t].

    The gradient lies in the row space, so that decay alone acts in the null space: (1 - learning rate * lambda / p)^t.
    """
    steps = results["step"].to_numpy().astype(float)
    rates = (results["learning_rate"] * results["penalty"] / results["examples"]).to_numpy().astype(float)
    return steps, results[f"{NULL_SPACE}_kept"].to_numpy().astype(float), (1 - rates[:, None]) ** steps


def per_penalty(name: str, results: wd.Results, values: np.ndarray, among: np.ndarray) -> dict[str, np.ndarray]:
    """A cell for each point of the mask bool[h], from f64[s, h]."""
    return cells("{}, lambda = {:.4g}", values[:, among], name, penalties_of(results)[among])


def left_at_the_end(arms: Arms, decayed: bool) -> dict[str, np.ndarray]:
    """The share of the null-space component that is left at the end, with decay or without."""
    cells = {}
    for name, results in with_null_space(arms).items():
        cells |= per_penalty(name, results, course(results)[1][..., -1], (penalties_of(results) > 0) == decayed)
    return cells


def against_course(arms: Arms) -> dict[str, np.ndarray]:
    """The share left relative to the predicted one, at the evaluation of largest deviation while it is RESOLVED."""
    cells = {}
    for name, results in with_null_space(arms).items():
        _, measured, predicted = course(results)
        ratios = np.where(predicted >= RESOLVED, measured / np.maximum(predicted, RESOLVED), 1.0)
        furthest = np.abs(ratios - 1).argmax(axis=-1)
        extremes = np.take_along_axis(ratios, furthest[..., None], axis=-1)[..., 0]
        resolved = (predicted[:, 0] >= RESOLVED) & (penalties_of(results) > 0)
        cells |= per_penalty(name, results, extremes, resolved)
    return cells


def harm(arms: Arms, best: float) -> dict[str, np.ndarray]:
    """The test error at every other lambda less that at the best."""
    cells = {}
    for name, results in arms.items():
        errors, at = wd.surviving(results, "test_error"), nearest(results, best)
        cells |= per_penalty(name, results, errors - errors[:, [at]], np.arange(errors.shape[1]) != at)
    return cells


def reduction(arms: Arms, penalty: float) -> dict[str, np.ndarray]:
    """The share by which a lambda reduces the test error without decay."""
    cells = {}
    for name, results in arms.items():
        errors = wd.surviving(results, "test_error")
        cells[name] = 1 - errors[:, nearest(results, penalty)] / errors[:, 0]
    return cells


def error_without_decay(arms: Arms) -> dict[str, np.ndarray]:
    """The test error at the end without decay."""
    return {name: wd.surviving(results, "test_error")[:, 0] for name, results in arms.items()}


def claims(best: float, smallest: float) -> tuple[wd.Claim, ...]:
    """The statements of Krogh & Hertz, as claims."""
    claim = partial(wd.Claim, source="Krogh & Hertz (1991)", quantifier=wd.everywhere)
    return (
        claim(
            id="null-space-stays",
            statement="Without decay the component of the weights in the null space of the inputs stays (share left).",
            measure=lambda arms: left_at_the_end(arms, decayed=False),
            expected=(0.99, 1.01),
        ),
        claim(
            id="null-space-vanishes",
            statement="With decay the component in the null space of the inputs vanishes (share left at the end).",
            measure=lambda arms: left_at_the_end(arms, decayed=True),
            expected=(-0.01, 0.01),
        ),
        claim(
            id="null-space-course",
            statement="In the null space weights shrink as (1 - learning rate * decay)^t (share left / predicted).",
            measure=against_course,
            expected=(0.99, 1.01),
        ),
        claim(
            id="decay-helps-without-noise",
            statement="With fewer examples than inputs a small decay helps even on clean labels (share of test error).",
            measure=lambda arms: reduction(with_null_space(of_labels("clean", arms)), smallest),
            expected=(0.0, np.inf),
        ),
        claim(
            id="best-is-noise-over-teacher",
            statement="On noisy labels the best lambda is sigma^2 / (|u|^2 / N) (test error beyond its own).",
            measure=lambda arms: harm(of_labels("noisy", arms), best),
            expected=(0.0, np.inf),
        ),
        claim(
            id="best-suppresses-noise",
            statement="On noisy labels the best lambda lowers the test error against no decay (share of it).",
            measure=lambda arms: reduction(of_labels("noisy", arms), best),
            expected=(0.0, np.inf),
        ),
        claim(
            id="nothing-to-gain",
            statement="With more examples than inputs and clean labels no test error is left without decay.",
            measure=lambda arms: error_without_decay(without_null_space(of_labels("clean", arms))),
            expected=(-np.inf, 1e-3),
        ),
        claim(
            id="decay-harms-without-noise",
            statement="With more examples than inputs and clean labels every decay raises the test error.",
            measure=lambda arms: harm(without_null_space(of_labels("clean", arms)), 0.0),
            expected=(0.0, np.inf),
        ),
    )


# What is drawn


def figure(inputs: int, noise: float, arms: Arms) -> wd.Figure:
    """The null-space component over training, and the test error over decay: predicted and measured."""
    drawing, panels = wd.panel_grid(2, 1, width=4.2, height=3.2, share=False)
    draw_null_space(panels[0, 0], with_null_space(of_labels("noisy", arms)))
    draw_errors(panels[1, 0], inputs, noise, arms)
    for panel in panels[:, 0]:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    drawing.supxlabel("lines: predicted    marks: measured, with 95 % bars", fontsize=8)
    return drawing


def draw_null_space(panel: wd.Axes, arms: Arms) -> None:
    """The share of the null-space component that is left over the steps, without decay and at the smallest decays."""
    ((name, results),) = arms.items()
    steps, measured, predicted = course(results)
    line = np.linspace(0, steps[-1], 200)
    for k, style in zip(np.flatnonzero(predicted[:, 0] >= RESOLVED), wd.STYLES, strict=False):
        shown = predicted[k] >= RESOLVED
        theory = line, predicted[k, 0] ** (line / steps[0])
        seen = steps[shown], wd.means(measured[:, k, shown])
        label = rf"$\lambda = {penalties_of(results)[k]:.3g}$"
        draw_beside_theory(panel, theory, seen, style, label)
    panel.set(title=f"in the null space: {name}", xlabel="steps of training", ylabel="share of the weights left",
              yscale="log", ylim=(RESOLVED, 2))  # fmt: skip


def draw_errors(panel: wd.Axes, inputs: int, noise: float, arms: Arms) -> None:
    """The test error of every arm over lambda; a vertical line marks the optimum by theory for noisy labels."""
    penalties = penalties_of(next(iter(arms.values())))
    lowest, highest = penalties[1], penalties[-1]
    line = np.geomspace(lowest, highest, 100)
    for (name, results), style in zip(arms.items(), wd.STYLES, strict=False):
        setting = Setting(inputs, noise if name.startswith("noisy") else 0.0)
        examples = results["examples"].to_numpy().astype(float)[:1]
        # Without decay the initial null-space component, of mean square 1, is there as well.
        without = risk_without_decay(setting, examples) - setting.noise**2 + np.maximum(0, 1 - examples / inputs)
        panel.plot((-0.2 * lowest, 0.2 * lowest), np.repeat(without, 2), color=style.color, linewidth=1)
        predicted = line, predicted_risk(setting, examples, inputs * line) - setting.noise**2
        measured = penalties, wd.means(wd.surviving(results, "test_error"))
        draw_beside_theory(panel, predicted, measured, style, name)
    mark_best(panel, noise**2, r"\sigma^2", lowest, highest)
    panel.set(title="the right size suppresses noise", ylabel=r"test error $|w - u|^2 / N$", xlabel=r"$\lambda$")
    panel.set_ylim(bottom=-0.12)


if __name__ == "__main__":
    wd.main(experiment)
