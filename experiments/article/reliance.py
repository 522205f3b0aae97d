"""Does decay make a net rely less on single features, and do L1 and L2 spread importance over all weights?

python -m experiments.article.reliance

python -m experiments.article.reliance --seeds 4 --steps 300     # less time, wider intervals

Expected (31 s on 2 CPU cores; 1,008 nets, one program): no claim holds, five fail, two are undecided. Importance is not
spread over more pixels: their effective number, 55 of 61 without decay, falls by 2 % [2, 3] with weight decay, 10 % [9,
11] with L2, 31 % [29, 33] with L1. That of the weights rises with weight decay, by 9 % [8, 10], and falls with L2 in
the loss, by 24 % [22, 25], and with L1, by 88 % [88, 88]. Whether the most salient pixel matters less is undecided:
without it 0.8 points of accuracy are lost, and with decay the same within 1.4. Without the most salient tenth of the
pixels L1 loses 3.4 points [1.8, 5.0] MORE than the 5.7 of no decay, and weight decay 1.2 [0.3, 2.0] less. Without a
random tenth weight decay and L2 lose 0.8 [0.4, 1.3] and 0.7 [0.4, 1.0] less; whether L1 does is undecided. The figure:
effective numbers fall but for that of the weights under weight decay; the accuracy lost hardly changes without the most
salient pixel, rises without the salient tenth under L1 alone, and falls without a random one.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import WIDTH, adam, digits_task, with_penalties

LEARNING_RATES = (1e-4, 5e-4, 2e-3, 1e-2, 5e-2, 2e-1)  # both ends are worse, with decay and without
METHODS = {
    "weight decay": ("decay", (0.0, 0.3, 1.0, 2.0, 4.0, 8.0)),
    "L2": ("strength", (0.0, 0.01, 0.03, 0.06, 0.12, 0.24)),
    "L1": ("l1_strength", (0.0, 0.001, 0.003, 0.006, 0.012, 0.024)),
}
TENTH = 6  # of the 61 pixels
RANDOM_TENTHS = 10  # the same for all nets, averaged


class Hypers(NamedTuple):
    """The hyperparameters of a net; of the three decays two are 0."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[], the rate of decoupled decay
    strength: wd.Array  # f32[], of L2 in the loss
    l1_strength: wd.Array  # f32[], of L1 in the loss


def experiment(*, seeds: int = 8, steps: int = 1_000) -> wd.Experiment:
    """Weight decay, L2 and L1 on noisy digits under Adam; every net is tested without its most salient pixels.

    Args:
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Training steps.
    """
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    plain = digits_task(wd.Mlp((WIDTH,), classes=10))
    task = wd.with_metrics(plain, partial(importance, plain))

    def arm(axis: str, values: tuple[float, ...]) -> wd.Arm:
        points = wd.grid(Hypers, learning_rate=LEARNING_RATES, **{axis: values})
        return wd.Arm(task, adam(steps), points, axis, partial(with_penalties, task))

    return wd.Experiment(
        arms={method: arm(axis, values) for method, (axis, values) in METHODS.items()},
        seeds=seeds,
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# What is measured of a net


def importance(task: wd.Task, params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
    """How importance is spread over the pixels and over the weights.

    "features": the effective number of pixels by the saliency of the logits. "weights": that of the weights by their
    size. "without_top_pixel", "without_top_tenth", "without_random_tenth": what accuracy is lost when this net's most
    salient pixel, or tenth of the pixels, or a random tenth is set to its mean in all examples. Pixels that are
    constant in these examples are left out: their weights get no gradient, stay at their initial values without decay
    and vanish with it.
    """
    del name
    logits, inputs = partial(task.predict, params, extras), jnp.asarray(batch.inputs)

    def lost(kept: wd.Array) -> wd.Array:
        """What accuracy is lost with these pixels alone, bool[i]."""
        before, after = (jnp.argmax(logits(x), axis=-1) == batch.targets for x in (inputs, inputs * kept))
        return jnp.mean(before, dtype=inputs.dtype) - jnp.mean(after, dtype=inputs.dtype)

    varies = jnp.ptp(inputs, axis=0) > 0
    salient = wd.saliency(logits, inputs) * varies
    rank = jnp.argsort(jnp.argsort(-salient))
    weights = [params["Dense_0"]["kernel"] * varies[:, None], params["Dense_1"]["kernel"]]
    return {
        "features": wd.effective_number(salient),
        "weights": wd.effective_number(jnp.abs(jnp.concatenate(weights, axis=None))),
        "without_top_pixel": lost(rank > 0),
        "without_top_tenth": lost(rank >= TENTH),
        "without_random_tenth": jax.vmap(lost)(jnp.asarray(random_ranks(inputs.shape[1]) >= TENTH)).mean(),
    }


def random_ranks(pixels: int) -> np.ndarray:
    """Random orders of the pixels, i64[orders, pixels]."""
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(pixels) for _ in range(RANDOM_TENTHS)])


