"""How much faster is the engine than a plain jit(vmap(scan)) on one device, at equal work?

    python scripts/bench.py                    # some two minutes on 2 cores
    python scripts/bench.py --processes 3 --width 32

32 members (one seed, 32 decays) of a digits MLP 64-W-W-10, batch 64, AdamW with a cosine, float32. Every measurement is
a fresh process, in shuffled order; first a gate: after 20 steps both must have the same weights to 1e-4. The limit is
the best plain matrix product of this machine, measured in the same run. Operations are counted by hand: 4 b i o for the
first layer (no gradient for its inputs), 6 b i o for the others.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tyro

MEMBERS, BATCH, STEPS, REPEATS = 32, 64, 200, 5
CELLS = ("engine, one by one", "engine, together", "plain jit(vmap(scan)), one device", "matrix product, both cores")


@dataclass(frozen=True)
class Flags:
    """How to measure."""

    processes: int = 5
    """Fresh processes per cell."""
    width: int = 128
    """Units of each of the two hidden layers."""
    cell: str = ""
    """Measure only this cell, in this process, and print it as JSON."""


class Hypers(NamedTuple):
    """A member's numbers."""

    learning_rate: Any
    decay: Any


def world(width: int):
    """The arm that both sides train: the task, its chain, 32 decays."""
    import optax
    from sklearn.datasets import load_digits

    from wd_research.decay.places import decoupled
    from wd_research.decay.transforms import decay_weights
    from wd_research.search import grid
    from wd_research.training.data import Examples, draw_split
    from wd_research.training.models import Mlp
    from wd_research.training.tasks import classification
    from wd_research.types import Arm

    inputs, targets = (np.asarray(part) for part in load_digits(return_X_y=True))
    examples = Examples(inputs.astype(np.float32), targets.astype(np.int32))
    split = partial(draw_split, examples, train_size=1000, validation_size=400, flipped=0.0)
    task = classification(Mlp((width, width), classes=10), examples, split, BATCH)
    cosine = optax.cosine_decay_schedule(1.0, 10_000)

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        return decoupled(optax.scale_by_adam(), decay_weights(hypers.decay), hypers.learning_rate, cosine)

    points = grid(Hypers, learning_rate=(1e-3,), decay=tuple(np.linspace(0, 1, MEMBERS)))
    return Arm(task, task.loss, optimizer, points, axis="decay"), cosine


def engine(width: int, block: int | None) -> dict[str, Any]:
    """Our engine on all cores, `block` points of a device at a time."""
    from wd_research.training.devices import prepare_jax

    prepare_jax()
    import jax

    from wd_research.training.population import all_devices, fetch, jitted, place

    arm, _ = world(width)
    mesh = all_devices()
    inputs = place(arm, 1, mesh, block)
    init, advance, _ = jitted(arm, mesh, block)
    gate = fetch(advance(init(inputs), inputs, np.int32(0), steps=20)[0].state.params, arm)
    members, clock = init(inputs), 0
    seconds = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        members = jax.block_until_ready(advance(members, inputs, np.int32(clock), steps=STEPS)[0])
        seconds.append(time.perf_counter() - begin)
        clock += STEPS
    return {"gate": checksum(jax.tree.map(lambda leaf: leaf[0], gate)), "seconds": seconds[1:], "first": seconds[0]}


