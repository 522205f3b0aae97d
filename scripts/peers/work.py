"""The work of a benchmark, in NumPy alone: net, data, first weights, order of the batches, numbers of the members.

Every peer gets the same arrays. A net is a list of named weights in flax's layout: matrices f32[in, out], kernels of
convolutions f32[rows, columns, in, out].
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Epsilon is larger than usual: with 1e-8, Adam's first step takes the sign of gradients that are nothing but rounding.
BATCH, LEARNING_RATE, BETA1, BETA2, EPSILON = 64, 1e-3, 0.9, 0.999, 1e-5
EXAMPLES = 1_000  # of training: 15 whole batches an epoch
CLASSES = 10
LONGEST = 10_000  # steps in the order of the batches, after which it begins anew
VOCABULARY = 68  # characters of the text that the decoder reads, 1,024 a step
TOKENS = 1_024
MODULUS = 59  # of the addition that the transformer learns: its tokens are the numbers and one sign for "="
HEADS = 4
IMAGES = ("convolution", "resnet")  # the nets that see images
BLOCKS, GROUPS = 3, 4  # of a stage of the residual net; of the channels that its norms are over

Weights = dict[str, np.ndarray]


class Work(NamedTuple):
    """One cell's work: `members` nets, which differ in their decay alone."""

    net: str = "mlp"  # or "convolution" or "resnet" or "transformer" or "decoder"
    size: int = 64  # inputs of the mlp, pixels a side of the images, tokens of a window; the transformer has none
    width: int = 128  # units, channels of the first convolution, or numbers a token
    members: int = 32

    @property
    def batch(self) -> int:
        """Examples of a step."""
        return TOKENS // self.size if self.net == "decoder" else BATCH

    @property
    def depth(self) -> int:
        """Blocks of the decoder: two in the small one, four in the large one."""
        return 2 if self.width < 100 else 4

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of the residual net: twice as many wherever the sides of the images halve."""
        return self.width, 2 * self.width, 4 * self.width

    @property
    def decays(self) -> np.ndarray:
        """The members' decoupled decay f32[members], on matrices and kernels."""
        return np.linspace(0, 1, self.members, dtype=np.float32)


class Training(NamedTuple):
    """A peer at work: `advance(steps)` returns when so many steps more of `members` members are done."""

    members: int  # that go through a step together; the others wait for their turn
    advance: Callable[[int], None]
    weights: Callable[[], Weights]  # now, each f32[members, ...]


def shapes(work: Work) -> dict[str, tuple[int, ...]]:
    """The weights of the net by name."""
    width = work.width
    if work.net == "mlp":
        layers = [(work.size, width), (width, width), (width, CLASSES)]
        return {f"Dense_{i}/{name}": shape for i, (a, b) in enumerate(layers)
                for name, shape in (("kernel", (a, b)), ("bias", (b,)))}  # fmt: skip
    if work.net == "convolution":
        return {
            "Convolution_0/kernel": (3, 3, 1, width), "Convolution_0/bias": (width,),
            "Convolution_1/kernel": (3, 3, width, 2 * width), "Convolution_1/bias": (2 * width,),
            "Dense_0/kernel": (2 * width, CLASSES), "Dense_0/bias": (CLASSES,),
        }  # fmt: skip
    if work.net == "resnet":
        return residual_shapes(work)
    if work.net == "decoder":
        gains = {f"block_{i}_{part}_norm/scale": (width,) for i in range(work.depth) for part in ("attention", "mlp")}
        squares = {f"block_{i}_{part}/kernel": (width, width)
                   for i in range(work.depth) for part in ("query", "key", "value", "out")}  # fmt: skip
        hidden = {f"block_{i}_{part}/kernel": shape for i in range(work.depth)
                  for part, shape in (("up", (width, 4 * width)), ("down", (4 * width, width)))}  # fmt: skip
        return {"embedding": (VOCABULARY, width), **gains, **squares, **hidden, "norm/scale": (width,),
                "head/kernel": (width, VOCABULARY)}  # fmt: skip
    projections = {f"{name}/kernel": (width, width) for name in ("query", "key", "value", "out")}
    return {
        "embedding": (MODULUS + 1, width), "position": (3, width), **projections,
        "up/kernel": (width, 4 * width), "up/bias": (4 * width,),
        "down/kernel": (4 * width, width), "down/bias": (width,),
        "unembedding/kernel": (width, MODULUS),
    }  # fmt: skip


def residual_shapes(work: Work) -> dict[str, tuple[int, ...]]:
    """The weights of the residual net: every convolution with its norm but those of 1x1, and the head."""
    kernels, norms = {"convolution": (3, 3, 1, work.width)}, {"norm": work.width}
    before = work.width
    for stage, width in enumerate(work.stages):
        for number in range(BLOCKS):
            name = f"block_{stage}_{number}"
            kernels |= {f"{name}_in": (3, 3, before, width), f"{name}_out": (3, 3, width, width)}
            kernels |= {f"{name}_along": (1, 1, before, width)} if before != width else {}
            norms |= {f"{name}_in_norm": width, f"{name}_out_norm": width}
            before = width
    layers = {**kernels, "head": (before, CLASSES)}
    return {
        **{f"{name}/kernel": shape for name, shape in layers.items()},
        **{f"{name}/bias": shape[-1:] for name, shape in layers.items()},
        **{f"{name}/{part}": (width,) for name, width in norms.items() for part in ("scale", "bias")},
    }


