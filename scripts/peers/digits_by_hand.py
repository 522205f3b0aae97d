"""The main experiment's exploring as most people would write it: flax, optax, one net after the other, in one file.

    python -m scripts.peers.digits_by_hand 32 FOLDER     # the width, and where event files and figures go

The same 256 nets as `experiments.decay_values` with the flags of `scripts/bench_first_run.py`: a jitted scan from one
evaluation to the next, compiled once for all nets, a jitted evaluation, event files by tensorboardX with the means of
every value of decay, and four figures, as PNG and SVG. No audit, no intervals but the figures' bands, no report.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorboardX import SummaryWriter

mpl.use("agg")
import matplotlib.pyplot as plt

SEEDS, STEPS, EVALUATIONS, RATE, BATCH, TRAIN, VALIDATION, NOISE = 8, 2_000, 10, 3e-3, 50, 200, 400, 0.2
VALUES = (0.0, *np.geomspace(1e-4, 10, 15))  # of strength in the one arm, of decay in the other
ARMS, PARTS = ("coupled", "decoupled"), ("train", "validation", "test")


class Mlp(nn.Module):
    """A hidden layer."""

    width: int

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        return nn.Dense(10)(nn.relu(nn.Dense(self.width)(inputs)))


def parts_of(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and labels of each part, a fifth of the training labels wrong."""
    inputs, labels = load_digits(return_X_y=True)
    rest, train = train_test_split(np.arange(len(labels)), test_size=TRAIN, stratify=labels, random_state=seed)
    test, validation = train_test_split(rest, test_size=VALIDATION, stratify=labels[rest], random_state=seed)
    rng, noisy = np.random.default_rng(seed), labels.copy()
    wrong = rng.choice(train, int(NOISE * TRAIN), replace=False)
    noisy[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    mean, deviation = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    scaled = np.float32((inputs - mean) / np.where(deviation == 0, 1, deviation))
    return {part: (scaled[of], (noisy if part == "train" else labels)[of])
            for part, of in zip(PARTS, (train, validation, test), strict=True)}  # fmt: skip


def train_all(width: int) -> np.ndarray:
    """Accuracy and loss of every part: [arm, value, seed, evaluation, part, 2]."""
    net, schedule, segment = Mlp(width), optax.cosine_decay_schedule(RATE, STEPS), STEPS // EVALUATIONS

    def loss(params: Any, inputs: Any, labels: Any, strength: Any) -> Any:
        logits = net.apply(params, inputs)
        kernels = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean() + strength / 2 * kernels

    def optimizer(decay: Any) -> optax.GradientTransformation:
        return optax.adamw(schedule, weight_decay=decay, mask=partial(jax.tree.map, lambda leaf: leaf.ndim > 1))

    @partial(jax.jit, donate_argnums=(0, 1))
    def train(params: Any, state: Any, inputs: Any, labels: Any, order: Any, strength: Any, decay: Any) -> Any:
        def step(carried: Any, now: Any) -> Any:
            params, state = carried
            gradients = jax.grad(loss)(params, inputs[now], labels[now], strength)
            updates, state = optimizer(decay).update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), order)[0]

    @jax.jit
    def evaluate(params: Any, parts: Any) -> Any:
        logits = {part: net.apply(params, inputs) for part, (inputs, _) in parts.items()}
        return jnp.stack([
            jnp.stack([(logits[part].argmax(axis=1) == labels).mean(),
                       optax.softmax_cross_entropy_with_integer_labels(logits[part], labels).mean()])
            for part, (_, labels) in parts.items()
        ])  # fmt: skip

    found = np.zeros((len(ARMS), len(VALUES), SEEDS, EVALUATIONS, len(PARTS), 2))
    for seed in range(SEEDS):
        parts, rng = jax.tree.map(jnp.asarray, parts_of(seed)), np.random.default_rng(seed)
        order = jnp.asarray(
            np.stack([rng.permutation(TRAIN) for _ in range(STEPS * BATCH // TRAIN)]).reshape(-1, BATCH)
        )
        for arm, index in np.ndindex(len(ARMS), len(VALUES)):
            strength, decay = (VALUES[index], 0.0) if ARMS[arm] == "coupled" else (0.0, VALUES[index])
            params = net.init(jax.random.key(seed), parts["train"][0])
            state = optimizer(0.0).init(params)
            for number in range(EVALUATIONS):
                now = order[number * segment : (number + 1) * segment]
                params, state = train(params, state, *parts["train"], now, strength, decay)
                found[arm, index, seed, number] = evaluate(params, parts)
    return found


def write(found: np.ndarray, folder: Path) -> None:
    """The mean over seeds of every score, a curve for each value of decay."""
    for name, of_arm in zip(ARMS, found, strict=True):
        writer = SummaryWriter(str(folder / name))
        for index, number in np.ndindex(len(VALUES), EVALUATIONS):
            for part, (accuracy, value) in zip(PARTS, of_arm[index, :, number].mean(axis=0), strict=True):
                tag, step = f"{part}/{name}_{VALUES[index]:.2g}", (number + 1) * STEPS // EVALUATIONS
                writer.add_scalar(f"accuracy_{tag}", accuracy, step)
                writer.add_scalar(f"loss_{tag}", value, step)
        writer.close()


def draw(found: np.ndarray, folder: Path) -> None:
    """Scores over decay with bands, a map of test accuracy, curves over steps, and the spread over seeds."""
    x = np.where(np.array(VALUES) == 0, 1e-5, VALUES)
    for name, metric in (("accuracy", 0), ("loss", 1)):
        figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for panel, arm, of_arm in zip(panels, ARMS, found, strict=True):
            for number, part in enumerate(PARTS):
                scores = of_arm[:, :, -1, number, metric]
                mean, half = scores.mean(axis=1), 2 * scores.std(axis=1) / np.sqrt(SEEDS)
                panel.plot(x, mean, label=part)
                panel.fill_between(x, mean - half, mean + half, alpha=0.2)
            panel.set(xscale="log", xlabel=arm, ylabel=name, title=arm)
            panel.legend()
        save(figure, folder / name)
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for panel, arm, of_arm in zip(panels, ARMS, found, strict=True):
        image = panel.imshow(of_arm[:, :, -1, 2, 0], aspect="auto")
        panel.set(xlabel="seed", ylabel=f"value of {arm}", title=arm)
        figure.colorbar(image)
    save(figure, folder / "map")
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for panel, arm, of_arm in zip(panels, ARMS, found, strict=True):
        panel.plot(np.arange(1, EVALUATIONS + 1) * STEPS // EVALUATIONS, of_arm[:, :, :, 2, 0].mean(axis=1).T)
        panel.set(xlabel="step", ylabel="test accuracy", title=arm)
    save(figure, folder / "training")


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG and SVG."""
    for ending in ("png", "svg"):
        figure.savefig(f"{path}.{ending}", dpi=150)
    plt.close(figure)


def main() -> None:
    """Train, write, draw, and say what is best."""
    width, folder = int(sys.argv[1]), Path(sys.argv[2])
    found = train_all(width)
    write(found, folder)
    draw(found, folder)
    for arm, of_arm in zip(ARMS, found[:, :, :, -1].mean(axis=2), strict=True):
        best = of_arm[:, 1, 0].argmax()
        print(f"{arm}: {VALUES[best]:.2g} is best on validation data, test accuracy {of_arm[best, 2, 0]:.3f}")


if __name__ == "__main__":
    main()
