"""GaussianField: points and grids, chunks, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import numpyro_homog as nh
from numpyro_homog.distributions import _covariance

KEY = jax.random.key(0)
TORUS = nh.PeriodicMatern((1.0, 1.0), 0.2, 1.5, num_modes=4)
BOX = nh.NeumannMatern((1.0, 1.0), 5.0, 3.0, num_modes=6)


@pytest.mark.x32
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_grid_means_its_voxel_centres(d, eps):
    grid = nh.Grid((3, 4, 5)[:d], lengths=(1.0, 2.0, 1.5)[:d])
    for covariance in (
        nh.PeriodicSquaredExponential(grid.lengths, 0.3, num_modes=4),
        nh.NeumannMatern(grid.lengths, 4.0, 3.0, variance=1.0, num_modes=5, margin=0.2),
    ):
        on_grid, at_points = nh.GaussianField(grid, covariance), nh.GaussianField(grid.centers(), covariance)
        assert on_grid.event_shape == at_points.event_shape == grid.shape
        values = jax.jit(lambda a=on_grid, b=at_points: (a.sample(KEY, (2,)), b.sample(KEY, (2,))))()
        np.testing.assert_allclose(*values, atol=100 * eps)
        assert not on_grid.mean.any()


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_chunks_of_points_change_nothing(leading, monkeypatch):
    coefficients = jax.random.normal(KEY, (*leading, 4, 5))
    points = jax.random.uniform(jax.random.key(1), (7, 3, 2))

    def total(points, coefficients):
        def function(x):
            modes = [jnp.cos(x[:, i, None] * jnp.arange(n)) for i, n in enumerate((4, 5))]
            return _covariance.sum_at_points(coefficients, modes)

        values = _covariance.in_chunks(function, 24, points)
        assert values.shape == (*leading, 7, 3)
        return jnp.sum(values**2), values

    def both():
        return jax.jit(jax.value_and_grad(lambda *args: total(*args), argnums=(0, 1), has_aux=True))

    whole = both()(points, coefficients)
    monkeypatch.setattr(_covariance, "_CHUNK_ENTRIES", 100)
    pieces = both()(points, coefficients)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_memory_is_bounded_at_scattered_points():
    """One derivative of 100 000 points with 128 x 128 modes, whose products alone would take 51 MB, many times."""
    covariance = nh.NeumannMatern((1.0, 1.0), 20.0, jnp.float32(3.0), variance=1.0, num_modes=128)
    points = jnp.zeros((100_000, 2), jnp.float32)

    def loss(points):
        return jnp.sum(nh.GaussianField(points, covariance).sample(KEY) ** 2)

    temporary = jax.jit(jax.grad(loss)).lower(points).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 150e6 * covariance.dtype.itemsize / 4


@pytest.mark.parametrize("x", [0.0, 0.5])
def test_values_are_normal_at_the_boundary_and_inside(x):
    """Kolmogorov-Smirnov at 1e-3: fails by chance once in a thousand keys."""
    values = nh.GaussianField(jnp.array([x, x]), BOX).sample(KEY, (4000,))
    sd = float(jnp.sqrt(nh.GaussianField(jnp.array([x, x]), BOX).variance))
    assert stats.kstest(np.asarray(values) / sd, "norm").pvalue > 1e-3


def test_samples_differ_in_space_and_between_members():
    law = nh.GaussianField(nh.Grid((4, 4)), nh.PeriodicMatern((1.0, 1.0), jnp.array([0.1, 0.1]), 1.5, num_modes=4))
    values = np.asarray(law.sample(KEY, (5,)))
    assert np.unique(values).size == values.size
    assert law.batch_shape == (2,)


@pytest.mark.x64_only
def test_the_derivative_with_respect_to_points():
    points = jnp.array([[0.2, 0.3], [0.7, 0.1]])

    @jax.jit
    @jax.value_and_grad
    def of(points):
        return nh.GaussianField(points, TORUS).sample(KEY).sum()

    direction, step = jax.random.normal(KEY, points.shape), 1e-6
    difference = (of(points + step * direction)[0] - of(points - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(jnp.sum(of(points)[1] * direction), difference, rtol=1e-7)


def test_the_dtype_is_that_of_the_covariance(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        covariance = nh.PeriodicMatern((1.0,), jnp.asarray(0.1, dtype), 1.5, num_modes=3)
        assert nh.GaussianField(nh.Grid(4), covariance).sample(KEY).dtype == dtype
        assert nh.GaussianField(np.zeros((2, 1)), covariance).sample(KEY).dtype == dtype


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nh.GaussianField(nh.Grid((4, 4, 4)), TORUS), "3 coordinates but the covariance has 2 lengths"),
        (lambda: nh.GaussianField(jnp.zeros(3), TORUS), "3 coordinates"),
        (lambda: nh.GaussianField(0.5, TORUS), "coordinates on the last axis"),
        (lambda: nh.GaussianField(nh.Grid((4, 4), lengths=(2.0, 1.0)), BOX), "only be mirrored; enlarge"),
        (lambda: nh.GaussianField(jnp.array([[0.5, -0.1]]), BOX), "points must be in the box"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError):
        nh.GaussianField(nh.Grid((4, 4)), 0.1)
    for field in (TORUS, nh.GaussianField(nh.Grid((4, 4)), TORUS).expand([2])):
        with pytest.raises(TypeError):
            nh.GaussianCopulaField(dist.Normal(), field)
        with pytest.raises(TypeError):
            nh.DirichletCopulaField(jnp.ones(2), field)
