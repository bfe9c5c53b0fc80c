"""LaguerreTessellation: derivatives, sharp samples, dimensions, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.distributions import LaguerreTessellation

GRID = nh.Grid((8, 8))
KEY = jax.random.key(0)
DELAYS = jnp.array([0.0, 0.1, 0.05])


@pytest.mark.slow
@pytest.mark.x64_only
def test_path_derivative_agrees_with_common_random_numbers():
    def volume(t):
        return LaguerreTessellation(GRID, DELAYS + t * jnp.array([0.0, 1.0, 0.0])).rsample(KEY, (50,))[..., 1].mean()

    step = 1e-5
    difference = (volume(step) - volume(-step)) / (2 * step)
    assert float(jax.grad(volume)(0.0)) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.slow
def test_sharp_samples_are_one_hot_and_the_limit_of_fine_fractions():
    sharp = LaguerreTessellation(GRID, DELAYS, sharp=True).sample(KEY, (20,))
    assert set(np.unique(sharp)) == {0.0, 1.0}
    errors = []
    for n in (8, 32, 128):
        grid = nh.Grid((n, n))
        difference = LaguerreTessellation(grid, DELAYS).sample(KEY, (20,)) - LaguerreTessellation(
            grid, DELAYS, sharp=True
        ).sample(KEY, (20,))
        errors.append(float(jnp.abs(difference).mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.x32
@pytest.mark.parametrize("shape", [(40,), (10, 12, 14)])
def test_cells_in_any_dimension(shape):
    """Volumes are those of sharp cells on a finer grid, voxel by voxel but for the bend of an interface."""
    fine = nh.Grid(tuple(4 * n for n in shape))
    smooth = LaguerreTessellation(nh.Grid(shape), DELAYS).sample(KEY, (2,))
    assert smooth.shape == (2, *shape, 3)
    sharp = LaguerreTessellation(fine, DELAYS, sharp=True).sample(KEY, (2,))
    coarse = np.stack([nh.coarsen(np.asarray(cell), 4) for cell in sharp])
    assert np.abs(smooth - coarse).mean() < 0.01
    space = tuple(range(1, len(shape) + 1))
    np.testing.assert_allclose(smooth.mean(space), coarse.mean(space), atol=5e-3)


def test_bad_delays_are_refused():
    with pytest.raises(ValueError, match="delays"):
        LaguerreTessellation(GRID, jnp.array([0.0, jnp.nan]), validate_args=True)
    with pytest.raises(ValueError, match="one start time per phase"):
        LaguerreTessellation(GRID, jnp.zeros(()))
    with pytest.raises(ValueError, match="J >= 1"):
        LaguerreTessellation(GRID, jnp.zeros((3, 0)))


def test_dtype_follows_the_delays(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert LaguerreTessellation(GRID, DELAYS.astype(dtype)).sample(KEY).dtype == dtype
    assert LaguerreTessellation(GRID, jnp.array([0, 1])).sample(KEY).dtype == jnp.result_type(float)
