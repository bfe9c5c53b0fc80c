"""Voxel grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh

pytestmark = pytest.mark.x32


def test_what_a_grid_knows():
    grid = nh.Grid((4, 5), lengths=(2.0, 10.0))
    assert (grid.shape, grid.lengths, grid.spacing) == ((4, 5), (2.0, 10.0), (0.5, 2.0))
    assert (grid.ndim, grid.num_voxels, grid.voxel_volume) == (2, 20, 1.0)
    assert nh.Grid((4, 5)).lengths == (1.0, 1.0)
    assert nh.Grid(7) == nh.Grid((7,)) == nh.Grid([7])
    assert nh.Grid((np.int64(3), 2)) == nh.Grid(np.array([3, 2])) == nh.Grid(jnp.array([3, 2])) == nh.Grid([3, 2])
    assert nh.Grid(np.int32(7)) == nh.Grid(7)


def test_centers_run_along_their_own_axis():
    grid = nh.Grid((2, 3), lengths=(1.0, 6.0))
    centers = grid.centers()
    assert centers.shape == (2, 3, 2)
    np.testing.assert_allclose(centers[:, 0, 0], [0.25, 0.75])
    np.testing.assert_allclose(centers[0, :, 1], [1.0, 3.0, 5.0])
    assert np.ptp(centers[:, 0, 1]) == np.ptp(centers[0, :, 0]) == 0
    np.testing.assert_allclose(centers.mean((0, 1)), [0.5, 3.0], rtol=1e-6)
    assert nh.Grid((3, 2, 4)).centers().shape == (3, 2, 4, 3)


def test_the_dtype_of_centers_follows_the_session_or_the_argument():
    assert nh.Grid(3).centers().dtype == jnp.result_type(float)
    assert nh.Grid(3).centers(jnp.float16).dtype == jnp.float16


def test_a_grid_is_static():
    grid = nh.Grid((4, 5))
    assert jax.tree.leaves(grid) == []
    assert hash(grid) == hash(nh.Grid((4, 5), lengths=(1, 1)))
    assert grid == nh.Grid((4, 5), lengths=(1, 1)) != nh.Grid((5, 4))
    traces = []

    @jax.jit
    def count(grid, x):
        traces.append(grid)
        return x * grid.num_voxels

    assert count(grid, 2.0) == count(nh.Grid((4, 5)), 2.0) == 40
    assert len(traces) == 1


def test_two_numbers_are_two_axes_or_a_line_and_its_length_and_the_message_writes_both():
    """`Grid(32, 32)` made a line of 32 voxels, 32 long."""
    with pytest.raises(TypeError, match=r"write Grid\(\(32, 32\)\) for 2 axes, or Grid\(32, lengths=32\) for a line"):
        nh.Grid(32, 32)
    with pytest.raises(TypeError, match=r"write Grid\(\(8, 8, 8\)\) for 3 axes"):
        nh.Grid(8, 8, 8)
    with pytest.raises(TypeError, match=r"write Grid\(\(4, 5\), lengths=\(1.0, 2.0\)\)"):
        nh.Grid((4, 5), (1.0, 2.0))


@pytest.mark.parametrize("shape", [(), 0, (3, 0), (3, -1), (2.5, 3), (2, 2, 2, 2), 32.0, np.nan, "32", None, (4, "4")])
def test_a_bad_shape_is_refused(shape):
    with pytest.raises(ValueError, match="one, two or three positive integers"):
        nh.Grid(shape)


@pytest.mark.parametrize("lengths", [(1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, np.nan), (1.0, np.inf), (1.0, 1.0, 1.0)])
def test_bad_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="one positive finite length for each of the 2 axes"):
        nh.Grid((3, 3), lengths=lengths)
