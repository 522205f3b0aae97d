"""A small residual net on images, whose norms are those that decay is argued about."""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn

from wd_research.flags import UserError, counts
from wd_research.training.models import Convolution, dense, halved
from wd_research.types import Array

GROUPS = 4


class ResNet(nn.Module):
    """Images f32[b, y, x, i] come in, logits f32[b, classes] come out.

    A convolution of 3x3, then for each number of channels `blocks` residual blocks of two convolutions, each followed
    by its norm; the sides halve from one number of channels to the next, by means over 2x2, where they are even. The
    norm "batch" is over the batch in training and by running means behind it, "group" over four groups of channels of
    one example, "none" is none.

    Sources: He et al. (1512.03385), figure 2; Ioffe & Szegedy (1502.03167); Wu & He (1803.08494).

    Raises UserError, before anything is computed, where there are no channels, or they make no groups.
    """

    channels: Sequence[int]
    classes: int
    blocks: int = 1
    norm: Literal["batch", "group", "none"] = "batch"

    def __post_init__(self) -> None:
        counts(classes=self.classes, blocks=self.blocks)
        if not self.channels:
            raise UserError("a net without channels sees nothing: give some, such as (8, 16)")
        for width in self.channels:
            counts(channels=width)
            if self.norm == "group" and width % GROUPS:
                raise UserError(f"{width} channels make no {GROUPS} groups: give a multiple of {GROUPS}")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        hidden = nn.relu(self.normed("norm", Convolution(self.channels[0], name="convolution")(inputs), train))
        for stage, width in enumerate(self.channels):
            if stage and all(side % 2 == 0 for side in hidden.shape[1:3]):
                hidden = halved(hidden)
            for number in range(self.blocks):
                hidden = self.block(f"block_{stage}_{number}", hidden, width, train)
        return dense(self.classes, name="head")(hidden.mean(axis=(1, 2)))

    def block(self, name: str, inputs: Array, width: int, train: bool) -> Array:
        """ReLU(x + norm(conv(ReLU(norm(conv(x)))))), where x is brought to the width by a convolution of 1x1."""
        hidden = Convolution(width, name=f"{name}_in")(inputs)
        hidden = nn.relu(self.normed(f"{name}_in_norm", hidden, train))
        hidden = self.normed(f"{name}_out_norm", Convolution(width, name=f"{name}_out")(hidden), train)
        if inputs.shape[-1] != width:
            inputs = Convolution(width, (1, 1), name=f"{name}_along")(inputs)
        return nn.relu(inputs + hidden)

    def normed(self, name: str, inputs: Array, train: bool) -> Array:
        """The inputs, normalized."""
        if self.norm == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)(inputs)
        return nn.GroupNorm(GROUPS, name=name)(inputs) if self.norm == "group" else inputs
