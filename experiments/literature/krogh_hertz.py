"""Does decay remove from a linear net what the data say nothing of, and does the right size of it suppress label noise?

python -m experiments.literature.krogh_hertz

python -m experiments.literature.krogh_hertz --inputs 60 --few 30 --many 120     # 11 s, wider intervals

The energy of Krogh & Hertz is a sum over p examples, sum (y - <w, x>)^2 / 2 + lambda |w|^2 / 2, with y = <u, x> + noise
and x ~ N(0, I / N). Our loss is the mean over examples, so the strength of the decay is lambda / p. The test error is
|w - u|^2 / N, the excess over the noise on new examples; |u|^2 / N is 1, so theory puts the best lambda at sigma^2.

Expected (28 s on 2 CPU cores; 512 members, four programs): with p = 100 examples of N = 200
inputs and no decay, the component of the weights of which no example speaks stays, to a millionth; with the smallest
decay 0.17 % of it is left, by the predicted course to 1e-5, which saves 48 % [44, 52] of the test error even on clean
labels, 1.00 to 0.51. On noisy labels lambda = sigma^2 = 0.25 is the best of the grid; twice as much costs 0.011
[0.004, 0.017] at p = 100, half of it 0.012 [0.007, 0.018] at p = 400. Against no decay it saves 48 % [44, 51] of the
test error at p = 100 (1.26 to 0.65) and 29 % [25, 34] at p = 400 (0.257 to 0.179). On clean labels with p = 400 no
error is left without decay (1e-13), and every decay costs some, the smallest 0.0015 [0.0014, 0.0016]. All eight claims
hold.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.literature.linear import (
    Setting,
    draw,
    every_direction,
    linear_regression,
    mark_best,
    predicted_risk,
    risk_without_decay,
)
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.answer import surviving
from wd_research.evidence.claims import Cell, Claim, does
from wd_research.evidence.drawing import STYLES, draw_measured, means, panel_grid
from wd_research.experiment import Experiment
from wd_research.search import grid
from wd_research.training.tasks import remembering
from wd_research.types import Arm, Array, Axes, Batch, Figure, Key, Metrics, Params, Results

LOOKS = 20
SEEN = 1e-3  # the share of the start down to which float32 shows the silent component to 1 %


class Hypers(NamedTuple):
    """The numbers of a net."""

    penalty: Array  # f32[], lambda of the energy, the sum over examples
    examples: Array  # f32[], p
    learning_rate: Array  # f32[]


class Sample(NamedTuple):
    """What one seed draws."""

    inputs: np.ndarray  # f32[p, N], of length 1 on the mean
    targets: np.ndarray  # f32[p]
    teacher: np.ndarray  # f32[N], u, of length sqrt(N)
    silent: np.ndarray  # f32[N - p, N], an orthonormal basis of what no input has a part in


def experiment(
    *,
    inputs: int = 200,
    few: int = 100,
    many: int = 400,
    noise: float = 0.5,
    factors: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    seeds: int = 16,
    steps: int = 1_000,
) -> Experiment:
    """Four arms: fewer examples than inputs and more, with clean labels and with noisy ones.

    Gradient descent on all examples from random weights N(0, 1), the decay decoupled, which without momentum is L2.

    Args:
        inputs: Inputs N of the linear net.
        few: Examples p of two arms, fewer than the inputs.
        many: Examples p of the other two, more than the inputs.
        noise: Standard deviation sigma of the noise on noisy labels; the clean labels have mean square 1.
        factors: Values of lambda as multiples of sigma^2, which theory calls best; 0 and 1 among them.
        seeds: Each has its own teacher, inputs, noise and initial weights.
        steps: Steps of training; enough for the smallest decay to forget the start.
    """
    checks.positive(noise=(noise,))
    checks.decays(factors=factors)
    checks.counts(inputs=inputs, few=few, many=many, steps=steps)
    checks.seeds(seeds)
    if not few < inputs < many:
        raise ValueError(f"--few {few}, --inputs {inputs}, --many {many}: give fewer examples than inputs, and more")
    if 1 not in factors or not min(filter(None, factors)) < 1 < max(factors):
        raise ValueError("--factors needs 1, where theory puts the best, and values above 0 on both sides of it")

    penalties = [factor * noise**2 for factor in sorted(factors)]
    check_steps(steps, step_size(inputs, few, penalties[-1]) * penalties[1])
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={
            f"{labels}, p = {examples}": arm(Setting(inputs, sigma), examples, penalties)
            for examples in (few, many)
            for labels, sigma in (("clean", 0.0), ("noisy", noise))
        },
        seeds=seeds,
        steps=steps,
        looks=LOOKS,
        claims=claims(noise**2, penalties[1]),
        figures=lambda arms: {"krogh_hertz": figure(inputs, noise, arms)},
    )


def check_steps(steps: int, rate: float) -> None:
    """Raise ValueError unless a decay of this rate per step is seen at the first look and done at the end."""
    shortest, longest = (int(times * np.log(SEEN) / np.log1p(-rate)) for times in (0.8, LOOKS))
    if not shortest <= steps <= longest:
        raise ValueError(
            f"--steps {steps} does not show the smallest decay: give {shortest} or more, by which less than 1 % of the "
            f"start is left, and at most {longest}, so that the first of {LOOKS} looks still sees some"
        )


# What is trained


def arm(setting: Setting, examples: int, penalties: list[float]) -> Arm:
    """The linear net at every decay, for one number of examples and one size of the noise."""
    plain = linear_regression(lambda seed: sampled(setting, seed, examples), parts, start=standard_normal(setting))
    task = remembering(plain, kept_answers)
    constant = optax.constant_schedule(1.0)

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        # The loss is the mean over examples of half the squared error, so the energy's lambda is p times its decay.
        decay = decay_weights(hypers.penalty / hypers.examples)
        return decoupled(optax.identity(), decay, hypers.learning_rate, constant)

    rate = examples * step_size(setting.dimension, examples, max(penalties))
    points = grid(Hypers, penalty=penalties, examples=(examples,), learning_rate=(rate,))
    return Arm(task, task.loss, optimizer, points, axis="penalty")


def step_size(inputs: int, examples: int, penalty: float) -> float:
    """One over the largest eigenvalue of the energy (its limit) with decay: half of what would diverge."""
    return 1 / ((1 + np.sqrt(examples / inputs)) ** 2 + penalty)


def standard_normal(setting: Setting) -> Callable[[Key], Array]:
    """The initial weights N(0, 1), f32[N, 1]."""
    return lambda key: jax.random.normal(key, (setting.dimension, 1))


def sampled(setting: Setting, seed: int, examples: int) -> Sample:
    """The sample of a seed with inputs N(0, 1 / N) and a teacher of mean square 1, and what its inputs leave out."""
    sample = draw(setting, seed, examples)
    scale = np.sqrt(setting.dimension)
    heard = np.linalg.qr(sample.inputs.T, mode="complete")[0]
    arrays = (sample.inputs / scale, sample.targets, sample.teacher * scale, heard[:, examples:].T)
    return Sample(*(array.astype(np.float32) for array in arrays))


def parts(data: tuple[()], sample: Sample) -> dict[str, Batch]:
    """The examples; every direction of the inputs; and, with fewer examples than inputs, those that no example has.

    The error on "test" is |w - u|^2 / N, the excess over the noise on new examples; on "silent" it is the mean square
    of the silent component of w.
    """
    every = {"train": Batch(sample.inputs, sample.targets), "test": every_direction(sample.teacher)}
    silent = {"silent": Batch(sample.silent, jnp.zeros(len(sample.silent)))} if len(sample.silent) else {}
    return every | silent


def kept_answers(params: Params, start: Params, part: Batch) -> Metrics:
    """The size of the net's answers to a part relative to the start's, "kept"."""
    now, then = (jnp.linalg.norm(part.inputs @ weights["kernel"]) for weights in (params, start))
    return {"kept": now / then}


# What is measured

Arms = Mapping[str, Results]


def with_silence(arms: Arms) -> dict[str, Results]:
    """The arms with fewer examples than inputs."""
    return {name: results for name, results in arms.items() if "silent_kept" in results}


def without_silence(arms: Arms) -> dict[str, Results]:
    """The arms with more examples than inputs."""
    return {name: results for name, results in arms.items() if "silent_kept" not in results}


def of_labels(labels: str, arms: Arms) -> dict[str, Results]:
    """The arms with clean labels, or with noisy ones."""
    return {name: results for name, results in arms.items() if name.startswith(labels)}


def penalties_of(results: Results) -> np.ndarray:
    """Lambda at every point, ascending; f64[h]."""
    return results["penalty"].to_numpy().astype(float)


def nearest(results: Results, penalty: float) -> int:
    """The point of a lambda."""
    return int(np.abs(penalties_of(results) - penalty).argmin())


def kept(results: Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps f64[t], the share of the silent component that is left at each f64[s, h, t], and the predicted f64[h, t].

    Where no gradient arrives, decay alone acts: (1 - learning rate * lambda / p)^t.
    """
    steps = results["step"].to_numpy().astype(float)
    rates = (results["learning_rate"] * results["penalty"] / results["examples"]).to_numpy().astype(float)
    return steps, results["silent_kept"].to_numpy().astype(float), (1 - rates[:, None]) ** steps


