"""What the experiments on linear regression share: a sample, what theory says of it, and a task."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from wd_research.evidence.drawing import axis_from_zero
from wd_research.types import Array, Axes, Batch, Extras, Hypers, Key, Loss, Params, Task


class Setting(NamedTuple):
    """What is known of the data: y = <x, beta> + noise * N(0, 1) with x ~ N(0, I_d) and |beta| = 1."""

    dimension: int
    noise: float

    @property
    def best(self) -> float:
        """The lambda that theory calls best, d noise^2 / |beta|^2."""
        return self.dimension * self.noise**2


class Sample(NamedTuple):
    """What one seed draws."""

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
    parts: Callable[[tuple[()], Any], Mapping[str, Batch]],
    start: Callable[[Key], Array],
) -> Task:
    """Learn f(x) = <w, x> by the mean of (f - y)^2 / 2 over all examples of a sample at every step.

    The weights are the kernel f32[d, 1] and begin as start(key). The metric of each part is "error", the mean of
    (f - y)^2.
    """

    def init(key: Key) -> tuple[Params, Extras]:
        return {"kernel": start(key)}, {}

    def loss(hypers: Hypers) -> Loss:
        del hypers

        def of_sample(params: Params, extras: Extras, batch: Batch, key: Key):
            del key
            value = mean_square_error(params, batch) / 2
            return value, (extras, {"loss": value})

        return of_sample

    return Task(
        data=(),
        split=split,
        init=init,
        order=lambda key, start, steps: jnp.zeros((steps, 1), jnp.int32),
        gather=lambda data, sample, indices: Batch(sample.inputs, sample.targets),
        parts=parts,
        loss=loss,
        evaluate=lambda params, extras, part: {"error": mean_square_error(params, part)},
    )


def mean_square_error(params: Params, batch: Batch) -> Array:
    """The mean of (<w, x> - y)^2 over examples; f32[]."""
    return jnp.mean((jnp.squeeze(batch.inputs @ params["kernel"], -1) - batch.targets) ** 2)


def every_direction(teacher: np.ndarray) -> Batch:
    """The unit vectors and what the teacher says to them: the error on them is |w - teacher|^2 / d."""
    return Batch(jnp.eye(len(teacher)), teacher)


def mark_best(panel: Axes, best: float, name: str, lowest: float, highest: float) -> None:
    """A logarithmic axis of lambda that goes on to 0 below the lowest, with a line at the best."""
    panel.axvline(best, color="0.6", linewidth=1)
    panel.annotate(f"${name} = {best:.4g}$", (best, 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
                   textcoords="offset points", fontsize=8)  # fmt: skip
    axis_from_zero(panel, lowest, highest)
