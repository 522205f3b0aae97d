"""A PyTorch loop: net after net, torch.optim.AdamW (fused), eager or with the loss compiled."""

from functools import partial

import numpy as np
import torch

from scripts.peers import torch_nets as nets
from scripts.peers import work as the
from scripts.peers.work import Training, Work


def train(work: Work, threads: int = 2, compiled: bool = False, device: str = "cpu") -> Training:
    """All members in turn, each for all the steps of a call."""
    torch.set_num_threads(threads)
    inputs, targets = nets.examples(work, device)
    order = torch.tensor(the.batches(work), device=device, dtype=torch.long)
    loss = partial(nets.loss, work)
    loss = torch.compile(loss, dynamic=False) if compiled else loss
    trained = [start(work, float(decay), device) for decay in work.decays]
    clock = 0

    def advance(steps: int) -> None:
        nonlocal clock
        for weights, optimizer in trained:
            for now in range(clock, clock + steps):
                chosen = order[now]
                optimizer.zero_grad(set_to_none=True)
                loss(weights, inputs[chosen], targets[chosen]).backward()
                optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        clock = the.further(clock, steps)

    def weights() -> dict[str, np.ndarray]:
        stacked = {name: torch.stack([w[name] for w, _ in trained]).detach().cpu().numpy() for name in trained[0][0]}
        return nets.turned_back(stacked)

    return Training(work.members, advance, weights)


def start(work: Work, decay: float, device: str) -> tuple[nets.Tensors, torch.optim.AdamW]:
    """A member: its weights, and AdamW that decays the matrices and kernels."""
    weights = {name: tensor.requires_grad_() for name, tensor in nets.tensors(work, device).items()}
    groups = [
        {"params": [w for name, w in weights.items() if (w.ndim > 1)], "weight_decay": decay},
        {"params": [w for name, w in weights.items() if w.ndim == 1], "weight_decay": 0.0},
    ]
    betas = the.BETA1, the.BETA2
    return weights, torch.optim.AdamW(groups, the.LEARNING_RATE, betas, the.EPSILON, fused=True)