def first_weights(work: Work) -> Weights:
    """Normal with variance 1 / inputs, biases small and not zero so that no two entries are alike."""
    draw = np.random.default_rng(0).standard_normal
    return {name: (draw(shape) / np.sqrt(np.prod(shape[:-1]) if len(shape) > 1 else 100)).astype(np.float32)
            for name, shape in shapes(work).items()}  # fmt: skip


def examples(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """The training examples: f32[n, size] or f32[n, size, size, 1] or i32[n, 3], and targets i32[n]; or windows of a
    text, i32[n, size], and what follows each of their tokens.
    """
    rng = np.random.default_rng(1)
    if work.net == "decoder":
        text = rng.integers(0, VOCABULARY, (EXAMPLES, work.size + 1), dtype=np.int32)
        return text[:, :-1], text[:, 1:]
    if work.net == "transformer":
        chosen = rng.permutation(MODULUS**2)[:EXAMPLES]
        pairs = np.stack([chosen // MODULUS, chosen % MODULUS, np.full(EXAMPLES, MODULUS)], 1)
        return pairs.astype(np.int32), (pairs[:, :2].sum(1) % MODULUS).astype(np.int32)
    numbers = work.size**2 if work.net in IMAGES else work.size
    if numbers == 64:
        from sklearn.datasets import load_digits

        inputs, targets = (np.asarray(part)[:EXAMPLES] for part in load_digits(return_X_y=True))
    else:
        inputs = rng.standard_normal((EXAMPLES, numbers))
        targets = (inputs @ rng.standard_normal((numbers, CLASSES))).argmax(1)
    inputs = ((inputs - inputs.mean()) / inputs.std()).astype(np.float32)
    if work.net in IMAGES:
        inputs = inputs.reshape(EXAMPLES, work.size, work.size, 1)
    return inputs, targets.astype(np.int32)


def batches(work: Work) -> np.ndarray:
    """The examples of each step: i32[10_000, b], epochs of whole batches each in an order of its own."""
    rng, per_epoch = np.random.default_rng(2), EXAMPLES // work.batch
    epochs = [rng.permutation(EXAMPLES)[: per_epoch * work.batch] for _ in range(-(-LONGEST // per_epoch))]
    return np.concatenate(epochs).reshape(-1, work.batch)[:LONGEST].astype(np.int32)


def further(clock: int, steps: int) -> int:
    """The clock after so many steps more, or back at 0 where as many again would run over the end of the order."""
    return clock + steps if clock + 2 * steps <= LONGEST else 0


def operations(work: Work) -> float:
    """Floating point operations of a member-step in matrix products and convolutions, counted by hand.

    Forward 2 b i o, backward twice that but for the first layer, whose inputs need no gradient. Lookups count nothing.
    """
    rows = BATCH
    if work.net == "mlp":
        return rows * (4 * work.size * work.width + 6 * work.width * (work.width + CLASSES))
    if work.net == "convolution":
        pixels, width = work.size**2, work.width
        first, second = 4 * pixels * 9 * width, 6 * pixels / 4 * 9 * width * 2 * width
        return rows * (first + second + 6 * 2 * width * CLASSES)
    if work.net == "resnet":
        return rows * residual_operations(work)
    width = work.width
    if work.net == "decoder":  # attention counts as if every token saw every token, which all peers compute
        of_block = 6 * 12 * width**2 + 6 * 2 * work.size * width
        return TOKENS * (work.depth * of_block + 6 * width * VOCABULARY)
    tokens = 3
    of_tokens = 6 * tokens * (4 * width * width + 8 * width * width) + 6 * 2 * tokens * tokens * width
    return rows * (of_tokens + 6 * width * MODULUS)


def residual_operations(work: Work) -> float:
    """Of one example: a first convolution, then stages whose convolutions go from as many channels to as many, but the
    first of the later ones, which goes from half as many, beside one of 1x1.
    """
    first = 4 * work.size**2 * 9 * work.width
    inner = 6 * work.size**2 * 2 * BLOCKS * 9 * work.width**2
    later = sum(6 * work.size**2 / 4**stage * ((2 * BLOCKS - 0.5) * 9 + 0.5) * width**2
                for stage, width in enumerate(work.stages) if stage)  # fmt: skip
    return first + inner + later + 6 * work.stages[-1] * CLASSES


def least_bytes(work: Work) -> int:
    """What a member-step must move at least: each weight, its two moments and its gradient once, in float32."""
    return 16 * sum(math.prod(shape) for shape in shapes(work).values())
