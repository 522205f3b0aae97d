"""The evidence chooses a decay from the training data alone, and chooses well."""

import jax
import numpy as np

from wd_research.decay.masks import everything
from wd_research.decay.penalties import l2, penalized

EXAMPLES, FEATURES, NOISE, DRAWS = 100, 50, 0.5, 20
DECAYS = np.geomspace(0.1, 1e4, 50)


def draw(seed):
    """Inputs, targets, and the weights behind them, of length 1."""
    rng = np.random.default_rng(seed)
    inputs, weights = rng.normal(size=(EXAMPLES, FEATURES)), rng.normal(size=FEATURES)
    weights /= np.linalg.norm(weights)
    return inputs, inputs @ weights + NOISE * rng.normal(size=EXAMPLES), weights


def ridge(inputs, targets, decay):
    """The least of |X w - y|^2 / 2 + decay |w|^2 / 2."""
    return np.linalg.solve(inputs.T @ inputs + decay * np.eye(FEATURES), inputs.T @ targets)


def most_evident_decay(inputs, targets):
    """The fixed point alpha = gamma / (2 E_W), beta = (n - gamma) / (2 E_D) of decay alpha / beta.

    gamma = sum_i h_i / (h_i + decay), with h the eigenvalues of X'X, counts the weights that the data determine;
    E_W = |w|^2 / 2 and E_D = |X w - y|^2 / 2. Source: MacKay (1992).
    """
    curvature = np.linalg.eigvalsh(inputs.T @ inputs)
    decay = 1.0
    for _ in range(500):
        weights = ridge(inputs, targets, decay)
        determined = np.sum(curvature / (curvature + decay))
        alpha = determined / np.sum(weights**2)
        beta = (EXAMPLES - determined) / np.sum((inputs @ weights - targets) ** 2)
        decay = alpha / beta
    return decay


def test_the_decay_is_that_of_l2_in_the_loss():
    """Half the squares on both sides: the ridge solution leaves no gradient."""
    inputs, targets, _ = draw(0)

    def loss(w, extras, batch, key):
        return 0.5 * ((inputs @ w - targets) ** 2).sum(), (extras, {})

    with jax.enable_x64(True):
        objective = penalized(loss, lambda w: l2(w, everything), 7.0)
        gradient = jax.grad(lambda w: objective(w, (), None, None)[0])(ridge(inputs, targets, 7.0))
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_the_evidence_finds_a_decay_as_good_as_the_best_without_validation_data():
    """The risk noise^2 + |w - w*|^2, mean over the draws: within 2 % of that of the best decay, which knows w*."""

    def risk(decay, inputs, targets, weights):
        return NOISE**2 + np.sum((ridge(inputs, targets, decay) - weights) ** 2)

    draws = [draw(seed) for seed in range(DRAWS)]
    by_decay = [np.mean([risk(decay, *drawn) for drawn in draws]) for decay in DECAYS]
    chosen = np.mean([risk(most_evident_decay(*drawn[:2]), *drawn) for drawn in draws])
    best = int(np.argmin(by_decay))
    assert chosen / by_decay[best] < 1.02
    assert min(by_decay[0], by_decay[-1]) / by_decay[best] > 1.1
    assert 0 < best < len(DECAYS) - 1
