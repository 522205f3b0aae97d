"""The worlds of the tournament: data with a net, an optimizer and a length of training, none of which a rule chooses.

digits_200    200 digits, a fifth of the labels wrong    a layer of 32, batches of 50
digits_1000   1,000 digits                               the same
mnist         2,000 of 5,000 digits of MNIST, 28x28      a layer of 16
mnist_conv    the same, 14x14 by averages                two convolutions, of 4 and 8 channels
diamonds      prices of 2,000 diamonds                   a layer of 32
cancer        200 tumours, benign or malignant           a layer of 16
ridge         60 examples of a linear function of 100 inputs, with noise of half its size; a linear net
kjv_16k       16,384 characters of the King James Bible  a decoder of one block and width 16, 256 tokens a step
kjv_128k      131,072 of them                            the same
kjv_1m        1,048,576 of them                          the same
topics        65,536 of Python's documentation           the same
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from wd_research.decay.setting import Setting

DATA = Literal["digits_200", "digits_1000", "mnist", "mnist_conv", "diamonds", "cancer", "ridge", "kjv_16k",
               "kjv_128k", "kjv_1m", "topics"]  # fmt: skip
OPTIMIZER = Literal["adamw", "momentum", "muon", "lion"]
SHORTER = 4  # times shorter is a world's twin
WINDOW = 64  # tokens
CORES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamw": wd.cores.adam,
    "momentum": wd.cores.momentum,
    "muon": wd.cores.muon,
    "lion": wd.cores.lion,
}


class World(NamedTuple):
    """What a rule is told before it says a decay."""

    data: DATA
    optimizer: OPTIMIZER
    steps: int

    @property
    def name(self) -> str:
        """`kjv_16k, adamw, 1,200 steps`."""
        return f"{self.data}, {self.optimizer}, {self.steps:,} steps"

    @property
    def folder(self) -> str:
        """`kjv_16k-adamw-1200`."""
        return f"{self.data}-{self.optimizer}-{self.steps}"


LONG = (
    World("digits_200", "adamw", 1_600),
    World("digits_200", "momentum", 1_600),
    World("digits_1000", "adamw", 1_600),
    World("digits_1000", "muon", 1_600),
    World("mnist", "adamw", 1_600),
    World("mnist", "lion", 1_600),
    World("mnist_conv", "adamw", 1_200),
    World("diamonds", "adamw", 1_600),
    World("diamonds", "momentum", 1_600),
    World("cancer", "adamw", 1_600),
    World("ridge", "momentum", 1_600),
    World("kjv_16k", "adamw", 1_200),
    World("kjv_16k", "muon", 1_200),
    World("kjv_128k", "adamw", 1_200),
    World("kjv_128k", "lion", 1_200),
    World("kjv_1m", "adamw", 1_200),
    World("topics", "adamw", 1_200),
)
WORLDS = tuple(twin for world in LONG for twin in (world._replace(steps=world.steps // SHORTER), world))


class Lesson(NamedTuple):
    """Data with a net: what is learned."""

    task: wd.Task
    batch: int  # examples of a step: rows, or windows of a text
    examples: int
    tokens: int  # of an example; 1 of a row
    width: int

    @property
    def parameters(self) -> int:
        """How many numbers the net has."""
        shapes, _ = jax.eval_shape(self.task.init, jax.eval_shape(lambda: jax.random.key(0)))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def of_rows(examples: wd.Examples, net: Any, width: int, train: int, validation: int, noise: float = 0.0) -> Lesson:
    """Rows of a table or images, classes or numbers."""
    learn = wd.classification if np.asarray(examples.targets).dtype.kind == "i" else wd.regression
    batch = min(50, train)
    task = learn(net, examples, lambda seed: wd.draw_split(examples, seed, train, validation, noise), batch)
    return Lesson(task, batch, train, 1, width)


def of_text(text: wd.texts.Text, characters: int) -> Lesson:
    """A text, a character a token."""
    batch, width = 4, 16
    net = wd.Decoder(text.vocabulary, width, depth=1, heads=2)
    task = wd.language(net, text, WINDOW, batch, characters, evaluated=32)
    return Lesson(task, batch, characters // WINDOW, WINDOW, width)


def cancer() -> wd.Examples:
    """Breast cancer: 569 tumours by 30 properties, benign or malignant; f32[569, 30], i32[569].

    Source: Street et al. (1993), inside scikit-learn's wheel.
    """
    from sklearn.datasets import load_breast_cancer  # here, because scikit-learn takes a second to import

    return wd.from_arrays(*load_breast_cancer(return_X_y=True), source="breast cancer")


def halved(images: wd.Examples) -> wd.Examples:
    """Images of half the height and width, by averages over 2x2."""
    inputs = np.asarray(images.inputs)
    number, height, width, channels = inputs.shape
    pooled = inputs.reshape(number, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return images._replace(inputs=pooled)


def ridge() -> wd.Examples:
    """y = <x, u> + noise / 2 with x and u normal, |u| = 1, of which least squares would learn the noise; f32[2060]."""
    rng = np.random.default_rng(0)
    inputs, teacher = rng.normal(size=(2_060, 100)), rng.normal(size=100)
    noise = rng.normal(size=len(inputs)) / 2
    return wd.from_arrays(inputs, inputs @ teacher / np.linalg.norm(teacher) + noise, "ridge")


@cache
def lesson(data: DATA) -> Lesson:
    """What is learned in a world. Raises UserError where the extra `data` is not installed."""
    lessons: Mapping[str, Callable[[], Lesson]] = {
        "digits_200": lambda: of_rows(wd.digits(), wd.Mlp((32,), 10), 32, 200, 400, 0.2),
        "digits_1000": lambda: of_rows(wd.digits(), wd.Mlp((32,), 10), 32, 1_000, 300),
        "mnist": lambda: of_rows(wd.mnist_5k(), wd.Mlp((16,), 10), 16, 2_000, 1_000),
        "mnist_conv": lambda: of_rows(halved(wd.mnist_5k()), wd.ConvolutionalNet((4, 8), 10), 8, 2_000, 1_000),
        "diamonds": lambda: of_rows(wd.diamonds(), wd.Mlp((32,), 1), 32, 2_000, 1_000),
        "cancer": lambda: of_rows(cancer(), wd.Mlp((16,), 2), 16, 200, 150),
        "ridge": lambda: of_rows(ridge(), wd.Mlp((), 1), 100, 60, 1_000),
        "kjv_16k": lambda: of_text(wd.texts.kjv(), 16_384),
        "kjv_128k": lambda: of_text(wd.texts.kjv(), 131_072),
        "kjv_1m": lambda: of_text(wd.texts.kjv(), 1_048_576),
        "topics": lambda: of_text(wd.texts.python_topics(), 65_536),
    }
    return lessons[data]()


def setting_of(world: World, learning_rate: float) -> Setting:
    """The run of a world at a learning rate, as `units` know it: what every rule may ask."""
    of = lesson(world.data)
    optimizer = "momentum" if world.optimizer == "momentum" else "adam"
    return Setting(learning_rate, world.steps, "linear", world.steps // 20, optimizer, of.batch, of.examples, of.width)
