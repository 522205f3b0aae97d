"""Libraries that run the loop themselves: scikit-learn's grid search and Keras 3 on JAX; a call is a whole fit."""

import os
from typing import Any

import numpy as np

from scripts.peers import work as the
from scripts.peers.work import Training, Work, examples

PER_EPOCH = the.EXAMPLES // the.BATCH


def train_by_grid_search(work: Work) -> Training:
    """GridSearchCV over MLPClassifier's alpha (L2 in the loss), two jobs; every call fits all members anew.

    Its batches are 16 an epoch, the last of 40 examples; it is counted as what 15 batches of 64 are.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.neural_network import MLPClassifier

    inputs, targets = examples(work)
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the workers: that ten epochs have not converged is no news
    warnings.simplefilter("ignore", ConvergenceWarning)
    held_out = np.full(len(targets) + 100, -1)
    held_out[-100:] = 0
    inputs, targets = np.concatenate([inputs, inputs[:100]]), np.concatenate([targets, targets[:100]])

    def advance(steps: int) -> None:
        net = MLPClassifier((work.width,) * 2, batch_size=the.BATCH, learning_rate_init=the.LEARNING_RATE,
                            max_iter=max(1, steps // PER_EPOCH), tol=0.0, n_iter_no_change=10_000)  # fmt: skip
        search = GridSearchCV(net, {"alpha": work.decays.astype(float)}, n_jobs=2, cv=PredefinedSplit(held_out),
                              refit=False)  # fmt: skip
        search.fit(inputs, targets)

    return Training(work.members, advance, dict)


def train_by_keras(work: Work) -> Training:
    """keras.Model.fit on JAX, net after net; every call goes on with the fit."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    inputs, targets = examples(work)

    def model(decay: float) -> Any:
        layers = [keras.layers.Dense(work.width, "relu"), keras.layers.Dense(work.width, "relu")]
        built = keras.Sequential([keras.Input((work.size,)), *layers, keras.layers.Dense(the.CLASSES)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        built.compile(keras.optimizers.AdamW(the.LEARNING_RATE, weight_decay=decay), loss)
        return built

    trained = [model(float(decay)) for decay in work.decays]
    whole = PER_EPOCH * the.BATCH  # fifteen batches an epoch, as all have

    def advance(steps: int) -> None:
        for net in trained:
            net.fit(inputs[:whole], targets[:whole], batch_size=the.BATCH, epochs=max(1, steps // PER_EPOCH),
                    verbose=0)  # fmt: skip

    return Training(work.members, advance, dict)