def per_penalty(name: str, results: Results, values: np.ndarray, among: np.ndarray) -> dict[str, Cell]:
    """A cell for each point of the mask bool[h], from f64[s, h]."""
    return {
        f"{name}, lambda = {penalty:.4g}": Cell(values[:, k])
        for k, penalty in enumerate(penalties_of(results))
        if among[k]
    }


def left_at_the_end(arms: Arms, decayed: bool) -> dict[str, Cell]:
    """The share of the silent component that is left at the end, with decay or without."""
    cells = {}
    for name, results in with_silence(arms).items():
        cells |= per_penalty(name, results, kept(results)[1][..., -1], (penalties_of(results) > 0) == decayed)
    return cells


def against_course(arms: Arms) -> dict[str, Cell]:
    """What is left relative to what is predicted, at the worst look of those that show a share above SEEN."""
    cells = {}
    for name, results in with_silence(arms).items():
        _, measured, predicted = kept(results)
        ratios = np.where(predicted >= SEEN, measured / np.maximum(predicted, SEEN), 1.0)
        furthest = np.abs(ratios - 1).argmax(axis=-1)
        extremes = np.take_along_axis(ratios, furthest[..., None], axis=-1)[..., 0]
        shown = (predicted[:, 0] >= SEEN) & (penalties_of(results) > 0)
        cells |= per_penalty(name, results, extremes, shown)
    return cells


