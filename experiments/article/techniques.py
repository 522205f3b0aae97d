"""Which technique helps a net most on few, noisy digits, if each is tuned by as many trials?

python -m experiments.article.techniques

python -m experiments.article.techniques --seeds 4 --steps 300     # half the time, most claims undecided

Expected (105 s on 2 CPU cores; 2,816 nets, four programs): gains over no technique, from a test accuracy of 83.0 %, are
3.4 points by L2 in the loss [2.6, 4.1] and by decoupled decay [2.7, 4.0], 3.2 [2.4, 4.0] by augmentation, 2.3 [1.3,
3.2] by L1, none by dropout [-0.5, 0.7] and by early stopping [-0.4, 0.3], -0.9 [-1.4, -0.4] by batch normalization.
Decoupled decay and L2, whose best learning rate is the largest tried, are not distinguishable [-0.6, 0.6], and
"A5-order" is undecided; so is "C9-alternatives", because dropout and early stopping neither help nor harm. Four claims
hold, two fail: L2, L1 and batch normalization together are 3.5 points [2.4, 4.6] less accurate than L2 alone, and
dropout, early stopping and L1 less accurate than decoupled decay. (The answer has a larger gain, 6.1 points, because it
is over no decay at the best of that arm's six learning rates, not of 36.)
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wd_research as wd
from experiments.article.rows import row_of, source_of
from experiments.article.setting import adam, digits_task, with_penalties

TRIALS = 36  # of every technique; six learning rates where it has a hyperparameter of its own, which has six values
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
MANY_LEARNING_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 3e-2, TRIALS))
DECAYS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
STRENGTHS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
L1_STRENGTHS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03)
DROPOUTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
SHIFTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TOGETHER = {"learning_rate": (1e-4, 3e-3), "strength": (0.01, 1.0), "l1_strength": (3e-4, 0.03)}
EVALUATIONS = 20

Settings = Callable[[wd.Hypers], Mapping[str, Any]]  # hyperparameters -> keyword arguments of the net


class Hypers(NamedTuple):
    """The hyperparameters of a net; 0 switches a technique off."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[], the rate of decoupled decay
    strength: wd.Array  # f32[], of L2 in the loss
    l1_strength: wd.Array  # f32[], of L1 in the loss
    dropout: wd.Array  # f32[], the share of units set to 0
    shift: wd.Array  # f32[], the share of training images that are moved by a pixel


def experiment(
    *,
    seeds: int = 8,
    steps: int = 1_000,
    train_size: int = 200,
    label_noise: float = 0.2,
    width: int = 32,
    batch_size: int = 50,
) -> wd.Experiment:
    """Eight techniques, each at 36 points, by Adam with a cosine; early stopping takes the nets of "none" again.

    Args:
        seeds: Each has its own split, label noise, initial weights, order of the data and noise.
        steps: Steps of training.
        train_size: Training examples; 400 of the 1,797 digits are for validation, the rest for testing.
        label_noise: Share of the training labels that are made wrong.
        width: Units of the hidden layer.
        batch_size: Examples of a step.
    """
    wd.flags.counts(steps=steps, train_size=train_size, width=width, batch_size=batch_size)
    wd.flags.seeds(seeds)
    optimizer = adam(steps)

    def task(batch_norm: bool = False, settings: Settings = wd.no_settings) -> wd.Task:
        net = wd.Mlp((width,), classes=10, batch_norm=batch_norm)
        plain = digits_task(net, train_size, label_noise, batch_size, settings)
        return plain._replace(loss=lambda hypers: with_penalties(plain, hypers))

    def arm(task: wd.Task, axis: str, values: Sequence[float]) -> wd.Arm:
        return wd.Arm(task, optimizer, wd.grid(Hypers, learning_rate=LEARNING_RATES, **{axis: values}), axis)

    many = wd.grid(Hypers, learning_rate=MANY_LEARNING_RATES)
    together = many._replace(**wd.sobol_points(dict, TRIALS, 0, **TOGETHER))
    plain, normalized = task(), task(batch_norm=True)
    with_dropout = task(settings=lambda hypers: {"dropout": hypers.dropout})
    return wd.Experiment(
        arms={
            "none": wd.Arm(plain, optimizer, many, "decay"),
            "weight decay": arm(plain, "decay", DECAYS),
            "L2": arm(plain, "strength", STRENGTHS),
            "L1": arm(plain, "l1_strength", L1_STRENGTHS),
            "dropout": arm(with_dropout, "dropout", DROPOUTS),
            "augmentation": arm(shifted(plain, wd.digits()), "shift", SHIFTS),
            "batch normalization": wd.Arm(normalized, optimizer, many, "strength"),
            "all three": wd.Arm(normalized, optimizer, together, "strength"),
        },
        seeds=seeds,
        steps=steps,
        evaluations=min(EVALUATIONS, steps),
        claims=CLAIMS,
        figures=figures,
    )


# What is trained


class Moved(NamedTuple):
    """The pool with every image in five places."""

    inputs: wd.Numbers  # f32[n, 61], as they are
    targets: wd.Numbers  # i32[n]
    places: wd.Numbers  # f32[n, 5, 61]: as they are, and moved by a pixel up, down, left, right


