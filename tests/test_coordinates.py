"""Log-Euclidean coordinates of tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from numpyro_homog.clouds import LogEuclidean
from numpyro_homog.tensors import unique_components


def tensors(num, d, seed=0):
    root = np.random.default_rng(seed).standard_normal((num, d, d))
    return jnp.asarray(root @ root.swapaxes(1, 2) + 0.3 * np.eye(d))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_coordinates_are_the_components_of_the_logarithm(d, x64):
    values, scales = tensors(4, d), jnp.arange(1.0, 1 + d * (d + 1) // 2)
    logs = np.stack([scipy.linalg.logm(np.asarray(value, float)) for value in values])
    found = LogEuclidean(scales)(unique_components(values) / scales[None])
    np.testing.assert_allclose(found, unique_components(logs), atol=1e-10 if x64 else 1e-4)


@pytest.mark.x32
def test_folding_forgets_turns_and_reflections_of_the_square(eps):
    fold = LogEuclidean(jnp.ones(3), fold=True)
    value = tensors(1, 2)[0]
    turn, mirror = jnp.array([[0.0, -1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [0.0, -1.0]])
    images = jnp.stack(
        [value, turn @ value @ turn.T, mirror @ value @ mirror.T, turn @ mirror @ value @ mirror @ turn.T]
    )
    found = fold(unique_components(images))
    np.testing.assert_allclose(found, jnp.broadcast_to(found[:1], found.shape), atol=100 * eps)
    # And nothing else: the invariants of the logarithm are still there.
    mean, half, shear = found[0]
    eigenvalues = jnp.sort(jnp.array([mean - jnp.hypot(half, shear), mean + jnp.hypot(half, shear)]))
    np.testing.assert_allclose(eigenvalues, jnp.log(jnp.linalg.eigvalsh(value)), atol=100 * eps)


@pytest.mark.x64_only
@pytest.mark.parametrize("d", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_derivative_is_finite_and_right_where_eigenvalues_meet(d):
    gaps = jnp.array([1.0, 1e-3, 0.0])[:, None, None]
    bases = unique_components(jnp.eye(d)[None] * (2.0 + gaps * jnp.arange(d, dtype=float)[None, None]))
    coordinates = LogEuclidean(jnp.ones(bases.shape[1]))
    log = jax.jit(lambda cloud: coordinates(cloud))
    jacobians, backwards = (
        jax.jit(jax.vmap(mode(lambda x: log(x[None])[0])))(bases) for mode in (jax.jacfwd, jax.jacrev)
    )
    np.testing.assert_allclose(backwards, jacobians, atol=1e-12)
    step = 1e-5
    for i, unit in enumerate(step * jnp.eye(bases.shape[1])):
        differences = (log(bases + unit[None]) - log(bases - unit[None])) / (2 * step)
        np.testing.assert_allclose(jacobians[:, :, i], differences, atol=1e-8)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one tensor"):
        LogEuclidean(jnp.ones(4))
    with pytest.raises(ValueError, match="square"):
        LogEuclidean(jnp.ones(6), fold=True)
    with pytest.raises(ValueError, match="expected"):
        LogEuclidean(jnp.ones(3))(jnp.ones((5, 6)))
    assert np.isnan(LogEuclidean(jnp.ones(3))(jnp.array([[1.0, 1.0, 2.0]]))).any()
