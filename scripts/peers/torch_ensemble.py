"""PyTorch's strongest: torch.func.vmap over stacked nets with a stacked AdamW written by hand, eager or compiled."""

from functools import partial

import torch
from torch.func import grad, vmap

from scripts.peers import torch_nets as nets
from scripts.peers import work as the
from scripts.peers.work import Training, Work


def train(work: Work, compiled: bool, threads: int = 2, device: str = "cpu") -> Training:
    """All members through every step together."""
    torch.set_num_threads(threads)
    inputs, targets = nets.examples(work, device)
    order = torch.tensor(the.batches(work), device=device, dtype=torch.long)
    first = nets.tensors(work, device)
    weights = {name: w.expand(work.members, *w.shape).clone() for name, w in first.items()}
    moments = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()}
    decays = torch.tensor(work.decays, device=device)
    gradients = vmap(grad(partial(nets.loss, work)), in_dims=(0, None, None))

    def step(weights, moments, chosen, correction1, correction2):
        slopes = gradients(weights, inputs[chosen], targets[chosen])
        for name, w in weights.items():
            mean, square = moments[name]
            mean.lerp_(slopes[name], 1 - the.BETA1)
            square.mul_(the.BETA2).addcmul_(slopes[name], slopes[name], value=1 - the.BETA2)
            if w.ndim > 2:
                w.mul_((1 - the.LEARNING_RATE * decays).reshape(-1, *[1] * (w.ndim - 1)))
            w.sub_(the.LEARNING_RATE * (mean / correction1) / ((square / correction2).sqrt() + the.EPSILON))

    step = torch.compile(step, dynamic=False) if compiled else step
    clock = 0
    counts = torch.arange(1, the.LONGEST + 1, dtype=torch.float64)
    corrections1 = (1 - the.BETA1**counts).float().to(device)
    corrections2 = (1 - the.BETA2**counts).float().to(device)

    @torch.no_grad()
    def advance(steps: int) -> None:
        nonlocal clock
        for now in range(clock, clock + steps):
            step(weights, moments, order[now], corrections1[now], corrections2[now])
        if device != "cpu":
            torch.cuda.synchronize()
        clock = the.further(clock, steps)

    return Training(
        work.members,
        advance,
        lambda: nets.turned_back({name: w.detach().cpu().numpy().copy() for name, w in weights.items()}),
    )
