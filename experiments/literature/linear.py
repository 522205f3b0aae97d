"""What the experiments on linear regression share: a sample, the risk that theory predicts, a task, a picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import wd_research as wd
from wd_research.reporting.drawing import Style


class Setting(NamedTuple):
    """The distribution of the data: y = <x, beta> + noise * N(0, 1) with x ~ N(0, I_d) and |beta| = 1."""

    dimension: int
    noise: float

    @property
    def best(self) -> float:
        """The lambda that is optimal by theory, d noise^2 / |beta|^2."""
        return self.dimension * self.noise**2


class Sample(NamedTuple):
    """The examples that one seed draws, and their teacher."""

    inputs: np.ndarray  # [n, d]
    targets: np.ndarray  # [n]
    teacher: np.ndarray  # [d], beta


def draw(setting: Setting, seed: int, examples: int) -> Sample:
    """The first `examples` examples of a seed, and its teacher; more examples begin with the same ones."""
    of_teacher, of_inputs, of_noise = np.random.default_rng(seed).spawn(3)
    teacher = of_teacher.normal(size=setting.dimension)
    teacher /= np.linalg.norm(teacher)
    inputs = of_inputs.normal(size=(examples, setting.dimension))
    return Sample(inputs, inputs @ teacher + setting.noise * of_noise.normal(size=examples), teacher)


def predicted_risk(setting: Setting, examples: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
    """The mean risk in the limit of large d and n, for any lambda > 0.

    With g = d / n, z = lambda / n, and m the mean of 1 / (eigenvalue of X'X / n + z):
    risk = noise^2 (1 + g m) + z (z - noise^2 g) dm, where dm = -dm/dz. The second term is 0 at the best lambda.

    Source: Dobriban & Wager (1507.03003); m by Marchenko & Pastur (1967).
    """
    variance, g, z = setting.noise**2, setting.dimension / examples, penalty / examples
    a = 1 - g + z
    root = np.sqrt(a**2 + 4 * g * z)
    m = 2 / (a + root)
    dm = m**2 / 2 * (1 + (a + 2 * g) / root)
    return variance * (1 + g * m) + z * (z - variance * g) * dm


def risk_without_decay(setting: Setting, examples: np.ndarray) -> np.ndarray:
    """The mean risk of least squares of smallest norm, f64[k] -> f64[k]; infinite from n = d - 1 to d + 1.

    With r = min(n, d) it is noise^2 (1 + r / (|n - d| - 1)) + 1 - r / d, by the mean of an inverse Wishart matrix.

    Source: Hastie et al. (1903.08560).
    """
    rank, gap = np.minimum(examples, setting.dimension), np.abs(examples - setting.dimension) - 1.0
    spread = np.divide(rank, gap, out=np.full_like(gap, np.inf), where=gap > 0)
    return setting.noise**2 * (1 + spread) + 1 - rank / setting.dimension


def linear_regression(
    split: Callable[[int], Any],
    splits: Callable[[tuple[()], Any], Mapping[str, wd.Batch]],
    start: Callable[[wd.Key], wd.Array],
) -> wd.Task:
    """Learn f(x) = <w, x> by the mean of (f - y)^2 / 2 over all examples of a sample at every step.

    The weights are the kernel f32[d, 1], whose initial values are start(key). The metric of each split is "error", the
    mean of (f - y)^2.
    """

    def predict(params: wd.Params, extras: wd.Extras, inputs: wd.Numbers) -> wd.Array:
        del extras
        return jnp.squeeze(inputs @ params["kernel"], -1)

    def error(params: wd.Params, batch: wd.Batch) -> wd.Array:
        return jnp.mean((predict(params, {}, batch.inputs) - batch.targets) ** 2)

    def loss(hypers: wd.Hypers) -> wd.Loss:
        del hypers

        def of_sample(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            del key
            value = error(params, batch) / 2
            return value, (extras, {"loss": value})

        return of_sample

    return wd.Task(
        data=(),
        split=split,
        init=lambda key: ({"kernel": start(key)}, {}),
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, sample, indices: wd.Batch(sample.inputs, sample.targets),
        loss=loss,
        splits=splits,
        evaluate=lambda params, extras, batch, name: {"error": error(params, batch)},
        predict=predict,
    )


def every_direction(teacher: np.ndarray) -> wd.Batch:
    """The unit vectors with the teacher's outputs: the error on them is |w - teacher|^2 / d."""
    return wd.Batch(jnp.eye(len(teacher)), teacher)


def check_factors(factors: Sequence[float]) -> None:
    """Raise UserError unless multiples of the best lambda hold 1, and values on both sides of it beside 0."""
    if 1 not in factors or not min(filter(None, factors)) < 1 < max(factors):
        raise wd.UserError("--factors needs 1, the optimum by theory, and values above 0 on both sides of it")


# What is drawn

Curve = tuple[np.ndarray, np.ndarray]  # where, and how high


def draw_beside_theory(panel: wd.Axes, predicted: Curve, measured: Curve, style: Style, label: str) -> None:
    """What is predicted as a thin line, and what is measured, means with intervals f64[k, 3], as marks and bars."""
    panel.plot(*predicted, color=style.color, linestyle=style.dashes, linewidth=1)
    wd.draw_measured(panel, *measured, style, label)


def mark_best(panel: wd.Axes, best: float, name: str, lowest: float, highest: float) -> None:
    """A logarithmic axis of lambda that goes on to 0 below the lowest, with a line at the predicted optimum."""
    panel.axvline(best, color="0.6", linewidth=1)
    panel.annotate(f"${name} = {best:.4g}$", (best, 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
                   textcoords="offset points", fontsize=8)  # fmt: skip
    wd.axis_from_zero(panel, lowest, highest)