def plain(width: int) -> dict[str, Any]:
    """What one writes without us: flax, optax.adamw, a scan over steps, vmap over decays, jit; JAX as it comes."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    class PlainMlp(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            first = nn.relu(nn.Dense(width)(inputs))
            second = nn.relu(nn.Dense(width)(first))
            return nn.Dense(10)(second)

    model, (arm, cosine) = PlainMlp(), world(width)
    split = arm.task.split(0)
    data = (np.asarray(arm.task.data.inputs)[split.train] - split.mean) * split.scale
    data, targets = jnp.asarray(data), jnp.asarray(split.train_targets)
    key = jax.random.key(0)

    def loss(params, inputs, targets):
        logits: Any = model.apply({"params": params}, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def make(hypers):
        schedule = lambda count: hypers.learning_rate * cosine(count)  # noqa: E731
        matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731
        return optax.adamw(schedule, weight_decay=hypers.decay, mask=matrices)

    def start(hypers):
        params, _ = arm.task.init(jax.random.fold_in(key, 0))
        return params, make(hypers).init(params)

    def train(hypers, state, data, targets, order):
        def step(state, indices):
            params, opt_state = state
            gradients = jax.grad(loss)(params, data[indices], targets[indices])
            updates, opt_state = make(hypers).update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, state, order)[0]

    population = jax.jit(jax.vmap(train, in_axes=(0, 0, None, None, None)), donate_argnums=1)
    order = lambda first, steps: arm.task.order(jax.random.fold_in(key, 1), jnp.int32(first), steps)  # noqa: E731
    gate = population(arm.points, jax.vmap(start)(arm.points), data, targets, order(0, 20))[0]
    state, clock = jax.vmap(start)(arm.points), 0
    seconds = []
    for _ in range(REPEATS + 1):
        examples = jax.block_until_ready(order(clock, STEPS))
        begin = time.perf_counter()
        state = jax.block_until_ready(population(arm.points, state, data, targets, examples))
        seconds.append(time.perf_counter() - begin)
        clock += STEPS
    return {"gate": checksum(gate), "seconds": seconds[1:], "first": seconds[0]}


def checksum(params) -> list[float]:
    """Root mean square of every leaf of every member."""
    import jax

    rows = [np.square(leaf).reshape(MEMBERS, -1).mean(axis=1) for leaf in jax.tree.leaves(params)]
    return np.sqrt(np.concatenate(rows)).astype(float).tolist()


def matrix_product() -> dict[str, Any]:
    """The best float32 product of two square matrices, in operations per second."""
    import jax
    import jax.numpy as jnp

    best = 0.0
    for size in (512, 1024, 2048):
        a = jax.random.normal(jax.random.key(0), (size, size))
        product = jax.jit(jnp.matmul)
        product(a, a).block_until_ready()
        for _ in range(10):
            begin = time.perf_counter()
            product(a, a).block_until_ready()
            best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return {"operations": best}


def measure(cell: str, width: int) -> dict[str, Any]:
    """One cell, in this process."""
    if cell == CELLS[3]:
        return matrix_product()
    return plain(width) if cell == CELLS[2] else engine(width, 1 if cell == CELLS[0] else None)


def fresh(cell: str, width: int) -> dict[str, Any]:
    """One cell, in a process of its own."""
    command = [sys.executable, __file__, "--cell", cell, "--width", str(width)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    """Measure every cell and print a table in Markdown."""
    flags = tyro.cli(Flags, description=__doc__)
    if flags.cell:
        print(json.dumps(measure(flags.cell, flags.width)))
        return
    cells = [cell for cell in CELLS for _ in range(flags.processes)]
    random.Random(0).shuffle(cells)
    seen: dict[str, list[dict[str, Any]]] = {cell: [] for cell in CELLS}
    for number, cell in enumerate(cells, 1):
        print(f"{number}/{len(cells)} {cell}", file=sys.stderr)
        seen[cell].append(fresh(cell, flags.width))
    for cell in CELLS[:2]:
        np.testing.assert_allclose(seen[cell][0]["gate"], seen[CELLS[2]][0]["gate"], rtol=1e-4, err_msg="unequal work")
    report(seen, flags.width)


def report(seen: dict[str, list[dict[str, Any]]], width: int) -> None:
    """Median over processes of each process's median, with the lowest and the highest; ratios to the plain cell."""
    import jax

    operations = 4 * BATCH * 64 * width + 6 * BATCH * width * (width + 10)
    limit = statistics.median(run["operations"] for run in seen[CELLS[3]])
    rates = {
        cell: sorted(MEMBERS * STEPS / statistics.median(run["seconds"]) for run in seen[cell]) for cell in CELLS[:3]
    }
    base = statistics.median(rates[CELLS[2]])
    print(f"\njax {jax.__version__}, Python {sys.version.split()[0]}, width {width}, {len(rates[CELLS[0]])} processes;")
    print(f"limit {limit / 1e9:.0f} GFLOP/s\n")
    print("| cell | member-steps/s, median [lowest, highest] | against plain | share of the limit | first segment, s |")
    print("|---|---|---|---|---|")
    for cell, values in rates.items():
        middle, first = statistics.median(values), statistics.median(run["first"] for run in seen[cell])
        print(f"| {cell} | {middle:,.0f} [{values[0]:,.0f}, {values[-1]:,.0f}] | {middle / base:.2f} | "
              f"{middle * operations / limit:.2f} | {first:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