# What is claimed

Arms = Mapping[str, wd.Results]


def changed(metric: str, methods: Sequence[str], relative: bool, arms: Arms) -> dict[str, wd.Scores]:
    """What a test metric of each tuned method is above that without decay, as a share of it where `relative`."""

    def of_method(results: wd.Results) -> wd.Scores:
        change = wd.gain_over_none(results, f"test_{metric}")
        return change / wd.tuned(results, f"test_{metric}", wd.has_value(results, 0)) if relative else change

    return {method: of_method(arms[method]) for method in methods}


def claim(
    name: str, statement: str, metric: str, methods: tuple[str, ...], expected: tuple[float, float], unit: wd.Unit
) -> wd.Claim:
    """A claim that a metric rises, or falls, with every method."""
    measure = partial(changed, metric, methods, unit is wd.PERCENT)
    return wd.Claim(name, statement, source_of("B6"), measure, expected, wd.everywhere, unit)


ABOVE, BELOW = (0.0, np.inf), (-np.inf, 0.0)
CLAIMS = (
    claim("B6-single", "Without its most salient pixel a net loses less accuracy with decay than without.",
          "without_top_pixel", tuple(METHODS), BELOW, wd.POINTS),
    claim("B6-tenth", "Without its most salient tenth of the pixels a net loses less accuracy with decay.",
          "without_top_tenth", tuple(METHODS), BELOW, wd.POINTS),
    claim("B6-random-tenth", "Without a random tenth of the pixels a net loses less accuracy with decay.",
          "without_random_tenth", tuple(METHODS), BELOW, wd.POINTS),
    claim("B6-l2-features", "L2 and weight decay spread importance over more pixels (effective number).", "features",
          ("weight decay", "L2"), ABOVE, wd.PERCENT),
    claim("B6-l1-features", "L1 spreads importance over more pixels (effective number).", "features", ("L1",), ABOVE,
          wd.PERCENT),
    claim("B6-l2-weights", "L2 and weight decay spread size over more weights (effective number).", "weights",
          ("weight decay", "L2"), ABOVE, wd.PERCENT),
    claim("B6-l1-weights", "L1 spreads size over more weights (effective number).", "weights", ("L1",), ABOVE,
          wd.PERCENT),
)  # fmt: skip


# What is drawn


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """What each method changes against no decay: effective numbers in percent, lost accuracies in points."""
    figure, panels = wd.panel_grid(1, 2, width=4.7, height=3.3, share=False)
    spread = {"features": "pixels", "weights": "weights"}
    losses = {
        "without_top_pixel": "without the most\nsalient pixel",
        "without_top_tenth": "without the most\nsalient tenth",
        "without_random_tenth": "without a\nrandom tenth",
    }
    drawn = (
        (panels[0, 0], spread, True, "change of the effective number, %"),
        (panels[0, 1], losses, False, "change of the accuracy lost, points"),
    )
    for panel, metrics, relative, label in drawn:
        cells = [arms.score(partial(changed, metric, tuple(METHODS), relative)) for metric in metrics]
        for place, (method, style) in enumerate(zip(METHODS, wd.STYLES, strict=False)):
            estimates = 100 * np.array([of_metric[method].estimate() for of_metric in cells])
            wd.draw_measured(panel, np.arange(len(metrics)) + 0.12 * (place - 1), estimates, style, method)
        panel.axhline(0, color="0.6", linewidth=1)
        panel.set_xticks(range(len(metrics)), list(metrics.values()), fontsize=9)
        panel.set(xlim=(-0.5, len(metrics) - 0.5), ylabel=label)
        panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    figure.supxlabel(arms.scored_on, fontsize=8)
    return {"reliance": figure}


if __name__ == "__main__":
    wd.main(experiment)
