"""Voids: a small stiffness in their place gives their tensor, with an error of the order of that stiffness."""

import jax.numpy as jnp
import numpy as np
import pytest
from lattices import inclusions

import numpyro_homog as nh


def holes(n, filling, law, fraction, **options):
    """Effective tensor of a square array of holes filled with so much of the matrix."""
    share, grid = inclusions("square", fraction, n)
    cell = nh.CellProblem(grid, law, nh.Periodic(), tolerance=1e-6, preconditioner=nh.Multigrid(), **options)
    moduli = jnp.array([1.0, filling])
    if isinstance(law, nh.LinearElasticity):
        moduli = nh.lame_from_young(moduli, jnp.full(2, 0.3))
    return nh.effective_tensor(cell, nh.mix(jnp.stack([1 - share, share], axis=-1), moduli, grid=grid))


@pytest.mark.slow
@pytest.mark.x64_only
def test_insulating_holes():
    """The series of Perrins, McKenzie and McPhedran, Proc. R. Soc. A 369 (1979), eq. (14), at zero conductivity."""
    f = 0.3
    exact = 1 - 2 * f / (1 + f - 0.305827 * f**4 / (1 - 1.402958 * f**8) - 0.013362 * f**8)
    tensors = {filling: holes(32, filling, nh.Conductivity(), f) for filling in (1e-4, 1e-6, 1e-8)}
    np.testing.assert_allclose(tensors[1e-6], exact * np.eye(2), atol=4e-3 * exact)
    change = tensors[1e-4][0, 0] - tensors[1e-6][0, 0], tensors[1e-6][0, 0] - tensors[1e-8][0, 0]
    assert 0 < change[0] < 3e-4
    assert abs(change[1]) < 0.05 * change[0]


@pytest.mark.slow
@pytest.mark.x64_only
def test_elastic_holes():
    """The bulk modulus of the plane is next to the bound of Hashin and Shtrikman, and approaches it with the grid."""
    lame, shear = nh.lame_from_young(jnp.array([1.0, 1e-6]), jnp.full(2, 0.3))
    _, upper = nh.hashin_shtrikman_bounds(jnp.array([0.9, 0.1]), (lame + shear, shear), ndim=2)
    bulk = [np.mean(holes(n, 1e-6, nh.LinearElasticity(), 0.1)[0, :2]) for n in (32, 64)]
    error = np.array(bulk) / upper[0] - 1
    np.testing.assert_allclose(error, [-0.0163, -0.0094], atol=2e-3)
    assert abs(2 * error[1] - error[0]) < 4e-3


def test_zero_is_refused_with_advice():
    cell = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic())
    with pytest.raises(RuntimeError, match=r"void needs a small coefficient"):
        nh.effective_tensor(cell, jnp.ones((8, 8)).at[2, 3].set(0.0))
