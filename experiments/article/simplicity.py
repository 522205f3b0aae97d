"""Does decay make a net simpler, and which kind of it makes weights zero?

python -m experiments.article.simplicity

python -m experiments.article.simplicity --seeds 4 --steps 300     # less time, wider intervals

Expected (88 s on 2 CPU cores; 3,216 nets, two programs): nine claims hold, five fail. The strongest decays that cost no
validation accuracy are compared with no decay. Exact zeros come from the proximal step alone: 44 % [44, 45] of the live
weights under Adam, 62 % [60, 64] under gradient descent. L1 in the loss makes 84 and 85 % of them smaller than 1e-3 and
none zero; weight decay and L2 make none zero. With the tuned weight decay 100 % are non-zero after each third of
training, which stands for the article's epochs, where 49, 35 and 25 % were stated; 99 % are above 1e-3. All four
methods make the norm (by 19 to 60 %) and the effective rank (by 25 to 65 %) smaller, and the probabilities less
sensitive to the inputs, by 5 % [2, 9] to 62 % [61, 63]. Tuned, weight decay and L2 lower the norm by 41 to 45, the rank
by 50 to 54, the sensitivity by 31 to 37 %. Two to six of the 61 inputs are constant in a training split, and up to four
of the 32 units of the compared nets die, under L1.
The figure: on top the weights that are left over training, below how much simpler the nets are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.article.rows import row_of, source_of
from experiments.article.setting import WIDTH, digits_task, with_penalties

CORES = {"Adam": optax.scale_by_adam(), "descent": optax.identity()}
LEARNING_RATES = {  # both ends are worse, with decay and without
    "Adam": (1e-4, 5e-4, 2e-3, 1e-2, 5e-2, 2e-1),
    "descent": (0.005, 0.02, 0.1, 0.5, 2.0, 5.0),
}
L2_STRENGTHS = (0.0, 0.01, 0.03, 0.06, 0.12, 0.24, 0.48)
L1_STRENGTHS = (0.0, 0.001, 0.003, 0.006, 0.012, 0.024, 0.048)
DECAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
THRESHOLDS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
METHODS = {  # name -> the field of Hypers, and its values under each optimizer
    "weight decay": ("decay", {"Adam": DECAYS, "descent": L2_STRENGTHS}),
    "L2": ("strength", {"Adam": L2_STRENGTHS, "descent": L2_STRENGTHS}),
    "L1": ("l1_strength", {"Adam": L1_STRENGTHS, "descent": L1_STRENGTHS}),
    "L1, proximal": ("threshold", {"Adam": THRESHOLDS, "descent": L1_STRENGTHS}),
}
BOTH_L2 = ("weight decay", "L2")
SMALL = 1e-3  # below this a weight counts as small
EVALUATIONS = 12  # four in each third of training


class Hypers(NamedTuple):
    """The hyperparameters of a net; of the four decays all but one are 0."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[], the rate of decoupled decay
    strength: wd.Array  # f32[], of L2 in the loss
    l1_strength: wd.Array  # f32[], of L1 in the loss: its subgradient is taken
    threshold: wd.Array  # f32[], of L1 as a proximal step


