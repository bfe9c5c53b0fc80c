"""Log-Euclidean coordinates of tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from numpyro_homog.clouds import LogEuclidean
from numpyro_homog.tensors import unique_components

components = jax.jit(unique_components)


def tensors(num, d, seed=0):
    root = np.random.default_rng(seed).standard_normal((num, d, d))
    return jnp.asarray(root @ root.swapaxes(1, 2) + 0.3 * np.eye(d))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_coordinates_are_the_components_of_the_logarithm(d, x64):
    values, scales = tensors(4, d), jnp.asarray(np.arange(1.0, 1 + d * (d + 1) // 2))
    logs = np.stack([scipy.linalg.logm(value) for value in np.asarray(values, float)])
    found = jax.jit(lambda values: LogEuclidean(scales)(unique_components(values) / scales[None]))(values)
    np.testing.assert_allclose(found, components(jnp.asarray(logs)), atol=1e-10 if x64 else 1e-4)


@pytest.mark.x32
def test_folding_forgets_turns_and_reflections_of_the_square(eps):
    fold = LogEuclidean(jnp.asarray(np.ones(3)), fold=True)
    value = np.asarray(tensors(1, 2))[0]
    turn, mirror = np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, -1.0]])
    images = np.stack(
        [value, turn @ value @ turn.T, mirror @ value @ mirror.T, turn @ mirror @ value @ mirror @ turn.T]
    )
    found = np.asarray(jax.jit(lambda images: fold(unique_components(images)))(jnp.asarray(images)))
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=100 * eps)
    # And nothing else: the invariants of the logarithm are still there.
    mean, half, shear = found[0]
    eigenvalues = [mean - np.hypot(half, shear), mean + np.hypot(half, shear)]
    np.testing.assert_allclose(eigenvalues, np.log(np.linalg.eigvalsh(value)), atol=100 * eps)


@pytest.mark.x64_only
@pytest.mark.parametrize("d", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_derivative_is_finite_and_right_where_eigenvalues_meet(d):
    gaps = np.array([1.0, 1e-3, 0.0])[:, None, None]
    bases = components(jnp.asarray(np.eye(d) * (2.0 + gaps * np.arange(d, dtype=float))))
    coordinates = LogEuclidean(jnp.asarray(np.ones(bases.shape[1])))
    log = jax.jit(lambda cloud: coordinates(cloud))
    jacobians, backwards = (
        jax.jit(jax.vmap(mode(lambda x: log(x[None])[0])))(bases) for mode in (jax.jacfwd, jax.jacrev)
    )
    np.testing.assert_allclose(backwards, jacobians, atol=1e-12)
    step, bases, jacobians = 1e-5, np.asarray(bases), np.asarray(jacobians)
    for i, unit in enumerate(step * np.eye(bases.shape[1])):
        up, down = (np.asarray(log(jnp.asarray(bases + moved))) for moved in (unit, -unit))
        np.testing.assert_allclose(jacobians[:, :, i], (up - down) / (2 * step), atol=1e-8)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one tensor"):
        LogEuclidean(jnp.ones(4))
    with pytest.raises(ValueError, match="square"):
        LogEuclidean(jnp.ones(6), fold=True)
    with pytest.raises(ValueError, match="expected"):
        LogEuclidean(jnp.ones(3))(jnp.ones((5, 6)))
    assert np.isnan(LogEuclidean(jnp.ones(3))(jnp.array([[1.0, 1.0, 2.0]]))).any()
