"""How fast is the engine, against every peer at equal work and against the limit of this machine?

    python scripts/bench.py                          # all parts, more than three hours on 2 cores
    python scripts/bench.py digits --processes 3     # one part anew; the page keeps what is known of the others
    python scripts/bench.py gpu                      # on a machine with a GPU

Every figure is of fresh processes in shuffled order. Before anything of a part is timed, a gate lets every peer that
can start from given weights train three members in a given order: after one step every number must agree within 1e-6,
after twenty each array within 1e-4 in the root of its mean square; of the residual net each array within 1e-6 after one
step, and within 1e-4 after five. The limit is the best float32 matrix product in the same part; operations are counted
by hand (scripts/peers/work.py). Writes docs/benchmarks.json, and the tables of docs/benchmarks.md between two marks.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

START = time.time()
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench_cells import (  # noqa: E402
    AGAIN,
    BLOCKS,
    FLAX_CONVOLUTION,
    FUNC,
    FUNC_EAGER,
    GATED,
    JOB_EPOCHS,
    KERAS,
    LIMIT,
    LOOP,
    LOOP_COMPILED,
    LOOP_EAGER,
    LOOPS,
    PARTS,
    PLAIN,
    SCAN,
    STEPS,
    STEPS_TWICE,
    TWICE,
    Cell,
    cells_of,
)
from scripts.peers.work import BATCH, EXAMPLES, Training, Weights, Work, least_bytes, operations  # noqa: E402


def training(cell: Cell, device: str, given: bool = False) -> Training:
    """The peer of a cell, ready to be advanced; only its own libraries are imported."""
    peer, work = cell.peer, cell.work
    length = cell.steps or JOB_EPOCHS * (EXAMPLES // BATCH)
    if peer in (*BLOCKS, PLAIN, FLAX_CONVOLUTION, STEPS, STEPS_TWICE, SCAN):
        from wd_research.training.devices import prepare_jax

        if peer in (*BLOCKS, FLAX_CONVOLUTION):
            prepare_jax()
        from scripts.peers import engine, flax_optax

        if peer == FLAX_CONVOLUTION:
            return engine.train(work, length, 1, given, flax_optax.net_of(work))
        if peer == PLAIN:
            return engine.train_plainly(work, length)
        if peer in BLOCKS:
            return engine.train(work, length, BLOCKS[peer], given)
        return flax_optax.train(work, length, whole=peer == SCAN)
    if peer in (FUNC, FUNC_EAGER):
        from scripts.peers import torch_ensemble

        return torch_ensemble.train(work, compiled=peer == FUNC, device="cuda" if device == "gpu" else "cpu")
    if peer in (LOOP, LOOPS, LOOP_EAGER, LOOP_COMPILED):
        from scripts.peers import torch_loop

        return torch_loop.train(work, 1 if peer == LOOPS else 2, peer == LOOP_COMPILED,
                                "cuda" if device == "gpu" else "cpu")  # fmt: skip
    from scripts.peers import whole_fits

    return whole_fits.train_by_keras(work) if peer == KERAS else whole_fits.train_by_grid_search(work)


def limits(device: str) -> dict[str, Any]:
    """What nothing can be faster than, on all cores.

    The best float32 product of two square matrices, by NumPy or JAX, in operations per second; on a GPU also the bytes
    per second that adding 1 to a gigabyte, many times without waiting in between, reads and writes.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    def quickest(function: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(7):
            begin = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - begin)
        return min(seconds[1:])

    jax.config.update("jax_default_matmul_precision", "float32")
    best = 0.0
    for size in (512, 1024, 2048, 4096) if device == "cpu" else (4096, 8192):
        a = jax.random.normal(jax.random.key(0), (size, size))
        on_host = np.asarray(a)
        best = max(best, 2 * size**3 / quickest(lambda a=a: jnp.matmul(a, a).block_until_ready()))
        if device == "cpu":
            best = max(best, 2 * size**3 / quickest(lambda a=on_host: a @ a))
    if device == "cpu":
        return {"limit": best}
    add, times = jax.jit(lambda x: x + 1, donate_argnums=0), 16

    def add_often() -> None:
        nonlocal many
        for _ in range(times):
            many = add(many)
        many.block_until_ready()

    many = jnp.zeros(2**28)
    return {"limit": best, "bandwidth": times * 2 * many.nbytes / quickest(add_often)}


