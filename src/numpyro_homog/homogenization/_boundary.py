"""Boundary conditions of a cell problem: which correctors are admitted."""

import abc

import equinox as eqx
import numpy as np

from ..grids import Grid
from ..meshes import Mesh
from ._law import AbstractLaw
from ._mesh_nodes import faces, periodic_numbers
from ._reference import AbstractReference, box_reference, fourier_reference


class AbstractBoundary(eqx.Module):
    """The space of admissible correctors.

    The effective tensor is the least energy over that space, so a larger space gives a smaller tensor. To write one,
    say where the nodes are and how the stiffness of a homogeneous reference medium is inverted on the space: the
    iteration never leaves the range of that inverse.
    """

    @property
    def free(self) -> bool:
        """Whether faces are free, and the corrector has zero mean gradient instead; default: no.

        Opposite faces of a grid share their nodes unless they are free.
        """
        return False

    @abc.abstractmethod
    def numbers(self, mesh: Mesh) -> np.ndarray:
        """Number of the unknown at each point of a mesh, shape (num_points,), or -1 where the corrector vanishes."""

    @abc.abstractmethod
    def reference(self, grid: Grid, law: AbstractLaw) -> AbstractReference:
        """Inverse of the reference medium of `law` on the space."""


class Periodic(AbstractBoundary):
    """Periodic corrector of zero mean: the cell is the unit of a lattice."""

    def numbers(self, mesh: Mesh) -> np.ndarray:
        """Opposite faces share their nodes; raises ValueError if these do not match."""
        return periodic_numbers(mesh)

    def reference(self, grid: Grid, law: AbstractLaw) -> AbstractReference:
        """By Fourier transform."""
        return fourier_reference(grid, law)


class Affine(AbstractBoundary):
    """Kinematic uniform boundary conditions (KUBC): the corrector is zero on the boundary.

    The unknown is affine there. For a specimen in stiff clamps. The tensor is at least the periodic one, in the Loewner
    order.

    References:
        Huet, J. Mech. Phys. Solids 38 (1990); Hazanov and Huet, J. Mech. Phys. Solids 42 (1994).
    """

    def numbers(self, mesh: Mesh) -> np.ndarray:
        """Nodes inside of the box."""
        inner = ~np.any(np.logical_or(*faces(mesh)), axis=1)
        return np.where(inner, np.cumsum(inner) - 1, -1)

    def reference(self, grid: Grid, law: AbstractLaw) -> AbstractReference:
        """By one-dimensional eigenvectors that vanish at the ends."""
        return box_reference(grid, law, clamped=True)


class UniformFlux(AbstractBoundary):
    """Static uniform boundary conditions (SUBC): flux or traction of a uniform field.

    For a specimen loaded by dead forces. The tensor is at most the periodic one, in the Loewner order; its inverse is
    the mean strain under unit fluxes. The corrector is any field of zero mean gradient and zero mean; it has one more
    node than voxels along each axis.

    References:
        Huet, J. Mech. Phys. Solids 38 (1990); Hazanov and Huet, J. Mech. Phys. Solids 42 (1994).
    """

    @property
    def free(self) -> bool:
        return True

    def numbers(self, mesh: Mesh) -> np.ndarray:
        return np.arange(mesh.num_points)

    def reference(self, grid: Grid, law: AbstractLaw) -> AbstractReference:
        """By one-dimensional eigenvectors with free ends, on the fields of zero mean gradient."""
        return box_reference(grid, law, clamped=False)
