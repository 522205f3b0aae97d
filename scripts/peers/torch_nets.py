"""The nets of the work in PyTorch, as functions of named weights that lie as PyTorch wants them."""

import numpy as np
import torch
from torch.nn import functional

from scripts.peers import work as the
from scripts.peers.work import Weights, Work

Tensors = dict[str, torch.Tensor]


def tensors(work: Work, device: str = "cpu") -> Tensors:
    """The first weights: matrices [out, in], kernels [out, in, rows, columns], embeddings as they are."""
    return {
        name: torch.tensor(turned(name, weight), device=device).contiguous()
        for name, weight in the.first_weights(work).items()
    }


def turned(name: str, weight: np.ndarray) -> np.ndarray:
    """From flax's layout to PyTorch's."""
    if not name.endswith("kernel"):
        return weight
    return weight.T.copy() if weight.ndim == 2 else weight.transpose(3, 2, 0, 1).copy()


def turned_back(weights: Weights) -> Weights:
    """From PyTorch's layout to flax's, for weights with the members' axis in front."""
    axes = {3: (0, 2, 1), 5: (0, 3, 4, 2, 1)}
    return {
        name: weight.transpose(axes[weight.ndim]) if name.endswith("kernel") else weight
        for name, weight in weights.items()
    }


def examples(work: Work, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets; images with the channels first."""
    inputs, targets = the.examples(work)
    if work.net in the.IMAGES:
        inputs = inputs.transpose(0, 3, 1, 2).copy()
    return torch.tensor(inputs, device=device), torch.tensor(targets, device=device, dtype=torch.long)


def mlp(w: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    """Two hidden layers with ReLU."""
    hidden = functional.relu(functional.linear(inputs, w["Dense_0/kernel"], w["Dense_0/bias"]))
    hidden = functional.relu(functional.linear(hidden, w["Dense_1/kernel"], w["Dense_1/bias"]))
    return functional.linear(hidden, w["Dense_2/kernel"], w["Dense_2/bias"])


def convolution(w: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    """Two convolutions of 3x3 with ReLU, a mean over 2x2 between them, a mean over the image, a dense layer."""
    hidden = functional.relu(functional.conv2d(inputs, w["Convolution_0/kernel"], w["Convolution_0/bias"], padding=1))
    hidden = functional.avg_pool2d(hidden, 2)
    hidden = functional.relu(functional.conv2d(hidden, w["Convolution_1/kernel"], w["Convolution_1/bias"], padding=1))
    return functional.linear(hidden.mean((2, 3)), w["Dense_0/kernel"], w["Dense_0/bias"])


def resnet(w: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    """Residual blocks of two convolutions of 3x3, each with its group norm; means over 2x2 from stage to stage."""

    def convolved(name: str, inputs: torch.Tensor) -> torch.Tensor:
        kernel = w[f"{name}/kernel"]
        return functional.conv2d(inputs, kernel, w[f"{name}/bias"], padding=kernel.shape[-1] // 2)

    def normed(name: str, inputs: torch.Tensor) -> torch.Tensor:  # with flax's epsilon
        return functional.group_norm(inputs, the.GROUPS, w[f"{name}/scale"], w[f"{name}/bias"], 1e-6)

    hidden = functional.relu(normed("norm", convolved("convolution", inputs)))
    for stage in range(3):
        if stage and hidden.shape[-1] % 2 == 0:
            hidden = functional.avg_pool2d(hidden, 2)
        for number in range(the.BLOCKS):
            name = f"block_{stage}_{number}"
            inner = functional.relu(normed(f"{name}_in_norm", convolved(f"{name}_in", hidden)))
            inner = normed(f"{name}_out_norm", convolved(f"{name}_out", inner))
            along = convolved(f"{name}_along", hidden) if f"{name}_along/kernel" in w else hidden
            hidden = functional.relu(along + inner)
    return functional.linear(hidden.mean((2, 3)), w["head/kernel"], w["head/bias"])


def transformer(w: Tensors, tokens: torch.Tensor) -> torch.Tensor:
    """One layer of attention and a multilayer perceptron; the logits after the last token."""
    stream = functional.embedding(tokens, w["embedding"]) + w["position"]
    batch, length, width = stream.shape

    def heads(name: str) -> torch.Tensor:
        return functional.linear(stream, w[f"{name}/kernel"]).reshape(batch, length, the.HEADS, -1).transpose(1, 2)

    seen = functional.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"))
    stream = stream + functional.linear(seen.transpose(1, 2).reshape(batch, length, width), w["out/kernel"])
    hidden = functional.relu(functional.linear(stream, w["up/kernel"], w["up/bias"]))
    stream = stream + functional.linear(hidden, w["down/kernel"], w["down/bias"])
    return functional.linear(stream[:, -1], w["unembedding/kernel"])


def decoder(w: Tensors, tokens: torch.Tensor) -> torch.Tensor:
    """Pre-norm blocks with RMSNorm, rotary positions, QK norm and squared ReLU; logits of what follows every token."""
    stream = functional.embedding(tokens, w["embedding"])
    batch, length, width = stream.shape
    half = width // the.HEADS // 2
    angles = torch.arange(length, device=tokens.device)[:, None] * 10_000.0 ** (
        -torch.arange(half, device=tokens.device) / half
    )
    cos, sin = angles.cos(), angles.sin()

    def normed(name: str, inputs: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(inputs, (width,), w[name], 1e-6)

    def turned(inputs: torch.Tensor) -> torch.Tensor:  # of [b, heads, t, d], at a root mean square of 1
        one, other = functional.rms_norm(inputs, inputs.shape[-1:], None, 1e-6).chunk(2, -1)
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)

    for number in range(sum(name.endswith("_up/kernel") for name in w)):
        name = f"block_{number}"
        inputs = normed(f"{name}_attention_norm/scale", stream)
        query, key, value = (
            functional.linear(inputs, w[f"{name}_{part}/kernel"]).reshape(batch, length, the.HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = functional.scaled_dot_product_attention(turned(query), turned(key), value, is_causal=True)
        stream = stream + functional.linear(seen.transpose(1, 2).reshape(batch, length, width), w[f"{name}_out/kernel"])
        inputs = normed(f"{name}_mlp_norm/scale", stream)
        hidden = functional.relu(functional.linear(inputs, w[f"{name}_up/kernel"])).square()
        stream = stream + functional.linear(hidden, w[f"{name}_down/kernel"])
    return functional.linear(normed("norm/scale", stream), w["head/kernel"])


NETS = {"decoder": decoder, "mlp": mlp, "convolution": convolution, "resnet": resnet, "transformer": transformer}


def loss(work: Work, weights: Tensors, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy."""
    logits = NETS[work.net](weights, inputs)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