def measured(cell: Cell, device: str) -> dict[str, Any]:
    """A cell in this process: seconds of import and building, of the first call, and of further calls."""
    if cell.peer == LIMIT:
        return limits(device)
    peer = training(cell, device)
    begin = time.perf_counter()
    seen: dict[str, Any] = {"start": time.time() - START}
    steps = cell.steps or JOB_EPOCHS * (EXAMPLES // BATCH)
    peer.advance(steps)
    seen |= {"first": time.perf_counter() - begin, "seconds": []}
    while cell.steps and (len(seen["seconds"]) < 3 or sum(seen["seconds"]) < 1.5):
        begin = time.perf_counter()
        peer.advance(steps)
        seen["seconds"].append(time.perf_counter() - begin)
    return seen


def last_step(work: Work) -> int:
    """Where the gate ends: after twenty steps of the residual net, rounding to float32 has grown past 1e-4.

    In float64 its peers agree within 1e-15 there.
    """
    return 5 if work.net == "resnet" else 20


def gate(cell: Cell, device: str, path: str) -> None:
    """The weights of three members after one step and after the last, by the peer in this process."""
    import numpy as np

    last = last_step(cell.work)
    peer = training(cell._replace(work=cell.work._replace(members=3), steps=last), device, given=True)
    seen = {}
    for after, steps in ((1, 1), (last, last - 1)):
        for _ in range(steps if cell.peer == SCAN else 1):
            peer.advance(1 if cell.peer == SCAN else steps)
        seen |= {f"{after}:{name}": weight for name, weight in peer.weights().items()}
    np.savez(path, **seen)


def fresh(arguments: Sequence[str], processes: int = 1, **environment: str) -> list[dict[str, Any]]:
    """This script in processes of their own, side by side where there are several; what they print last, as JSON."""
    command = [sys.executable, __file__, *arguments]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
               for _ in range(processes)]  # fmt: skip
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"failed: {' '.join(command)}")
    return [json.loads(text.splitlines()[-1]) for text in printed]


def check_equal_work(cells: Sequence[Cell], device: str) -> dict[str, float]:
    """Raise SystemExit unless all peers do the same; the largest differences after one step and after the last."""
    import joblib

    worst = {"1": 0.0, "20": 0.0}
    kinds = dict.fromkeys((cell.peer, cell.work._replace(members=0)) for cell in cells if cell.peer in GATED)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(joblib.cpu_count()) as threads:
        started = [(peer, work, threads.submit(gated, peer, work, device, folder)) for peer, work in kinds]
        references: dict[Work, Weights] = {}
        for peer, work, weights in started:
            mine = weights.result()
            theirs = references.setdefault(work, mine)
            for which, after, most in (("1", 1, 1e-6), ("20", last_step(work), 1e-4)):
                difference = largest_difference(mine, theirs, after, work.net == "resnet")
                worst[which] = max(worst[which], difference)
                if not difference <= most:
                    raise SystemExit(f"unequal work: {peer}, {work}: {difference:.1e} after {after} step(s)")
    return worst


def gated(peer: str, work: Work, device: str, folder: str) -> Weights:
    """The weights that a peer has after one step and after the last, by a process of its own."""
    import numpy as np

    path = f"{folder}/{peer} {work}.npz"
    cell = json.dumps([peer, work])
    # Several processes share the machine here: none may take a GPU's memory in advance, or spin where it waits.
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "OMP_WAIT_POLICY": "passive"}
    fresh(["--cell", cell, "--device", device, "--gate", path], 1, **shared)
    return dict(np.load(path))


def largest_difference(mine: Weights, theirs: Weights, after: int, many_units: bool) -> float:
    """Over all weights after one step, over the roots of the arrays' mean squares after more or with `many_units`.

    In twenty steps, or among ten million units in one, some come so near their kinks that rounding decides: no single
    weight may decide there.
    """
    import numpy as np

    of_array = np.max if after == 1 and not many_units else lambda difference: np.sqrt(np.mean(difference**2))
    names = [name for name in theirs if name.startswith(f"{after}:")]
    return max(float(of_array(np.abs(theirs[name] - mine[name]))) for name in names)


