"""Gradient and flux in the voxels, from the correctors of a cell problem."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ._cell import CellProblem, CellSolution
from ._jax_fem import voxel_element


class LocalFields(NamedTuple):
    """Means over each voxel of the gradient and of the flux, for each load case.

    Attributes:
        gradient: e_m + grad w_m (in elasticity the strain, Mandel), shape (*batch, m, *grid, m).
        flux: C(x) times the gradient (in elasticity the stress, Mandel), of the same shape, in the unit of C. In
            conduction this is k grad u: the heat flux q is minus it.
    """

    gradient: Float[Array, "..."]
    flux: Float[Array, "..."]


def local_fields(cell: CellProblem, field: PyTree, solution: CellSolution) -> LocalFields:
    """Gradient and flux of a solved cell problem, averaged over each voxel.

    The gradient of a multilinear element is a polynomial; its mean over the voxel is its value at the centre. The
    volume average of the gradient of load case m is the unit strain e_m, and that of the flux is the effective tensor
    times e_m, up to the tolerance of the solver (its square root: the tensor is more accurate than the corrector).

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
    # One more node than voxels where opposite faces share none.
    extra = int(corrector.shape[-1] == grid.shape[-1] + 1)
    nodes = tuple(n + extra for n in grid.shape)
    expected = (*coefficients.batch, num_loads, *(num_components,) * (num_components > 1), *nodes)
    if corrector.shape != expected:
        raise ValueError(
            f"solution.corrector has shape {corrector.shape}, but this field on this cell has correctors of shape"
            f" {expected}; pass the solution of solve_cell(cell, field)."
        )
    if num_components == 1:
        corrector = jnp.expand_dims(corrector, -grid.ndim - 1)
    element = voxel_element(grid.spacing)
    mean_gradients = np.einsum("q,qai->ai", element.weights, element.gradients) / element.weights.sum()
    strain = law.strain_operator(mean_gradients[None])[0].reshape(num_loads, len(element.corners), num_components)
    gradient = jnp.expand_dims(jnp.eye(num_loads, dtype=corrector.dtype), tuple(range(1, grid.ndim + 1)))
    gradient = jnp.broadcast_to(gradient, (*coefficients.batch, num_loads, *grid.shape, num_loads))
    # Differences to the first node: the strain of a constant is zero, also in rounded arithmetic.
    voxels = (..., *(slice(n) for n in grid.shape))
    corners = [jnp.roll(corrector, tuple(-c), tuple(range(-grid.ndim, 0)))[voxels] for c in element.corners]
    for node in range(1, len(corners)):
        difference = jnp.moveaxis(corners[node] - corners[0], -grid.ndim - 1, -1)
        gradient = gradient + _times(strain[:, node], difference)
    flux = jnp.zeros((), corrector.dtype)
    for index, basis in enumerate(coefficients.bases):
        value = coefficients.values[(..., index, *(slice(None),) * grid.ndim)]
        flux = flux + jnp.expand_dims(value, (-grid.ndim - 2, -1)) * _times(np.array(basis), gradient)
    return LocalFields(gradient, flux)


def _times(matrix, vectors):
    """A constant matrix times the vectors on the last axis of an array."""
    matrix = jnp.asarray(matrix, vectors.dtype)
    return jnp.einsum("...j,ij->...i", vectors, matrix, precision=lax.Precision.HIGHEST)
