"""The self-consistent estimate: closed forms, percolation, high contrast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh

each_ndim = pytest.mark.parametrize("ndim", [2, 3])


def bruggeman(fraction, contrast, ndim):
    """Two phases, 1 and `contrast`: the positive root of a quadratic, in the form in which nothing cancels."""
    linear = (ndim * (1 - fraction) - 1) + (ndim * fraction - 1) * contrast
    root = np.sqrt(linear**2 + 4 * (ndim - 1) * contrast)
    return (linear + root) / (2 * (ndim - 1)) if linear > 0 else 2 * contrast / (root - linear)


@pytest.mark.x32
@each_ndim
@pytest.mark.parametrize("contrast", [2.0, 1e3, 1e6, 1e-6])
def test_bruggeman_of_two_phases_is_a_quadratic_root(ndim, contrast, eps):
    fraction = np.array([0.0, 0.05, 0.2, 1 / 3, 0.34, 0.5, 0.7, 0.95, 1.0])
    fractions = jnp.stack([jnp.asarray(1 - fraction), jnp.asarray(fraction)], axis=-1)
    found = nh.self_consistent(fractions, jnp.asarray([1.0, contrast]), ndim=ndim)
    # The fractions as they are after rounding, whose error the threshold magnifies.
    exact = [bruggeman(f, contrast, ndim) for f in np.asarray(fractions[:, 1], float)]
    np.testing.assert_allclose(found, exact, rtol=10 * eps * max(contrast, 1 / contrast) ** 0.5)


@pytest.mark.x64_only
@pytest.mark.parametrize(("ndim", "threshold"), [(2, 1 / 2), (3, 1 / 3)])
def test_bruggeman_percolates_at_one_over_d(ndim, threshold):
    def medium(fraction, contrast):
        return float(nh.self_consistent(jnp.asarray([1 - fraction, fraction]), jnp.asarray([1.0, contrast]), ndim=ndim))

    # Below the threshold the poor conductor decides, above it the good one; in the limit by these linear laws.
    below, above = threshold - 0.05, threshold + 0.05
    np.testing.assert_allclose(medium(below, 1e12), 1 / (1 - below / threshold), rtol=1e-8)
    slope = (above - threshold) / (1 - threshold)
    np.testing.assert_allclose(medium(above, 1e12), slope * 1e12, rtol=1e-8)
    # At the threshold it goes with the square root of the contrast.
    np.testing.assert_allclose(medium(threshold, 1e12) / medium(threshold, 1e10), 10, rtol=1e-4)


@pytest.mark.x64_only
def test_self_consistent_spheres_in_an_incompressible_matrix():
    # Budiansky 1965: voids G / G1 = 3 (1 - 2 f) / (3 - f), rigid spheres 1 / (1 - 5 f / 2); f < 1/2, 2/5.
    fraction, big, small = 0.3, 1e9, 1e-9
    fractions = jnp.asarray([1 - fraction, fraction])
    bulk, shear = nh.self_consistent(fractions, (jnp.asarray([big, small]), jnp.asarray([1.0, small])), ndim=3)
    np.testing.assert_allclose(shear, 3 * (1 - 2 * fraction) / (3 - fraction), rtol=1e-7)
    np.testing.assert_allclose(bulk, 4 * (1 - fraction) / (3 * fraction) * shear, rtol=1e-7)
    _, shear = nh.self_consistent(fractions, (jnp.asarray([big, big]), jnp.asarray([1.0, big])), ndim=3)
    np.testing.assert_allclose(shear, 1 / (1 - 2.5 * fraction), rtol=1e-7)


@pytest.mark.x64_only
@each_ndim
def test_derivatives_of_the_percolating_medium_at_contrast_a_million(ndim):
    fractions = jnp.asarray([[0.55, 0.45], [0.7, 0.3], [0.2, 0.8]])

    def medium(log_kappa):
        return jnp.log(nh.self_consistent(fractions, jnp.exp(log_kappa), ndim=ndim))

    at, step = jnp.log(jnp.asarray([1.0, 1e6])), 1e-5
    slopes = jax.jacrev(medium)(at)
    np.testing.assert_allclose(slopes, jax.jacfwd(medium)(at), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jnp.sum(slopes, axis=-1), 1, rtol=1e-12)  # homogeneous of degree one
    move = jnp.asarray([0.0, step])
    # Rounding of the root near the threshold, eps * 1e3, over the step.
    np.testing.assert_allclose((medium(at + move) - medium(at - move)) / (2 * step), slopes[:, 1], rtol=1e-6, atol=1e-8)
