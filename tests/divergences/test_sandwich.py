"""Covariance, undetermined directions and loss scale, from given matrices."""

import jax
import numpy as np
import pytest

from numpyro_homog.divergences import sandwich
from numpyro_homog.optimise import Evaluation
from numpyro_homog.population import ParameterSpace

pytestmark = pytest.mark.x32
EPS = 1e-16


def evaluation(curvature, noise=None, num_groups=100):
    noise = np.zeros_like(curvature) if noise is None else noise
    return Evaluation(np.array(1.0), np.zeros(len(curvature)), curvature, noise, np.array(float(num_groups)))


def scatter_of(num, p, seed=0):
    """Covariance of the gradient that `num` measured and as many simulated specimens make."""
    values = np.random.default_rng(seed).standard_normal((num, p))
    values -= values.mean(0)
    return values.T @ values / num * (2 / num)


def described(found, **shapes):
    """The undetermined directions in words, for parameters of these shapes."""
    shapes = {name: jax.ShapeDtypeStruct(shape, float) for name, shape in shapes.items()}
    parameters = ParameterSpace(lambda: None, "specimens", shapes)
    return parameters.describe_directions(found.undetermined)


def test_covariance_of_a_mean():
    """H = 1: the variance of a mean, of data and simulation."""
    scatter = np.array([[3.0 * (1 / 50 + 1 / 200)]])
    found = sandwich(evaluation(np.eye(1)), scatter, EPS)
    np.testing.assert_allclose(found.covariance, scatter)
    np.testing.assert_allclose(found.inverse, 1)
    # exp(-w D) with D = (theta - mean)^2 has variance 1 / (2 w).
    np.testing.assert_allclose(found.loss_scale, 1 / (2 * found.covariance[0, 0]))


def test_units_of_parameters_do_not_matter():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((3, 3))
    scatter, units = scatter_of(40, 3), np.diag([1e3, 1.0, 1e-5])
    plain = sandwich(evaluation(root @ root.T), scatter, EPS)
    scaled = sandwich(evaluation(units @ root @ root.T @ units), units @ scatter @ units, EPS)
    np.testing.assert_allclose(units @ scaled.covariance @ units, plain.covariance, rtol=1e-8)
    np.testing.assert_allclose(units @ scaled.inverse @ units, plain.inverse, rtol=1e-8)
    np.testing.assert_allclose(scaled.loss_scale, plain.loss_scale, rtol=1e-8)


def test_a_flat_direction_is_found_and_the_rest_stays_finite():
    direction = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    curvature = np.outer(direction, direction) + np.diag([0.0, 0.0, 2.0])
    found = sandwich(evaluation(curvature), scatter_of(60, 3), EPS)
    assert found.undetermined.shape == (3, 1)
    np.testing.assert_allclose(np.abs(found.undetermined[:, 0]), [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-12)
    assert np.isfinite(found.covariance).all()
    assert np.isfinite(found.loss_scale)
    assert described(found, a=(), b=(1,), c=()) == ("0.71 a - 0.71 b[0]",)


def test_a_parameter_without_effect_is_named():
    found = sandwich(evaluation(np.diag([1.0, 0.0])), scatter_of(60, 2) * [[1, 0], [0, 0]], EPS)
    assert described(found, a=(), b=()) == ("b",)


def test_curvature_that_is_all_simulation_noise_is_undetermined():
    noise = np.diag([0.01, 0.3])
    found = sandwich(evaluation(np.diag([1.0, 0.33]), noise, num_groups=50), scatter_of(60, 2), EPS)
    assert described(found, a=(), b=()) == ("b",)
    found = sandwich(evaluation(np.diag([1.0, 0.6]), noise, num_groups=50), scatter_of(60, 2), EPS)
    assert found.undetermined.shape == (2, 0)
