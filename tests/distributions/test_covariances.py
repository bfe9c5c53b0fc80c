"""Covariances of the fields against closed forms: images of the Matern and squared exponential functions."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as special

import numpyro_homog as nh
from numpyro_homog.distributions import NeumannMatern, PeriodicMatern, PeriodicSquaredExponential


def matern(r, length_scale, nu):
    z = np.sqrt(2 * nu) * np.maximum(r, 1e-12) / length_scale
    return 2 ** (1 - nu) / special.gamma(nu) * z**nu * special.kv(nu, z)


def images(function, x, y, lengths, mirrored=False):
    """Sum of `function`(distance) over the images of y: periodic ones, or those of a box with mirrors."""
    total = 0.0
    periods = 2 * np.asarray(lengths) if mirrored else np.asarray(lengths)
    for signs in itertools.product((1, -1) if mirrored else (1,), repeat=len(lengths)):
        for shift in itertools.product((-2, -1, 0, 1, 2), repeat=len(lengths)):
            total += function(np.linalg.norm(x - signs * y - shift * periods))
    return total


@eqx.filter_jit
def between(covariance, x, y):
    return covariance(jnp.asarray(x), jnp.asarray(y))


def pairs(lengths):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(2, 4, len(lengths))) * lengths
    return x, x + 0.3 * (y - x)


# (lengths, modes, smoothness, share of the variance beyond the modes)
CASES = [((1.5,), 256, 1.5, 1e-5), ((1.0, 1.5), 48, 2.5, 1e-4), ((1.0, 0.9, 1.2), 12, 3.5, 1e-3)]


@pytest.mark.parametrize(("lengths", "num_modes", "nu", "tolerance"), CASES)
def test_periodic_matern_is_the_sum_over_images(lengths, num_modes, nu, tolerance):
    covariance = PeriodicMatern(lengths, 0.15, nu, variance=2.0, num_modes=num_modes)
    x, y = pairs(lengths)

    def free(r):
        return matern(r, 0.15, nu)

    at_zero = images(free, np.zeros(len(lengths)), np.zeros(len(lengths)), lengths)
    expected = [2 * images(free, a, b, lengths) / at_zero for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(between(covariance, x, y), expected, atol=tolerance)
    np.testing.assert_allclose(between(covariance, x, x), 2.0, rtol=1e-5)


@pytest.mark.parametrize("lengths", [(1.5,), (1.0, 1.5), (1.0, 0.9, 1.2)])
def test_periodic_squared_exponential_is_the_sum_over_images(lengths, x64):
    covariance = PeriodicSquaredExponential(lengths, 0.2, num_modes=12)
    x, y = pairs(lengths)

    def free(r):
        return np.exp(-(r**2) / (2 * 0.2**2))

    at_zero = images(free, np.zeros(len(lengths)), np.zeros(len(lengths)), lengths)
    expected = [images(free, a, b, lengths) / at_zero for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(between(covariance, x, y), expected, atol=1e-10 if x64 else 1e-5)


@pytest.mark.parametrize(("lengths", "num_modes", "nu", "tolerance"), CASES)
def test_the_neumann_operator_is_the_sum_over_mirror_images(lengths, num_modes, nu, tolerance):
    d, tau = len(lengths), np.sqrt(2 * nu) / 0.15
    covariance = NeumannMatern(lengths, tau, nu + d / 2, num_modes=2 * num_modes)
    variance = special.gamma(nu) / special.gamma(nu + d / 2) / (4 * np.pi) ** (d / 2) / tau ** (2 * nu)
    x, y = pairs(lengths)
    expected = [images(lambda r: matern(r, 0.15, nu), a, b, lengths, mirrored=True) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(between(covariance, x, y) / variance, expected, atol=tolerance)
    corner = np.zeros(d)
    np.testing.assert_allclose(between(covariance, corner, corner) / variance, 2.0**d, rtol=2e-2)


def test_a_margin_moves_the_mirrors_away():
    free = PeriodicMatern((8.0,), 0.2, 1.5, num_modes=512)
    x, y = jnp.zeros((1, 1)), jnp.full((1, 1), 0.2)
    tau = np.sqrt(3) / 0.2
    errors = [
        float(abs(NeumannMatern((1.0,), tau, 2.0, variance=1.0, num_modes=256, margin=m)(x, y) - free(x, y))[0])
        for m in (0.0, 0.2, 1.0)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-4


COVARIANCES = {
    "neumann": lambda lengths, p: NeumannMatern(lengths, 5 * p[0], 3 * p[1], num_modes=5, margin=0.1),
    "neumann_scaled": lambda lengths, p: NeumannMatern(lengths, 5 * p[0], 3 * p[1], variance=2 * p[2], num_modes=5),
    "matern": lambda lengths, p: PeriodicMatern(lengths, 0.3 * p[0], 1.5 * p[1], variance=2 * p[2], num_modes=3),
    "squared": lambda lengths, p: PeriodicSquaredExponential(lengths, 0.3 * p[0], variance=2 * p[2], num_modes=3),
}


@pytest.mark.x32
@pytest.mark.parametrize("d", [*(pytest.param(d, marks=pytest.mark.slow) for d in (1, 3)), 2])
@pytest.mark.parametrize("name", COVARIANCES)
def test_samples_have_this_covariance_at_every_point(name, d, x64):
    """The field is linear in the noise: J J^T, corners included, on a grid and at points."""
    lengths = (1.0, 1.5, 0.7)[:d]
    covariance = COVARIANCES[name](lengths, jnp.ones(3))
    grid = nh.Grid((3,) * d, lengths=lengths)
    corners = jnp.array(list(itertools.product(*((0.0, length) for length in lengths))))
    for points in (grid, corners):
        law = nh.GaussianField(points, covariance)
        zero = jnp.zeros(law.base_dist.event_shape)
        jacobian = np.asarray(jax.jit(jax.jacfwd(law.transforms[0]))(zero)).reshape(-1, zero.size)
        x = np.asarray(grid.centers() if points is grid else corners).reshape(-1, d)
        expected = np.asarray(between(covariance, x[:, None], x[None, :]))
        scale = np.max(expected)
        np.testing.assert_allclose(jacobian @ jacobian.T, expected, atol=scale * (1e-12 if x64 else 1e-5))
        np.testing.assert_allclose(np.ravel(law.variance), np.diag(expected), rtol=1e-10 if x64 else 1e-4)
        if covariance.pointwise_variance is not None:
            np.testing.assert_allclose(law.variance, 2.0, rtol=1e-6)


@pytest.mark.x64_only
@pytest.mark.parametrize("name", COVARIANCES)
def test_hyper_parameters_have_the_derivatives_of_differences(name):
    points = jnp.array([[0.0, 0.0], [0.3, 1.1], [0.9, 0.2]])
    weights = jnp.array([1.0, -2.0, 0.5])

    @jax.jit
    @jax.value_and_grad
    def of(p):
        return nh.GaussianField(points, COVARIANCES[name]((1.0, 1.5), p)).sample(jax.random.key(3)) @ weights

    _, gradient = of(jnp.ones(3))
    for i, direction in enumerate(jnp.eye(3)):
        step = 1e-5
        difference = (of(1 + step * direction)[0] - of(1 - step * direction)[0]) / (2 * step)
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-7, atol=1e-9)
    assert jnp.count_nonzero(gradient) >= 2


@pytest.mark.slow
def test_batches_of_hyper_parameters_broadcast():
    covariance = PeriodicMatern((1.0, 1.0), jnp.array([[0.1], [0.2]]), jnp.array([0.5, 1.5, 2.5]), num_modes=4)
    assert covariance.batch_shape == (2, 3)
    assert covariance.mode_shape == (7, 7)
    assert covariance(jnp.zeros(2), jnp.zeros((5, 2))).shape == (2, 3, 5)
    single = PeriodicMatern((1.0, 1.0), 0.2, 2.5, num_modes=4)
    x, y = jnp.zeros(2), jnp.array([0.1, 0.2])
    np.testing.assert_allclose(covariance(x, y)[1, 2], single(x, y), rtol=1e-6)
    scaled = NeumannMatern((1.0,), 5.0, jnp.array([1.0, 2.0]), variance=jnp.array([[1.0], [2.0], [3.0]]), num_modes=4)
    assert scaled.batch_shape == scaled.normalized().batch_shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NeumannMatern((1.0,), 0.0, 2.0), "tau must be positive"),
        (lambda: NeumannMatern((1.0, 1.0), 1.0, 1.0), r"s must be above d/2 = 1\.0"),
        (lambda: NeumannMatern((1.0,), 1.0, 2.0, variance=-1.0), "variance must be positive"),
        (lambda: NeumannMatern((1.0,), 1.0, 2.0, margin=-1.0), "margin must be finite"),
        (lambda: NeumannMatern((1.0,), 1.0, 2.0, margin=(0.1, 0.1)), "margin must be one number or one for each"),
        (lambda: PeriodicMatern((1.0,), -0.1, 1.5), "length_scale must be positive"),
        (lambda: PeriodicMatern((1.0,), 0.1, jnp.nan), "smoothness must be positive"),
        (lambda: PeriodicMatern((0.0,), 0.1, 1.5), "lengths must be"),
        (lambda: PeriodicMatern((1.0,) * 4, 0.1, 1.5), "lengths must be"),
        (lambda: PeriodicMatern((1.0,), 0.1, 1.5, num_modes=0), "num_modes must be positive"),
        (lambda: PeriodicMatern((1.0,), jnp.ones(2), jnp.ones(3)), "broadcast to one batch shape"),
        (lambda: PeriodicSquaredExponential((1.0,), 0.1, variance=0.0), "variance must be positive"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
