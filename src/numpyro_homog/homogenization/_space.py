"""The finite-element space of a cell problem: one interface for grids and meshes."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..grids import Grid
from ..meshes import Mesh
from ._boundary import AbstractBoundary
from ._box_reference import BoxReference
from ._law import AbstractLaw
from ._mesh_nodes import checked_elements
from ._mesh_operator import MeshOperator, mesh_operator
from ._operator import VoxelOperator, pad_coefficients, voxel_operator
from ._preconditioner import FourierReference
from ._tensor_fields import Geometry


class VoxelSpace(NamedTuple):
    """Multilinear elements on a grid.

    Attributes:
        operator: the stiffness on a periodic grid.
        shape: number of voxels along each axis.
        extra: nodes along each axis in excess of voxels; opposite faces then share no nodes.
        inverse: the reference medium.
    """

    operator: VoxelOperator
    shape: tuple[int, ...]
    extra: int
    inverse: FourierReference | BoxReference

    @property
    def num_loads(self) -> int:
        """Number of unit strains."""
        return len(self.operator.affine)

    @property
    def volume(self) -> float:
        """Volume of the cell."""
        return self.operator.volume

    def mean(self, values: Float[Array, "batch c *grid"]) -> Float[Array, "batch c"]:
        """Volume average of coefficients."""
        return jnp.mean(values, axis=tuple(range(2, values.ndim)))

    def prepare(self, values: Float[Array, "batch c *grid"]) -> Float[Array, "..."]:
        """Coefficients as `apply` takes them; a layer without stiffness parts faces that share no nodes."""
        if self.extra:
            ndim = len(self.shape)
            values = jnp.pad(values, [(0, 0)] * (values.ndim - ndim) + [(0, self.extra)] * ndim)
        return pad_coefficients(values)

    def apply(self, prepared, unknown, *, strained: bool = False) -> Float[Array, "..."]:
        """`VoxelOperator.apply`."""
        return self.operator.apply(prepared, unknown, strained=strained)

    def load(self, prepared) -> Float[Array, "..."]:
        """`VoxelOperator.load`."""
        return self.operator.load(prepared, tuple(n + self.extra for n in self.shape))

    def strain_energies(self, solution: Float[Array, "..."]) -> Float[Array, "..."]:
        """`VoxelOperator.strain_energies` of the voxels of the grid."""
        return self.operator.strain_energies(solution)[(..., *(slice(n) for n in self.shape))]

    @property
    def num_node_axes(self) -> int:
        """Number of axes over which `on_nodes` lays the nodes."""
        return len(self.shape)

    def on_nodes(self, unknown: Float[Array, "..."]) -> Float[Array, "..."]:
        """The unknown itself."""
        return unknown

    def from_nodes(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """Inverse of `on_nodes`: the values themselves."""
        return values


@functools.lru_cache(maxsize=64)
def discrete_space(
    geometry: Geometry, law: AbstractLaw, boundary: AbstractBoundary, bases: tuple
) -> VoxelSpace | MeshOperator:
    """The space of correctors that `boundary` admits, with the stiffness of `law` for tensors `bases`.

    Raises:
        ValueError: if a mesh is not what the boundary condition needs.
    """
    if isinstance(geometry, Mesh):
        return mesh_operator(geometry, law, bases, boundary.numbers(geometry), boundary.free)
    return _voxel_space(geometry, law, boundary, bases)


def _voxel_space(grid: Grid, law, boundary, bases):
    operator = voxel_operator(grid, law, bases)
    return VoxelSpace(operator, grid.shape, int(boundary.free), boundary.reference(grid, law))


def check_mesh(mesh: Mesh, boundary: AbstractBoundary) -> None:
    """Raise ValueError if the elements of a mesh are no mesh, or not what the boundary condition needs."""
    checked_elements(mesh)
    boundary.numbers(mesh)


def work(geometry: Geometry, law: AbstractLaw) -> int:
    """Work and memory of one member of a batch, in voxels."""
    if isinstance(geometry, Mesh):
        size = geometry.elements.shape[1] * law.num_components(geometry.ndim)
        return geometry.num_elements * max(1, size**2 // 16)
    return geometry.num_voxels