def experiment(*, seeds: int = 8, steps: int = 1_000) -> wd.Experiment:
    """Two kinds of L2 and two of L1 on noisy digits, under Adam and under gradient descent.

    After gradient descent the proximal step minimises the loss with L1, after Adam it does not.

    Args:
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Training steps.
    """
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    plain = digits_task(wd.Mlp((WIDTH,), classes=10))
    task = wd.with_metrics(plain, partial(complexity, plain))

    def arm(core: str, method: str) -> wd.Arm:
        axis, values = METHODS[method]
        points = wd.grid(Hypers, learning_rate=LEARNING_RATES[core], **{axis: values[core]})
        return wd.Arm(task, partial(shrinking, core, steps), points, axis, partial(with_penalties, task))

    return wd.Experiment(
        arms={f"{core}, {method}": arm(core, method) for core in CORES for method in METHODS},
        seeds=seeds,
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# What is trained


def shrinking(core: str, steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """An optimizer with decoupled decay and then a proximal step of L1, under a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)
    decayed = optax.chain(CORES[core], wd.decay_weights(hypers.decay))
    return wd.proximal(decayed, wd.soft_threshold, hypers.threshold, hypers.learning_rate, cosine)


def complexity(task: wd.Task, params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
    """How simple a net is on the training examples; nothing of the other splits.

    "zero" and "small": the shares of exact zeros, and of entries below 1e-3, among the weights that are `alive`.
    "constant": inputs that do not vary, "dead": hidden units that are 0 for every example. "norm": of the matrices,
    "rank": the effective rank of the first one, both without the rows of inputs that do not vary. "sensitivity": of the
    probabilities to the inputs.
    """
    if name != "train":
        return {}
    logits, inputs = partial(task.predict, params, extras), jnp.asarray(batch.inputs)
    varies, opens = alive(params, inputs)
    lives = jnp.concatenate([jnp.outer(varies, opens), jnp.outer(opens, jnp.ones(10, bool))], axis=None)
    sizes, first = jnp.abs(wd.entries(params)), params["Dense_0"]["kernel"] * varies[:, None]
    return {
        "zero": jnp.sum((sizes == 0) & lives) / jnp.maximum(jnp.sum(lives), 1),
        "small": jnp.sum((sizes < SMALL) & lives) / jnp.maximum(jnp.sum(lives), 1),
        "constant": jnp.sum(~varies, dtype=sizes.dtype),
        "dead": jnp.sum(~opens, dtype=sizes.dtype),
        "norm": jnp.linalg.norm(jnp.concatenate([first, params["Dense_1"]["kernel"]], axis=None)),
        "rank": wd.effective_rank(first),
        "sensitivity": wd.sensitivity(lambda x: jax.nn.softmax(logits(x)), inputs),
    }


def alive(params: wd.Params, inputs: wd.Array) -> tuple[wd.Array, wd.Array]:
    """Which inputs vary, and which hidden units are above 0 for some example; bool[i], bool[width].

    The weights of the others get no gradient: any decay shrinks them until they underflow.
    """
    first = params["Dense_0"]
    return jnp.ptp(inputs, axis=0) > 0, (inputs @ first["kernel"] + first["bias"] > 0).any(axis=0)


# What is measured

Arms = Mapping[str, wd.Results]


def names(methods: Iterable[str]) -> list[str]:
    """The arms of these methods."""
    return [f"{core}, {method}" for core in CORES for method in methods]


def matched(results: wd.Results) -> wd.Choice:
    """The strongest decay that costs no validation accuracy, at its best learning rate.

    It is compared with no decay at its own best learning rate.
    """
    validation = np.nan_to_num(wd.surviving(results, "validation_accuracy").mean(axis=0), nan=-np.inf)
    axis, off = results[results.attrs["axis"]].to_numpy(), wd.has_value(results, 0)
    enough = validation >= validation[off].max()
    strongest = enough & (axis == axis[enough].max())
    return wd.choice_of(results, int(np.where(strongest, validation, -np.inf).argmax()))


def at_matched(metric: str, methods: Iterable[str], arms: Arms) -> dict[str, wd.Scores]:
    """A final metric of the training split at matched accuracy."""
    return {name: wd.score(arms[name], matched(arms[name]), f"train_{metric}") for name in names(methods)}


def without_decay(metric: str, results: wd.Results) -> wd.Scores:
    """A final metric of the training split without decay, the learning rate tuned."""
    return wd.tuned(results, f"train_{metric}", wd.has_value(results, 0))


def lower(metric: str, methods: Iterable[str], arms: Arms) -> dict[str, wd.Scores]:
    """The share by which a final metric at matched accuracy is lower than without decay."""
    scores = at_matched(metric, methods, arms).items()
    return {name: 1 - score / without_decay(metric, arms[name]) for name, score in scores}


def controlled(metric: str, arms: Arms) -> dict[str, wd.Scores]:
    """The share by which a final metric of the tuned decay is lower than without."""
    tuned = {name: wd.tuned(arms[name], f"train_{metric}") for name in names(BOTH_L2)}
    return {name: 1 - score / without_decay(metric, arms[name]) for name, score in tuned.items()}


def left_after(third: int, metric: str, core: str, arms: Arms) -> wd.Scores:
    """The share of live weights that are not zero (or small) after a third of training, or two, or all; decay tuned."""

    def share(at: wd.Results) -> np.ndarray:
        return 1 - at[f"train_{metric}"].to_numpy()[:, 0, -(-at.sizes["step"] * third // 3) - 1].astype(float)

    return wd.measured(share, wd.choose(arms[f"{core}, weight decay"]))


def falls(metric: str, arms: Arms) -> dict[str, wd.Scores]:
    """By how much that share falls from one third of training to the next."""
    return {
        f"{core}, third {k} to {k + 1}": left_after(k, metric, core, arms) - left_after(k + 1, metric, core, arms)
        for core in CORES
        for k in (1, 2)
    }


def left(metric: str, arms: Arms) -> dict[str, wd.Scores]:
    """That share after each third of training."""
    return {f"{core}, third {k}": left_after(k, metric, core, arms) for core in CORES for k in (1, 2, 3)}


def claim(
    name: str, statement: str, measure: Callable[[Arms], dict[str, wd.Scores]], low: float, high: float = np.inf
) -> wd.Claim:
    """A claim about a share, in every cell."""
    return wd.Claim(name, statement, source_of(row_of(name)), measure, (low, high), wd.everywhere, wd.PERCENT)


FEW = 0.001  # a share of the weights that counts as none
CLAIMS = (
    claim("A0b-proximal-zero", "L1 by a proximal step makes more than a tenth of the weights zero, at no cost.",
          partial(at_matched, "zero", ("L1, proximal",)), 0.1),
    claim("A0b-subgradient-zero", "L1 in the loss makes more than a hundredth of the weights zero, at no cost.",
          partial(at_matched, "zero", ("L1",)), 0.01),
    claim("A0b-subgradient-small", "L1 in the loss makes more than a tenth of the weights small, at no cost.",
          partial(at_matched, "small", ("L1",)), 0.1),
    claim("A0b-l2-none", "Weight decay and L2 make no weight zero: at most one in a thousand.",
          partial(at_matched, "zero", BOTH_L2), -np.inf, FEW),
    claim("A0b-simpler-norm", "L2 and L1, of either kind, make the norm smaller, at no cost.",
          partial(lower, "norm", METHODS), 0.0),
    claim("A0b-simpler-rank", "L2 and L1, of either kind, make the effective rank smaller, at no cost.",
          partial(lower, "rank", METHODS), 0.0),
    claim("A0b-simpler-smooth", "L2 and L1, of either kind, make the net less sensitive to its inputs, at no cost.",
          partial(lower, "sensitivity", METHODS), 0.0),
    claim("A7-falls", "With weight decay fewer weights are non-zero after each third of training.",
          partial(falls, "zero"), FEW),
    claim("A7-as-stated", "With weight decay less than half of the weights are non-zero after each third, as stated.",
          partial(left, "zero"), -np.inf, 0.5),
    claim("A7-small-falls", "With weight decay fewer weights are above 1e-3 after each third of training.",
          partial(falls, "small"), FEW),
    claim("A7-small", "With weight decay less than half of the weights are above 1e-3 after each third.",
          partial(left, "small"), -np.inf, 0.5),
    claim("C2-norm", "The tuned decay makes the norm smaller.", partial(controlled, "norm"), 0.0),
    claim("C2-rank", "The tuned decay makes the effective rank smaller.", partial(controlled, "rank"), 0.0),
    claim("C2-smooth", "The tuned decay makes the net less sensitive to its inputs.",
          partial(controlled, "sensitivity"), 0.0),
)  # fmt: skip


# What is drawn

SIMPLER = {  # metric -> its caption
    "norm": "norm of\nthe weights",
    "rank": "effective rank of\nthe first layer",
    "sensitivity": "sensitivity\nto the inputs",
}
STATED = (49.2, 34.8, 25.1)  # % of the weights are non-zero after epochs 1, 2, 3, here after thirds of training


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Weights left over training at matched accuracy; and how much simpler each method makes a net."""
    figure, panels = wd.panel_grid(2, len(CORES), width=4.4, height=3.2, share=False)
    cells = [arms.score(partial(lower, metric, METHODS)) for metric in SIMPLER]
    for column, core in zip(panels.T, CORES, strict=True):
        draw_left(column[0], core, arms)
        draw_simpler(column[1], core, cells)
        for panel in column:
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("live weights, %")
    panels[0, 1].legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.93))
    panels[1, 0].set_ylabel("change against no decay, %")
    panels[1, 0].legend(fontsize=8, loc="upper left", ncols=2)
    scored = arms.scored_on
    figure.supxlabel(f"above: exploring seeds    below: {scored}", fontsize=8)
    return {"simplicity": figure}


