"""Probes against what is known of them: closed forms, bounds, and a net written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wd_research.training.probes import effective_number, effective_rank, saliency, sensitivity

RNG = np.random.default_rng(0)
MATRIX = np.float32(RNG.normal(size=(5, 3)))


@pytest.mark.parametrize(
    ("matrix", "rank"),
    [(np.eye(4), 4.0), (np.outer([1, 2, 3], [4, 5.0]), 1.0), (np.diag([1.0, 1, 0]), 2.0), (np.zeros((3, 2)), 0.0),
     (np.diag([3.0, 1]), 100 / 82)],
)  # fmt: skip
def test_the_effective_rank_of_known_spectra(matrix, rank):
    assert float(effective_rank(jnp.float32(matrix))) == pytest.approx(rank, rel=1e-5)


def test_the_effective_rank_is_the_effective_number_of_squared_singular_values():
    values = np.linalg.svd(MATRIX, compute_uv=False)
    assert float(effective_rank(MATRIX)) == pytest.approx(float(effective_number(values**2)), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_the_effective_rank_heeds_neither_scale_nor_rotation(factor):
    turned = np.linalg.qr(RNG.normal(size=(5, 5)))[0] @ MATRIX
    assert float(effective_rank(jnp.float32(factor * turned))) == pytest.approx(float(effective_rank(MATRIX)), rel=1e-4)


@pytest.mark.parametrize(
    ("amounts", "number"), [([2, 2, 2], 3.0), ([7, 0, 0], 1.0), ([0, 0], 0.0), ([3, 1], 1.6), ([1, 1, 0, 0], 2.0)]
)
def test_the_effective_number_of_known_amounts(amounts, number):
    assert float(effective_number(jnp.float32(amounts))) == pytest.approx(number, rel=1e-6)


def test_a_linear_function_has_its_matrix_as_jacobian():
    inputs = np.float32(RNG.normal(size=(7, 5)))
    linear = lambda x: x @ MATRIX
    assert float(sensitivity(linear, inputs)) == pytest.approx(np.linalg.norm(MATRIX), rel=1e-5)
    np.testing.assert_allclose(saliency(linear, inputs), np.linalg.norm(MATRIX, axis=1), rtol=1e-5)


def test_the_jacobian_of_a_net_is_that_of_its_open_units():
    inputs, last = np.float32(RNG.normal(size=(6, 5))), np.float32(RNG.normal(size=(3, 2)))
    net = lambda x: jax.nn.relu(x @ MATRIX) @ last
    jacobians = np.stack([(MATRIX * (row @ MATRIX > 0)) @ last for row in inputs])  # [b, i, o]
    assert float(sensitivity(net, inputs)) == pytest.approx(np.sqrt((jacobians**2).sum((1, 2)).mean()), rel=1e-5)
    np.testing.assert_allclose(saliency(net, inputs), np.sqrt((jacobians**2).sum(2).mean(0)), rtol=1e-5)
