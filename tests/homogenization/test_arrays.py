"""Lattices of cylinders and spheres against series and bounds, extrapolated from two grids (first-order errors)."""

import jax.numpy as jnp
import numpy as np
import pytest
from lattices import inclusions

import numpyro_homog as nh
from numpyro_homog.homogenization import isotropic_stiffness

pytestmark = [pytest.mark.slow, pytest.mark.x64_only]


def extrapolated(lattice, fraction, properties, law, sizes=(16, 32)):
    """Effective tensors on two grids, one twice as fine, and their extrapolation."""
    tensors = []
    for n in sizes:
        share, grid = inclusions(lattice, fraction, n)
        cell = nh.CellProblem(grid, law, nh.Periodic(), tolerance=1e-6)
        phases = jnp.stack([1 - share, share], axis=-1)
        tensors.append(np.asarray(nh.effective_tensor(cell, nh.mix(phases, properties, grid=grid))))
    return 2 * tensors[1] - tensors[0]


def maxwell(fraction, contrast, d):
    """Maxwell-Garnett: the series of a lattice up to terms of high order in the fraction."""
    beta = (contrast - 1) / (contrast + d - 1)
    return 1 + d * beta * fraction / (1 - beta * fraction)


@pytest.mark.parametrize(
    ("lattice", "fraction", "contrast", "expected", "rtol"),
    [
        # Rayleigh's multipoles; Perrins, McKenzie and McPhedran, Proc. R. Soc. Lond. A 369 (1979).
        ("square", 0.3, 10.0, 1.652036, 1e-3),
        ("square", 0.5, 10.0, 2.415467, 2e-3),
        ("square", 0.5, 0.1, 1 / 2.415467, 2e-3),
        # The next term of the hexagonal series is .075 beta^2 f^6 (same paper).
        ("hexagonal", 0.3, 10.0, maxwell(0.3, 10.0, 2), 1e-3),
        ("hexagonal", 0.3, 3.0, maxwell(0.3, 3.0, 2), 1e-3),
        # Sangani and Acrivos, Proc. R. Soc. Lond. A 386 (1983).
        ("simple cubic", 0.1, 10.0, 1.24334, 1e-3),
        ("simple cubic", 0.2, 10.0, 1.53172, 2e-3),
        ("body-centred", 0.1, 10.0, maxwell(0.1, 10.0, 3), 2e-3),
        ("face-centred", 0.1, 5.0, maxwell(0.1, 5.0, 3), 2e-3),
    ],
)
def test_conductivities_of_lattices(lattice, fraction, contrast, expected, rtol):
    sizes = {"simple cubic": (16, 32), "body-centred": (24, 48), "face-centred": (24, 48)}.get(lattice, (32, 64))
    tensor = extrapolated(lattice, fraction, jnp.array([1.0, contrast]), nh.Conductivity(), sizes)
    np.testing.assert_allclose(tensor, expected * np.eye(len(tensor)), atol=rtol * expected, rtol=0)


def test_a_hexagonal_array_is_elastically_isotropic():
    lame = nh.lame_from_young(jnp.array([1.0, 10.0]), jnp.array([0.3, 0.3]))
    stiffness = extrapolated("hexagonal", 0.3, lame, nh.LinearElasticity())
    lame_effective, shear = stiffness[0, 1], stiffness[2, 2] / 2
    np.testing.assert_allclose(stiffness, isotropic_stiffness(lame_effective, shear, 2), atol=3e-3 * stiffness[0, 0])


@pytest.mark.parametrize("lattice", ["simple cubic", "face-centred"])
@pytest.mark.parametrize("contrast", [10.0, 0.01])
def test_the_bulk_modulus_of_cubic_lattices_is_next_to_hashin_shtrikman(lattice, contrast):
    """The bound is Hashin's sphere assemblage; lattices differ from it in high orders of the fraction."""
    lame, shear = nh.lame_from_young(jnp.array([1.0, contrast]), jnp.array([0.3, 0.3]))
    sizes = (8, 16) if lattice == "simple cubic" else (16, 32)  # four spheres to the cell are smaller
    stiffness = extrapolated(lattice, 0.1, nh.Lame(lame, shear), nh.LinearElasticity(), sizes)
    bulk = (stiffness[0, 0] + 2 * stiffness[0, 1]) / 3
    moduli = (lame + 2 * shear / 3, shear)
    lower, upper = nh.hashin_shtrikman_bounds(jnp.array([0.9, 0.1]), moduli, ndim=3)
    expected = lower[0] if contrast > 1 else upper[0]
    np.testing.assert_allclose(bulk, expected, rtol=1e-2)
