"""The decay that the evidence prefers, where it has a closed form: a linear net under the mean squared error.

With y = X w + e, e ~ N(0, 1 / beta), w ~ N(0, 1 / alpha) and rho = alpha / beta, X X' = U diag(k) U' and z = U' y, the
logarithm of the marginal likelihood at its best beta is, but for a constant,

    -(n - 1) / 2 log(sum_i z_i^2 / (1 + k_i / rho)) - 1 / 2 sum_i log(1 + k_i / rho)

The weights that are then the likeliest have the ridge penalty rho |w|^2 beside the sum of squared errors; under their
mean, decoupled decay comes to rest there where it is 2 rho / n. Source: MacKay (1992), Bayesian interpolation.
"""

import numpy as np

from experiments.tournament.worlds import World, lesson

EXISTS = ("ridge",)
RATIOS = np.geomspace(1e-4, 1e6, 2_001)


def best_ratio(inputs: np.ndarray, targets: np.ndarray) -> float:
    """The rho of the largest evidence, from f64[n, d] and f64[n], both without their means, which take a degree."""
    eigenvalues, directions = np.linalg.eigh(inputs @ inputs.T)
    along = (directions.T @ targets) ** 2
    spread = 1 + np.maximum(eigenvalues, 0)[:, None] / RATIOS
    evidence = -(len(targets) - 1) / 2 * np.log((along[:, None] / spread).sum(axis=0)) - np.log(spread).sum(axis=0) / 2
    return float(RATIOS[np.argmax(evidence)])


def scales_of_evidence(world: World, learning_rate: float, seeds: int) -> float:
    """The decay of a world whose net is linear, the median over the training data of so many seeds; time scales."""
    task, found = lesson(world.data).task, []
    deviation = np.asarray(task.data.targets).std()  # targets are learned in units of it
    for seed in range(seeds):
        train = task.splits(task.data, task.split(seed))["train"]
        inputs, targets = (np.asarray(part, float) for part in (train.inputs, train.targets))
        found.append(best_ratio(inputs - inputs.mean(axis=0), (targets - targets.mean()) / deviation) / len(targets))
    return world.steps * learning_rate * 2 * float(np.median(found))
