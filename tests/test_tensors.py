"""Symmetric tensors and their components."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from numpyro_homog import tensors as nt

pytestmark = pytest.mark.x32


def symmetric(seed, shape, d):
    matrices = np.random.default_rng(seed).normal(size=(*shape, d, d))
    return jnp.asarray(matrices + np.swapaxes(matrices, -1, -2))


def test_components_are_named_in_their_order():
    assert nt.component_names(1) == ("K11",)
    assert nt.component_names(2) == ("K11", "K22", "K12")
    assert nt.component_names(3, "C") == ("C11", "C22", "C33", "C12", "C13", "C23")
    tensor = jnp.asarray([[1.0, 4.0, 5.0], [4.0, 2.0, 6.0], [5.0, 6.0, 3.0]])
    np.testing.assert_array_equal(nt.unique_components(tensor), [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("d", [1, 2, 3, 6])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_components_and_tensors_are_inverse(d, batch):
    tensor = symmetric(0, batch, d)
    components = nt.unique_components(tensor)
    assert components.shape == (*batch, d * (d + 1) // 2) == (*batch, len(nt.component_names(d)))
    np.testing.assert_array_equal(nt.from_unique_components(components), tensor)
    assert nt.from_unique_components(components).dtype == tensor.dtype


@pytest.mark.parametrize("num", [2, 4, 5, 7])
def test_a_wrong_number_of_components_is_refused(num):
    with pytest.raises(ValueError, match=f"length {num}"):
        nt.from_unique_components(jnp.ones((3, num)))


@pytest.mark.parametrize("function", [nt.unique_components, nt.symmetrize, nt.least_eigenvalue])
@pytest.mark.parametrize("shape", [(5, 3), (5, 6), (3,)])
def test_rows_of_components_are_no_tensors(function, shape):
    """An index beyond the end gave the last entry, without a word."""
    with pytest.raises(ValueError, match=r"\(\*batch, d, d\); got .* K11, K22, K12 .* by from_unique_components"):
        inspect.unwrap(function)(jnp.ones(shape))  # without the check of its annotations


def test_symmetrize_keeps_the_symmetric_part():
    matrix = jnp.asarray([[1.0, 3.0], [1.0, 5.0]])
    np.testing.assert_array_equal(nt.symmetrize(matrix), [[1, 2], [2, 5]])
    tensor = symmetric(1, (3,), 3)
    np.testing.assert_array_equal(nt.symmetrize(tensor), tensor)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_least_eigenvalue_agrees_with_lapack(d, eps):
    tensor = symmetric(2, (50,), d)
    expected = np.linalg.eigvalsh(np.asarray(tensor, float))
    bound = 10 * eps * np.abs(expected).max(-1)
    assert np.all(np.abs(nt.least_eigenvalue(tensor) - expected[:, 0]) <= bound)


def test_least_eigenvalue_and_components_compose_with_jax():
    tensor = symmetric(3, (4,), 2)
    np.testing.assert_allclose(jax.jit(jax.vmap(nt.least_eigenvalue))(tensor), nt.least_eigenvalue(tensor), rtol=1e-5)
    # The derivative of a simple eigenvalue is the dyad of its eigenvector.
    vectors = np.linalg.eigh(np.asarray(tensor, float))[1][..., 0]
    gradient = jax.vmap(jax.grad(nt.least_eigenvalue))(tensor)
    dyads = vectors[:, :, None] * vectors[:, None, :]
    np.testing.assert_allclose(nt.symmetrize(gradient), dyads, atol=1e-5)


@pytest.mark.parametrize("d", [2, 3, 6])
def test_logarithm_and_exponential_are_those_of_scipy_and_differentiable_where_eigenvalues_coincide(d, eps):
    root = np.random.default_rng(d).normal(size=(d, d))
    tensor = jnp.asarray(root @ root.T + np.eye(d))
    np.testing.assert_allclose(
        nt.matrix_logarithm(tensor), scipy.linalg.logm(np.asarray(tensor, float)), atol=300 * eps
    )
    np.testing.assert_allclose(
        nt.matrix_exponential(nt.matrix_logarithm(tensor)), tensor, rtol=1e3 * eps, atol=1e3 * eps
    )
    move = jnp.asarray(root + root.T)
    # At multiples of the identity the derivatives are those of numbers.
    for fn, slope in ((nt.matrix_logarithm, 1 / 3), (nt.matrix_exponential, np.exp(3))):
        found = jax.jvp(fn, (3 * jnp.eye(d, dtype=move.dtype),), (move,))[1]
        np.testing.assert_allclose(found, np.asarray(slope * move), rtol=1e2 * eps, atol=1e3 * eps)


@pytest.mark.parametrize("d", [2, 3])
def test_the_log_determinant_of_the_logarithm_is_that_of_its_derivative(d):
    root = np.random.default_rng(d).normal(size=(d, d))
    vector = nt.unique_components(jnp.asarray(root @ root.T + np.eye(d)))
    slope = jax.jacfwd(lambda x: nt.unique_components(nt.matrix_logarithm(nt.from_unique_components(x))))(vector)
    found = nt.logarithm_log_determinant(nt.from_unique_components(vector))
    np.testing.assert_allclose(found, np.linalg.slogdet(slope)[1], rtol=1e-4, atol=1e-4)