def harm(arms: Arms, best: float) -> dict[str, Cell]:
    """The test error at every other lambda less that at the best."""
    cells = {}
    for name, results in arms.items():
        errors, at = surviving(results, "test_error"), nearest(results, best)
        cells |= per_penalty(name, results, errors - errors[:, [at]], np.arange(errors.shape[1]) != at)
    return cells


def reduction(arms: Arms, penalty: float) -> dict[str, Cell]:
    """The share of the test error without decay that a lambda saves."""
    cells = {}
    for name, results in arms.items():
        errors = surviving(results, "test_error")
        cells[name] = Cell(1 - errors[:, nearest(results, penalty)] / errors[:, 0])
    return cells


def error_without_decay(arms: Arms) -> dict[str, Cell]:
    """The test error at the end without decay."""
    return {name: Cell(surviving(results, "test_error")[:, 0]) for name, results in arms.items()}


def claims(best: float, smallest: float) -> tuple[Claim, ...]:
    """What Krogh & Hertz say, as claims."""
    source = "Krogh & Hertz (1991)"
    return (
        Claim(
            id="silence-stays",
            statement="Without decay the component of which the data say nothing stays what it was (share left).",
            source=source,
            measure=lambda arms: left_at_the_end(arms, decayed=False),
            expected=(0.99, 1.01),
            quantifier=does,
        ),
        Claim(
            id="silence-goes",
            statement="With decay the component of which the data say nothing goes (share left at the end).",
            source=source,
            measure=lambda arms: left_at_the_end(arms, decayed=True),
            expected=(-0.01, 0.01),
            quantifier=does,
        ),
        Claim(
            id="silence-course",
            statement="What the data say nothing of goes as (1 - learning rate * decay)^t (share left / predicted).",
            source=source,
            measure=against_course,
            expected=(0.99, 1.01),
            quantifier=does,
        ),
        Claim(
            id="decay-helps-without-noise",
            statement="With fewer examples than inputs a small decay helps even on clean labels (share saved).",
            source=source,
            measure=lambda arms: reduction(with_silence(of_labels("clean", arms)), smallest),
            expected=(0.0, np.inf),
            quantifier=does,
        ),
        Claim(
            id="best-is-noise-over-teacher",
            statement="On noisy labels the best lambda is sigma^2 / (|u|^2 / N) (test error beyond its own).",
            source=source,
            measure=lambda arms: harm(of_labels("noisy", arms), best),
            expected=(0.0, np.inf),
            quantifier=does,
        ),
        Claim(
            id="best-suppresses-noise",
            statement="On noisy labels the best lambda lowers the test error against no decay (share saved).",
            source=source,
            measure=lambda arms: reduction(of_labels("noisy", arms), best),
            expected=(0.0, np.inf),
            quantifier=does,
        ),
        Claim(
            id="nothing-to-gain",
            statement="With more examples than inputs and clean labels no test error is left without decay.",
            source=source,
            measure=lambda arms: error_without_decay(without_silence(of_labels("clean", arms))),
            expected=(-np.inf, 1e-3),
            quantifier=does,
        ),
        Claim(
            id="decay-harms-without-noise",
            statement="With more examples than inputs and clean labels every decay raises the test error.",
            source=source,
            measure=lambda arms: harm(without_silence(of_labels("clean", arms)), 0.0),
            expected=(0.0, np.inf),
            quantifier=does,
        ),
    )


