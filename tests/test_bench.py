"""The benchmark counts right, writes what it measured and nothing else, and its peers do equal work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scripts import bench, bench_cells, bench_experiment, bench_page, bench_picture
from scripts.peers import engine, flax_optax
from scripts.peers.work import IMAGES, Work, examples, first_weights, least_bytes, operations, shapes
from wd_research.types import Batch


@pytest.mark.parametrize(
    "work",
    [Work("mlp", 64, 128), Work("convolution", 28, 16), Work("resnet", 28, 16), Work("transformer", 0, 128),
     Work("decoder", 128, 128)],
)  # fmt: skip
def test_operations_counted_by_hand_are_what_xla_counts(work):
    """In products and convolutions; XLA counts elementwise work too, the loss, and lookups as products.

    Of flax's convolutions, as the engine's own multiply zeros; XLA counts nothing of their margins, which are small
    where images are large.
    """
    arm = engine.arm_of(work, net=flax_optax.net_of(work) if work.net in IMAGES else None)
    inputs, targets = (jnp.asarray(part[: work.batch]) for part in examples(work))
    params = jax.eval_shape(lambda key: arm.task.init(key)[0], jax.random.key(0))
    loss = lambda params: arm.minimised(None)(params, {}, Batch(inputs, targets), jax.random.key(0))[0]
    counted = jax.jit(jax.grad(loss)).lower(params).compile().cost_analysis()["flops"]
    # one-hot products, no gradient of tokens
    lookups = {"transformer": 4 * 64 * 3 * 60 * 128, "decoder": 4 * 1024 * 68 * 128}.get(work.net, 0)
    assert operations(work) + lookups == pytest.approx(counted, rel=0.12)


@pytest.mark.parametrize(
    "work",
    [Work("mlp", 784, 32), Work("convolution", 16, 16), Work("resnet", 28, 16), Work("transformer", 0, 128),
     Work("decoder", 128, 48)],
)  # fmt: skip
def test_the_weights_given_are_those_of_the_net(work):
    params, _ = jax.eval_shape(engine.arm_of(work).task.init, jax.random.key(0))
    assert {name: leaf.shape for name, leaf in engine.flat(params).items()} == shapes(work)
    assert all(np.abs(weight).min() > 0 for weight in first_weights(work).values())


def logits_of_the_engine(work):
    inputs, _ = examples(work)
    params = engine.nested(first_weights(work))
    return np.asarray(engine.net_of(work).apply({"params": params}, jnp.asarray(inputs[:4])))


# sides of 12 halve twice, those of 14 once
NETS = [Work("mlp", 64, 32), Work("convolution", 12, 8), Work("resnet", 12, 8), Work("resnet", 14, 8),
        Work("decoder", 16, 32)]  # fmt: skip


@pytest.mark.parametrize("work", NETS)
def test_a_net_of_flax_computes_what_the_engines_does(work):
    inputs, _ = examples(work)
    params = engine.nested(first_weights(work))
    mine = flax_optax.net_of(work).apply({"params": params}, jnp.asarray(inputs[:4]))
    np.testing.assert_allclose(mine, logits_of_the_engine(work), atol=1e-5)


@pytest.mark.parametrize("work", [*NETS, Work("transformer", 0, 32)])
def test_a_net_of_pytorch_computes_what_the_engines_does(work):
    pytest.importorskip("torch")
    from scripts.peers import torch_nets

    inputs, _ = torch_nets.examples(work)
    mine = torch_nets.NETS[work.net](torch_nets.tensors(work), inputs[:4])
    np.testing.assert_allclose(mine.numpy(), logits_of_the_engine(work), atol=1e-5)


def test_peers_of_pytorch_train_as_the_engine_does():
    pytest.importorskip("torch")
    from scripts.peers import torch_ensemble, torch_loop

    work = Work("mlp", 64, 32, 3)
    ours = engine.train(work, 3, 1, given=True)
    ours.advance(3)
    for theirs in (torch_loop.train(work, 1, False, "cpu"), torch_ensemble.train(work, compiled=False, device="cpu")):
        theirs.advance(3)
        for name, weight in theirs.weights().items():
            np.testing.assert_allclose(weight, ours.weights()[name], atol=1e-4)


@pytest.mark.parametrize("kind", ["convolution", "transformer", "decoder"])
def test_nets_of_any_kind_train_the_same_vmapped_and_sequentially(kind):
    work, weights = Work(kind, 8, 32, 4), []
    for block in (1, None):
        training = engine.train(work, 3, block, given=True)
        training.advance(3)
        weights.append(training.weights())
    for name, weight in weights[0].items():
        np.testing.assert_allclose(weight, weights[1][name], atol=1e-4)


def test_the_page_keeps_what_stands_around_the_tables(tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n\n{bench_page.BEGIN}\nold\n{bench_page.END}\n\nafter\n")
    row = {"net": "mlp", "size": 64, "width": 32, "members": 32, "operations": 1e6, "start": 1.0, "first": 2.0}
    cells = [
        {**row, "peer": bench_cells.SEQUENTIAL, "rates": [90e3, 100e3, 110e3]},
        {**row, "peer": bench_cells.FUNC, "rates": [50e3] * 3},
    ]
    seen = {"cells": cells, "limit": 200e9, "gate": {"1": 1e-7, "20": 1e-5}, "processes": 3, "date": "2026-01-01",
            "device": "cpu", "cpu": "a processor", "cores": 2, "python": "3.11", "jax": "1", "torch": "2",
            "scikit-learn": "3", "keras": "4"}  # fmt: skip
    bench_page.write(page, {"digits": seen})
    bench_page.write(page, {"digits": seen})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| engine, sequential | 32 | 100,000 [90,000, 110,000] | 1.00 | 0.50 | 1.0 | 2.0 |") == 1
    assert "| torch.func ensemble, compiled | 32 | 50,000 [50,000, 50,000] | 2.00 | 0.25 |" in text


def test_the_page_of_a_gpu_has_the_floor_of_bytes(tmp_path):
    work = Work("mlp", 64, 32, 1024)
    row = {**work._asdict(), "operations": 1e6, "bytes": least_bytes(work), "start": 1.0, "first": 2.0}
    seen = {"cells": [{**row, "peer": bench_cells.VMAPPED, "rates": [1e6] * 3}], "limit": 50e12, "bandwidth": 3e12,
            "gate": {"1": 1e-7, "20": 1e-5}, "processes": 3, "date": "2026-01-01", "device": "a GPU", "cpu": "some",
            "cores": 2, "python": "3.12", "jax": "1"}  # fmt: skip
    page = tmp_path / "benchmarks.md"
    page.write_text(f"{bench_page.BEGIN}\n{bench_page.END}\n")
    bench_page.write(page, {"gpu": seen})
    weights = 64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    assert f"| 1.00 | 0.02 | {1e6 * 16 * weights / 3e12:.2f} | 1.0 | 2.0 |" in page.read_text()
    assert "Limit 50,000 GFLOP/s, 3,000 GB/s; products in float32." in page.read_text()


def test_blocks_are_compared_within_a_round():
    """The machine is half as fast in the second round, which says nothing of the blocks."""

    def rounds(block, seconds):
        spent = dict.fromkeys(("import", "audit", "evaluate", "write", "conclude"), 1.0)
        return [{"whole": 2 * s, "seconds": {**spent, "compile": 1.0, "train": s - 1}, "block": block} for s in seconds]

    auto, one = rounds("vmapped", (10.0, 20.0)), rounds("sequential", (11.0, 22.0))
    run = next(run for run in bench_experiment.RUNS if run.auto and "sequential" in run.flags)
    seen = bench_experiment.summary(run, one, auto)
    assert seen["over_auto"] == pytest.approx([1.1, 1.1])
    cells = [run.name, "33.0 [22.0, 44.0]", "1.0", "1.0", "1.0", "15.5", "1.0", "1.0", "1.0", "1.10 [1.10, 1.10]"]
    assert bench_page.experiment([seen])[-1] == f"| {' | '.join(cells)} | sequential |"


@pytest.mark.slow
def test_peers_do_equal_work_and_unequal_work_is_refused():
    peers = bench_cells.SEQUENTIAL, bench_cells.EIGHT, bench_cells.VMAPPED, bench_cells.SCAN
    cells = [bench_cells.Cell(peer, Work("mlp", 64, 32), 10) for peer in peers]
    worst = bench.check_equal_work(cells, "cpu")
    assert worst["1"] <= 1e-6
    assert worst["20"] <= 1e-4


@pytest.mark.slow
def test_the_residual_net_decays_alike_in_the_engine_and_in_optax():
    cells = [bench_cells.Cell(peer, Work("resnet", 12, 8), 10) for peer in (bench_cells.SEQUENTIAL, bench_cells.STEPS)]
    assert bench.check_equal_work(cells, "cpu")["1"] <= 1e-6


def row(peer, width, rates, net="mlp"):
    return {"peer": peer, "net": net, "size": 64, "width": width, "members": 1, "rates": rates}


def test_the_picture_compares_the_best_block_with_the_fastest_peer_of_a_kind(tmp_path):
    rows = [row("engine, sequential", 32, [9, 10, 11]), row("engine, vmapped", 32, [2, 3, 4]),
            row("PyTorch loop, two threads", 32, [1, 2, 3]), row("PyTorch loop, compiled", 32, [4, 5, 6]),
            row("flax and optax, a jitted run", 32, [19, 20, 21])]  # fmt: skip
    loop, plain = bench_picture.against(rows, "digits")
    assert loop == ("PyTorch loop", 2.0, 9 / 6, 11 / 4)
    assert plain == ("flax and optax", 0.5, 9 / 21, 11 / 19)
    bench_picture.draw({"digits": {"cells": rows}}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_nets_on_images_of_one_size_are_apart_in_the_picture():
    rows = [row(peer, 16, [rate], net) for net, rates in (("convolution", (4, 2)), ("resnet", (3, 1)))
            for peer, rate in zip(("engine, sequential", "PyTorch loop, compiled"), rates, strict=True)]  # fmt: skip
    seen = bench_picture.nets({"convolution": {"cells": rows}})
    assert {label: found[0].ratio for label, found in seen.items()} == {
        "64x64 images, convolution": 2,
        "64x64 images, resnet": 3,
    }


def test_every_part_with_peers_is_in_the_picture():
    assert {*bench_picture.NETS, "growth", "experiment"} == {*bench.PARTS, "gpu"}