def draw_left(panel: wd.Axes, core: str, arms: Arms) -> None:
    """The share of weights that are not zero, and for L1 in the loss of those above 1e-3, over the steps."""

    def share(method: str, metric: str) -> np.ndarray:
        results = arms[f"{core}, {method}"]
        return 100 * (1 - results[f"train_{metric}"].sel(point=matched(results).point).to_numpy().astype(float))

    fewest = np.min([share(method, "zero") for method in (*BOTH_L2, "L1")], axis=0)
    courses = {
        "weight decay, L2, L1 in the loss:\nnot zero (the fewest of the three)": fewest,
        f"L1 in the loss: above {SMALL:g}": share("L1", "small"),
        "L1, proximal: not zero": share("L1, proximal", "zero"),
    }
    steps = arms[f"{core}, L1"]["step"].to_numpy()
    for (label, course), style in zip(courses.items(), (wd.STYLES[0], *wd.STYLES[2:4]), strict=True):
        wd.draw_band(panel, steps, course, label, style.color, style.dashes)
    panel.plot(steps[-1] * np.arange(1, 4) / 3, STATED, "D", color="#0072B2", fillstyle="none", markersize=5,
               label="stated for weight decay")  # fmt: skip
    panel.set(title=f"{core}, the strongest that costs no accuracy", xlabel="steps", ylim=(0, 105))
    panel.title.set_fontsize(10)


def draw_simpler(panel: wd.Axes, core: str, cells: Sequence[Mapping[str, wd.Cell]]) -> None:
    """By how much norm, rank and sensitivity are lower than without decay, a group of marks each."""
    for place, (method, style) in enumerate(zip(METHODS, wd.STYLES, strict=False)):
        values = np.array([of_metric[f"{core}, {method}"].values for of_metric in cells])
        wd.draw_measured(panel, np.arange(3) + 0.12 * (place - 1.5), wd.means(-100 * values.T), style, method)
    panel.axhline(0, color="0.6", linewidth=1)
    panel.set_xticks(range(3), list(SIMPLER.values()))
    panel.set(xlim=(-0.5, 2.5), ylim=(-80, 30))


if __name__ == "__main__":
    wd.main(experiment)