def measure(part: str, rounds: int, device: str) -> Iterator[dict[str, Any]]:
    """The gate, then every cell once a round in a process of its own, shuffled; what is known after each round."""
    cells = cells_of(part)
    equal = check_equal_work(cells, device)
    print(f"{part}: equal work, largest differences {equal}", file=sys.stderr, flush=True)
    seen: dict[Cell, list[list[dict[str, Any]]]] = {cell: [] for cell in [*cells, Cell(LIMIT)]}
    for number in range(1, rounds + 1):
        for cell in random.Random(number).sample(list(seen), len(seen)):
            seen[cell].append(of_processes(cell, device))
            print(f"{number}/{rounds} {cell.peer} {tuple(cell.work)} {seen[cell][-1][0]['wall']:.1f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
        limit, *_ = zip(*seen[Cell(LIMIT)], strict=True)
        best = {name: median(one[name] for one in limit) for name in ("limit", "bandwidth") if name in limit[0]}
        yield {**surroundings(device), "processes": number, "gate": equal, **best,
               "cells": [summary(cell, seen[cell]) for cell in cells]}  # fmt: skip


def of_processes(cell: Cell, device: str) -> list[dict[str, Any]]:
    """What a cell's process says, or its two side by side; how long it took is `wall`."""
    side_by_side = 2 if cell.peer in TWICE else 1
    share = cell.work if cell.steps else cell.work._replace(members=cell.work.members // side_by_side)
    arguments = ["--cell", json.dumps(cell._replace(work=share)), "--device", device]
    with tempfile.TemporaryDirectory() as empty:
        # A whole job begins with nothing compiled.
        whole = not cell.steps and cell.peer != LIMIT
        caches = {"XDG_CACHE_HOME": empty, "TORCHINDUCTOR_CACHE_DIR": empty} if whole else {}
        if cell.peer == AGAIN:
            fresh(arguments, 1, **caches)
        begin = time.perf_counter()
        runs = fresh(arguments, side_by_side, **caches)
        wall = time.perf_counter() - begin
    return [run | {"wall": wall} for run in runs]


def summary(cell: Cell, processes: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """A cell's figures over its processes: medians, and the rates from the lowest to the highest."""
    row = {"peer": cell.peer, **cell.work._asdict(), "operations": operations(cell.work)}
    row["bytes"] = least_bytes(cell.work)
    for name in ("start", "first", "wall"):
        row[name] = median(run[name] for runs in processes for run in runs)
    if cell.steps:
        done = cell.work.members * cell.steps
        row["rates"] = sorted(sum(done / median(run["seconds"]) for run in runs) for runs in processes)
    else:
        row["walls"] = sorted(run["wall"] for runs in processes for run in runs)
    return row


def surroundings(device: str) -> dict[str, Any]:
    """Where and when."""
    import platform
    from datetime import date
    from importlib.metadata import distributions

    import joblib

    installed = {distribution.name: distribution.version for distribution in distributions()}
    known = {name: installed[name] for name in ("jax", "torch", "scikit-learn", "keras") if name in installed}
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    if device == "gpu":
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        device = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {"date": str(date.today()), "device": device, "cpu": cpu, "cores": joblib.cpu_count(),
            "python": platform.python_version(), **known}  # fmt: skip


def main() -> None:
    """Measure the parts asked for, and write the page after every round; or, started by itself, one cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}, gpu; all but gpu without")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes per cell")
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"), help=argparse.SUPPRESS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--gate", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.cell:
        peer, work, *steps = json.loads(flags.cell)
        cell = Cell(peer, Work(*work), *steps)
        print(json.dumps(gate(cell, flags.device, flags.gate) if flags.gate else measured(cell, flags.device)))
        return
    wrong = set(flags.parts) - {*PARTS, "gpu"}
    if wrong:
        parser.error(f"no part is called {', '.join(sorted(wrong))}: choose among {', '.join(PARTS)}, gpu")
    from scripts.bench_page import write
    from scripts.bench_picture import draw

    known = ROOT / "docs" / "benchmarks.json"
    parts = json.loads(known.read_text()) if known.exists() else {}
    for part in flags.parts or PARTS:
        for seen in measured_part(part, flags.processes):
            parts[part] = seen
            known.write_text(json.dumps(parts, indent=1) + "\n")
            write(ROOT / "docs" / "benchmarks.md", parts)
            draw(parts, ROOT / "docs" / "benchmarks.png")


def measured_part(part: str, rounds: int) -> Iterator[dict[str, Any]]:
    """What is known of a part, the more the later."""
    if part != "experiment":
        yield from measure(part, rounds, "gpu" if part == "gpu" else "cpu")
        return
    from scripts import bench_experiment

    yield {**surroundings("cpu"), "processes": rounds, "runs": bench_experiment.measure(rounds)}


if __name__ == "__main__":
    main()
