"""Gradient and flux in the voxels, from the correctors of a cell problem."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..meshes import Mesh
from ._cell import CellProblem
from ._jax_fem import voxel_element
from ._mesh_nodes import checked_elements
from ._solution import CellSolution


class LocalFields(NamedTuple):
    """Means over each voxel or element of the gradient and of the flux, for each load case.

    Attributes:
        gradient: e_m + grad w_m (in elasticity the strain, Mandel), shape (*batch, m, *grid, m).
        flux: C(x) times the gradient (in elasticity the stress, Mandel), of the same shape, in the unit of C. In
            conduction this is k grad u: the heat flux q is minus it.
    """

    gradient: Float[Array, "..."]
    flux: Float[Array, "..."]


def local_fields(cell: CellProblem, field: PyTree, solution: CellSolution) -> LocalFields:
    """Gradient and flux of a solved cell problem, averaged over each voxel.

    On a grid the mean of the gradient over a voxel is its value at the centre; on a mesh fields have one entry for each
    element. The volume average of the gradient of load case m is the unit strain e_m, and that of the flux is the
    effective tensor times e_m, up to the tolerance of the solver (its square root: the tensor is more accurate than the
    corrector).

    Args:
        cell: the cell problem, of any law.
        field: the coefficient it was solved for, as in `solve_cell`.
        solution: what `solve_cell(cell, field)` returned.

    Returns:
        `LocalFields`; NaN where the solution is.

    Raises:
        ValueError: at call or trace time, if `field` does not fit the cell, or `solution` not the field.

    Costs no solve, and the memory of a few correctors. Differentiable in `field` and `solution`.

    Example:
        >>> solution = solve_cell(cell, field)
        >>> gradient, flux = local_fields(cell, field, solution)
    """
    return _local_fields(cell, field, solution.corrector)


@jax.jit
def _local_fields(cell, field, corrector):
    grid, law = cell.grid, cell.law
    num_components, num_loads = law.num_components(grid.ndim), law.num_loads(grid.ndim)
    coefficients = law.coefficients(field, grid)
    # On a grid one more node than voxels where opposite faces share none.
    extra = int(corrector.shape[-1] == grid.shape[-1] + 1)
    nodes = (grid.num_points,) if isinstance(grid, Mesh) else tuple(n + extra for n in grid.shape)
    expected = (*coefficients.batch, num_loads, *(num_components,) * (num_components > 1), *nodes)
    if corrector.shape != expected:
        raise ValueError(
            f"solution.corrector has shape {corrector.shape}, but this field on this cell has correctors of shape"
            f" {expected}; pass the solution of solve_cell(cell, field)."
        )
    axes = len(grid.shape)
    if num_components == 1:
        corrector = jnp.expand_dims(corrector, -axes - 1)
    gradient = jnp.expand_dims(jnp.eye(num_loads, dtype=corrector.dtype), tuple(range(1, axes + 1)))
    gradient = jnp.broadcast_to(gradient, (*coefficients.batch, num_loads, *grid.shape, num_loads))
    # Differences to the first node: the strain of a constant is zero, also in rounded arithmetic.
    corners, strains = _mesh_corners(grid, law, corrector) if isinstance(grid, Mesh) else _corners(grid, law, corrector)
    for corner, strain in zip(corners[1:], strains[1:], strict=True):
        gradient = gradient + _times(strain, jnp.moveaxis(corner - corners[0], -axes - 1, -1))
    flux = jnp.zeros((), corrector.dtype)
    for index, basis in enumerate(coefficients.bases):
        value = coefficients.values[(..., index, *(slice(None),) * axes)]
        flux = flux + jnp.expand_dims(value, (-axes - 2, -1)) * _times(np.array(basis), gradient)
    return LocalFields(gradient, flux)


def _corners(grid, law, corrector):
    """Values at each node of the voxels, (..., components, *grid), and the mean strain that each makes."""
    element = voxel_element(grid.spacing)
    mean_gradients = np.einsum("q,qai->ai", element.weights, element.gradients) / element.weights.sum()
    strain = law.strain_operator(mean_gradients[None])[0].reshape(
        -1, len(element.corners), corrector.shape[-grid.ndim - 1]
    )
    voxels = (..., *(slice(n) for n in grid.shape))
    corners = [jnp.roll(corrector, tuple(-c), tuple(range(-grid.ndim, 0)))[voxels] for c in element.corners]
    return corners, np.moveaxis(strain, 1, 0)


def _mesh_corners(mesh, law, corrector):
    """Values at each node of the elements, (..., components, elements), and the mean strain that each makes."""
    elements = checked_elements(mesh)
    shares = elements.weights / elements.weights.sum(axis=1, keepdims=True)
    units = law.strain_operator(np.eye(mesh.ndim)[:, None, :])
    strain = np.einsum("isk,eq,eqai->aesk", units, shares, elements.gradients, optimize=True)
    return [corrector[..., nodes] for nodes in mesh.elements.T], strain


def _times(matrix, vectors):
    """A constant matrix, or one for each element, times the vectors on the last axis of an array."""
    matrix = jnp.asarray(matrix, vectors.dtype)
    subscripts = "...j,ij->...i" if matrix.ndim == 2 else "...ej,eij->...ei"
    return jnp.einsum(subscripts, vectors, matrix, precision=lax.Precision.HIGHEST)