# What is drawn


def figure(inputs: int, noise: float, arms: Arms) -> Figure:
    """The silent component over training, and the test error over decay: predicted and measured."""
    drawing, panels = panel_grid(2, 1, width=4.2, height=3.2, share=False)
    draw_silence(panels[0, 0], with_silence(of_labels("noisy", arms)))
    draw_errors(panels[1, 0], inputs, noise, arms)
    for panel in panels[:, 0]:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    drawing.supxlabel("lines: predicted    marks: measured, with 95 % bars", fontsize=8)
    return drawing


def draw_silence(panel: Axes, arms: Arms) -> None:
    """What is left of the silent component over the steps, without decay and at the smallest decays."""
    ((name, results),) = arms.items()
    steps, measured, predicted = kept(results)
    line = np.linspace(0, steps[-1], 200)
    for k, style in zip(np.flatnonzero(predicted[:, 0] >= SEEN), STYLES, strict=False):
        shown = predicted[k] >= SEEN
        panel.plot(line, predicted[k, 0] ** (line / steps[0]), color=style.color, linestyle=style.dashes, linewidth=1)
        label = rf"$\lambda = {penalties_of(results)[k]:.3g}$"
        draw_measured(panel, steps[shown], means(measured[:, k, shown]), style, label)
    panel.set(title=f"the silent component: {name}", xlabel="steps of training", ylabel="share left of the start",
              yscale="log", ylim=(SEEN, 2))  # fmt: skip


def draw_errors(panel: Axes, inputs: int, noise: float, arms: Arms) -> None:
    """The test error of every arm over lambda; a vertical line stands where theory puts the best for noisy labels."""
    penalties = penalties_of(next(iter(arms.values())))
    lowest, highest = penalties[1], penalties[-1]
    line = np.geomspace(lowest, highest, 100)
    for (name, results), style in zip(arms.items(), STYLES, strict=False):
        setting = Setting(inputs, noise if name.startswith("noisy") else 0.0)
        examples = results["examples"].to_numpy().astype(float)[:1]
        predicted = predicted_risk(setting, examples, inputs * line) - setting.noise**2
        panel.plot(line, predicted, color=style.color, linestyle=style.dashes, linewidth=1)
        # Without decay the start's silent component, of mean square 1, is there as well.
        without = risk_without_decay(setting, examples) - setting.noise**2 + np.maximum(0, 1 - examples / inputs)
        panel.plot((-0.2 * lowest, 0.2 * lowest), np.repeat(without, 2), color=style.color, linewidth=1)
        draw_measured(panel, penalties, means(surviving(results, "test_error")), style, name)
    mark_best(panel, noise**2, r"\sigma^2", lowest, highest)
    panel.set(title="the right size suppresses noise", ylabel=r"test error $|w - u|^2 / N$", xlabel=r"$\lambda$")
    panel.set_ylim(bottom=-0.12)


if __name__ == "__main__":
    main(experiment)