def shifted(task: wd.Task, examples: wd.Examples) -> wd.Task:
    """The task with a share h.shift of the training images moved by one pixel, drawn anew at every step."""

    def gather(data: Moved, split: wd.Split, indices: wd.Array) -> wd.Batch:
        chosen = split.train[indices]
        return wd.Batch((data.places[chosen] - split.mean) * split.scale, split.train_targets[indices])

    def loss(hypers: Hypers) -> wd.Loss:
        unshifted = task.loss(hypers)

        def of_batch(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            whether, which, rest = jax.random.split(key, 3)
            moves = jax.random.uniform(whether, batch.targets.shape) < hypers.shift
            place = jnp.where(moves, jax.random.randint(which, batch.targets.shape, 1, 5), 0)
            # a product with 0 and 1 picks the place: an index would gather once per member
            inputs = jnp.einsum("bp,bpx->bx", jax.nn.one_hot(place, 5), batch.inputs)
            return unshifted(params, extras, batch._replace(inputs=inputs), rest)

        return of_batch

    return task._replace(data=Moved(*examples, in_five_places(examples)), gather=gather, loss=loss)


def in_five_places(examples: wd.Examples) -> np.ndarray:
    """The digits as they are, and moved by one pixel up, down, left, right; f32[n, 5, 61]. What enters is 0."""
    from sklearn.datasets import load_digits  # here, because scikit-learn takes a second to import

    images = np.asarray(load_digits(return_X_y=True)[0], np.float32).reshape(-1, 8, 8)
    varying = images.reshape(len(images), -1).std(axis=0) > 0
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0))
    moved = [padded[:, row : row + 8, column : column + 8].reshape(len(images), -1) for row, column in corners]
    return np.stack(moved, axis=1)[..., varying]


# What is measured

Arms = Mapping[str, wd.Results]
ALTERNATIVES = ("L1", "dropout", "early stopping", "augmentation")


def stopped(results: wd.Results, among: np.ndarray | None = None) -> wd.Scores:
    """Test accuracy of the point, among those of the mask bool[h], that is best if every net is stopped early."""
    choice = wd.choose(wd.stopped_early(results), among)
    return wd.measured(lambda at: wd.final(wd.stopped_early(at), "test_accuracy")[:, 0], choice)


def accuracy(arms: Arms, name: str) -> wd.Scores:
    """Test accuracy of a technique, tuned; early stopping is that of the nets without any other."""
    return stopped(arms["none"]) if name == "early stopping" else wd.tuned(arms[name], "test_accuracy")


def above(pairs: Sequence[tuple[str, str]], arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between the techniques of each pair."""
    return {f"{first} - {second}": accuracy(arms, first) - accuracy(arms, second) for first, second in pairs}


def over_the_best(arms: Arms) -> dict[str, wd.Scores]:
    """The difference in test accuracy between all three together and the one that is best alone on validation data."""
    best = max(("L2", "L1", "batch normalization"), key=lambda name: wd.choose(arms[name]).validation)
    return {"all three - best alone": wd.difference(arms["all three"], arms[best])}


def claim(name: str, statement: str, measure: Callable[[Arms], dict[str, wd.Scores]], low: float = 0.0) -> wd.Claim:
    """A claim that a difference of test accuracies is above `low` in every cell."""
    return wd.Claim(name, statement, source_of(row_of(name)), measure, (low, np.inf), wd.everywhere, wd.POINTS)


CLAIMS = (
    claim("A5-weight-decay", "Decoupled decay raises test accuracy.", partial(above, (("weight decay", "none"),))),
    claim("A5-l2", "L2 in the loss raises test accuracy.", partial(above, (("L2", "none"),))),
    claim("A5-l1", "L1 in the loss raises test accuracy.", partial(above, (("L1", "none"),))),
    claim("A5-order", "Weight decay gains more than L2, and L2 more than L1.",
          partial(above, (("weight decay", "L2"), ("L2", "L1")))),
    claim("A9-order", "L2 is better than L1, and L1 than batch normalization.",
          partial(above, (("L2", "L1"), ("L1", "batch normalization")))),
    claim("A9-together", "L2, L1 and batch normalization together are better than the best of them alone.",
          over_the_best),
    claim("C9-alternatives", "Each alternative raises test accuracy on its own.",
          partial(above, tuple((name, "none") for name in ALTERNATIVES))),
    claim("C9-as-good", "Each alternative is as good as weight decay, within half a point.",
          partial(above, tuple((name, "weight decay") for name in ALTERNATIVES)), -0.005),
)  # fmt: skip


# What is drawn

STATED = {"weight decay": 2.5, "L1": 1.8, "L2": 2.1}  # gains in points


def figures(arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The gain of every technique over none, with its paired interval, beside what the article states."""
    figure, panels = wd.panel_grid(1, 1, width=5.2, height=3.6, share=False)
    panel = panels[0, 0]
    names = [*(name for name in arms if name != "none"), "early stopping"]
    labels = {"all three": "L2, L1 and\nbatch normalization"}
    gains = arms.score(lambda arms: {name: accuracy(arms, name) - accuracy(arms, "none") for name in names})
    names.sort(key=lambda name: gains[name].estimate().mean)
    mean, low, high = 100 * np.array([gains[name].estimate() for name in names]).T
    panel.errorbar(mean, range(len(names)), xerr=(mean - low, high - mean), fmt="o", color="black", capsize=2,
                   markersize=4, label="measured, with its 95 % interval")  # fmt: skip
    stated = [name for name in names if name in STATED]
    panel.plot([STATED[name] for name in stated], [names.index(name) for name in stated], "D", color="#0072B2",
               fillstyle="none", markersize=6, label="stated by the article")  # fmt: skip
    panel.axvline(0, color="0.6", linewidth=1)
    panel.set_yticks(range(len(names)), [labels.get(name, name) for name in names])
    panel.set_xlabel("gain in test accuracy over none, points")
    scored = arms.scored_on
    panel.set_title(f"{TRIALS} trials each, {scored}", fontsize=10)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return {"techniques": figure}


if __name__ == "__main__":
    wd.main(experiment)
