"""What the parts of the benchmark consist of: the peers by name, and which of them does what work."""

from typing import NamedTuple

from scripts.peers.work import Work

AGAIN = "engine, sequential, a second time"  # what it has compiled lies on disk
SEQUENTIAL, VMAPPED = "engine, sequential", "engine, vmapped"
EIGHT = "engine, eight at a time"  # what a run on a CPU tries beside one at a time
BLOCKS = {SEQUENTIAL: 1, AGAIN: 1, EIGHT: 8, VMAPPED: None}  # members of a device at a time; None: all
PLAIN = "engine's step under plain jit(vmap(scan)), one device"
FUNC, FUNC_EAGER = "torch.func ensemble, compiled", "torch.func ensemble, eager"
LOOP, LOOPS, LOOP_COMPILED = "PyTorch loop, two threads", "PyTorch loop, two processes", "PyTorch loop, compiled"
LOOP_EAGER = "PyTorch loop, eager"  # on a GPU
STEPS, SCAN = "flax and optax, a jitted step", "flax and optax, a jitted run"
STEPS_TWICE = "flax and optax, a jitted step, two processes"
KERAS, GRID = "Keras 3 on JAX", "scikit-learn GridSearchCV, two jobs"
FLAX_CONVOLUTION = "engine with flax's convolution"
LIMIT = "best matrix product"
GATED = (SEQUENTIAL, EIGHT, VMAPPED, FUNC, FUNC_EAGER, LOOP, LOOP_EAGER, LOOP_COMPILED, STEPS, SCAN, FLAX_CONVOLUTION)
TWICE = (LOOPS, STEPS_TWICE)  # two processes side by side
JOB_EPOCHS = 20


class Cell(NamedTuple):
    """What is measured in a fresh process."""

    peer: str
    work: Work = Work()
    steps: int = 0  # of a call; the whole job where it is 0


def cells_of(part: str) -> list[Cell]:
    """What a part consists of."""
    if part in ("digits", "synthetic"):
        each, size = {32: 210, 128: 105, 512: 30}, 64 if part == "digits" else 784
        return [Cell(peer, Work("mlp", size, width, members), steps)
                for width, steps in each.items()
                for peer, members in (*((peer, 32) for peer in (SEQUENTIAL, EIGHT, VMAPPED, PLAIN, FUNC, FUNC_EAGER)),
                                      (LOOP, 1), (LOOPS, 1), (STEPS, 1), (SCAN, 1), (KERAS, 1), (GRID, 4))]  # fmt: skip
    if part == "growth":
        many = (1, 4, 16, 32, 64, 256, 1024, 4096)
        sizes = {32: many, 128: many, 512: (1, 4, 16, 64, 256)}
        each = {32: 30_000, 128: 8_000, 512: 800}
        return [Cell(peer, Work("mlp", 64, width, members), max(10, each[width] // members))
                for width, populations in sizes.items()
                for members in populations for peer in (SEQUENTIAL, VMAPPED)]  # fmt: skip
    if part == "jobs":
        peers = (SEQUENTIAL, AGAIN, FUNC, FUNC_EAGER, LOOPS, SCAN, GRID)
        of_width = {32: peers, 128: peers, 512: (SEQUENTIAL, SCAN, LOOPS)}  # the others lose there, by `digits`
        return [Cell(peer, Work("mlp", 64, width, 256)) for width, peers in of_width.items() for peer in peers]
    if part == "convolution":
        return image_cells()
    if part == "transformer":
        return [Cell(peer, Work("transformer", 0, 128, members), 20)
                for peer, members in ((SEQUENTIAL, 16), (VMAPPED, 16), (FUNC, 16),
                                      (LOOP, 1), (LOOPS, 1), (LOOP_COMPILED, 1))]  # fmt: skip
    if part == "language":
        return [Cell(peer, Work("decoder", 128, width, members), steps)
                for width, steps in ((48, 10), (128, 3))
                for peer, members in ((SEQUENTIAL, 16), (VMAPPED, 16), (STEPS, 1), (STEPS_TWICE, 1), (LOOP, 1),
                                      (LOOPS, 1), (LOOP_COMPILED, 1))]  # fmt: skip
    populations = {32: (1024, 262_144), 128: (32, 1024, 65_536), 512: (1024,)}
    each = {32: 4_000_000, 128: 1_000_000, 512: 100_000}
    peers = ((FUNC, 1024), (LOOP_EAGER, 1))
    of_width = {32: peers, 128: (*peers, (FUNC_EAGER, 1024), (LOOP_COMPILED, 1)), 512: peers}
    return [Cell(peer, Work("mlp", 64, width, members), min(200, max(10, each[width] // members)))
            for width, sizes in populations.items()
            for peer, members in (*((VMAPPED, size) for size in sizes), *of_width[width])]  # fmt: skip


def image_cells() -> list[Cell]:
    """Two convolutions on images of three sizes, and a residual net of 20 layers."""
    alone = LOOP, LOOPS, LOOP_COMPILED, STEPS, STEPS_TWICE  # a net at a time
    each = {8: 20, 16: 5, 28: 2}
    small = [Cell(peer, Work("convolution", size, 16, members), steps)
             for size, steps in each.items()
             for peer, members in ((SEQUENTIAL, 16), (VMAPPED, 16), (FLAX_CONVOLUTION, 4),
                                   *((peer, 1) for peer in alone))]  # fmt: skip
    large = [Cell(peer, Work("resnet", 28, 16, members), 2)
             for peer, members in ((SEQUENTIAL, 4), *((peer, 1) for peer in alone))]  # fmt: skip
    return small + large


PARTS = ("digits", "synthetic", "growth", "jobs", "experiment", "convolution", "transformer", "language")
