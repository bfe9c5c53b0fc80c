"""Solutions of cell problems that keep the correctors, solutions that start from others, and fields in the voxels."""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from .._results import RESULTS
from ._cell import CellProblem, discretize, raise_if_failed, replace_failed, result_of
from ._mean_dilatation import MeanDilatation, largest_lame_ratio, warn_of_locking
from ._primal_dual import Primal
from ._solve import corrector, stationary_tensor
from ._space import AbstractSpace
from ._tensor_fields import Unknown


class CellSolution(eqx.Module):
    """Solution of a batch of cell problems.

    Attributes:
        effective: effective tensors, shape (*batch, m, m), in the unit of the field.
        corrector: w_m, shape (*batch, m, *grid), zero mean, in the unit of length times the unit strain; value [i]
            sits at the first corner of voxel i. On a mesh it has shape (*batch, m, num_points). The whole unknown of
            load case m is x_m + w_m.
        result: `RESULTS` of each member, shape (*batch,).
        stats: "iterations", "residual" (relative to the load or, with `start`, to the residual at the start, in the
            norm of the preconditioner) and "error" (certified relative error of the diagonal of the tensor: what is
            held against the tolerance, and an estimate of the rounding, which in 32 bits can exceed it), each of shape
            (*batch, m).
        cell: the cell problem, static.
        loads: numbers of the load cases, static, where only these were asked for; m is then their number. Else None.
    """

    effective: Float[Array, "*batch m m"]
    corrector: Float[Array, "*batch_m_nodes"]
    result: RESULTS
    stats: dict[str, Array]
    cell: CellProblem = eqx.field(static=True)
    loads: tuple[int, ...] | None = eqx.field(static=True, default=None)


def solve_cell(
    cell: CellProblem,
    field: PyTree,
    *,
    loads: Sequence[int] | None = None,
    start: CellSolution | None = None,
    throw: bool = True,
) -> CellSolution:
    """Solve a batch of cell problems and keep the correctors.

    Args:
        cell: the cell problem.
        field: as in `effective_tensor`.
        loads: numbers of the unit strains to solve for, different ones from 0, in the order of the rows of the tensor:
            in elasticity [0] is the strain along the first axis, [3, 4, 5] are the shears in space. Default: all.
        start: solution of similar cells to start from, on the same grid with the same boundary condition and loads: of
            the same batch, or one member for all. Tensors and errors are certified as without it. Where it is no help
            (it failed, or is worse than nothing) it is not used. It carries no derivative.
        throw: raise if a member fails; with False its tensor and corrector are NaN and `result` says why.

    Returns:
        `CellSolution`. With `loads` it has these rows and columns of the tensor, which are as accurate as without; the
        other rows of these columns are means of the flux, `jnp.mean(local_fields(...).flux, grid axes)` on a grid,
        right to the square root of the tolerance.

    Raises:
        ValueError: at call or trace time, if `field`, `loads` or `start` does not fit the cell, or the discretisation
            is not `Primal()` or `MeanDilatation()`.
        RuntimeError: at run time, if a member fails and `throw` is true.

    Costs one solve for each load and memory for the correctors: one load of a large elastic cell in space takes a sixth
    of all. The first derivative of the tensors costs no further solve in reverse mode, or in any mode under `jax.jit`
    if that of the correctors is not used; each other derivative costs one.

    Example:
        >>> cell = CellProblem(Grid((32, 32)), Conductivity(), Periodic())
        >>> solution = solve_cell(cell, 1 + jnp.eye(32))
        >>> solution = solve_cell(cell, 1 + 1.01 * jnp.eye(32), start=solution)
    """
    if not isinstance(cell.discretization, Primal | MeanDilatation):
        raise ValueError(
            f"solve_cell has the corrector of one problem, but cell.discretization is {cell.discretization}; build the"
            " cell with discretization=Primal(), the default, or MeanDilatation()."
        )
    if loads is not None:
        num_loads = cell.law.num_loads(cell.grid.ndim)
        loads = tuple(map(operator.index, loads))
        if not loads or len(set(loads)) < len(loads) or not all(0 <= load < num_loads for load in loads):
            raise ValueError(f"loads must be different numbers from 0 to {num_loads - 1} for this cell; got {loads}.")
    if start is not None:
        _check_start(cell, loads, start)
    effective, solution, result, stats, lame_ratio = _solve_cell(
        cell, field, loads, None if start is None else start.corrector
    )
    warn_of_locking(cell.grid, lame_ratio, stacklevel=3)
    if throw:
        effective = raise_if_failed(effective, result)
    return CellSolution(effective, solution, result, stats, cell, loads)


def _check_start(cell: CellProblem, loads: tuple[int, ...] | None, start: CellSolution) -> None:
    """Raise unless the correctors of `start` are admissible in `cell`."""
    if not isinstance(start, CellSolution):
        raise TypeError(f"start must be what solve_cell returned; got {type(start).__name__}.")
    kinds = [
        (c.grid, c.boundary, c.law.num_components(c.grid.ndim), c.law.num_loads(c.grid.ndim), of)
        for c, of in ((start.cell, start.loads), (cell, loads))
    ]
    names = ("grid", "boundary", "number of components", "number of loads", "choice of loads")
    for name, old, new in zip(names, *kinds, strict=True):
        if old != new:
            raise ValueError(f"start was solved with another {name} ({old}) than the cell has ({new}); leave it out.")


@functools.partial(jax.jit, static_argnums=2)
def _solve_cell(cell: CellProblem, field: PyTree, loads: tuple[int, ...] | None, start: Array | None) -> tuple:
    """Tensors, correctors, `RESULTS`, statistics and `largest_lame_ratio`, each with the batch axes."""
    space, coefficients, batch = discretize(cell, field, loads)
    if start is not None:
        start = _start(space, start, batch, coefficients.values.dtype)
    solution, stats = corrector(space, (cell.tolerance, cell.max_iterations), coefficients, start)
    effective, rounding = stationary_tensor(space, coefficients.values, solution)
    result = result_of(cell, coefficients, stats)
    solution = space.on_points(solution).reshape(-1, *space.corrector_shape)
    effective, solution = (replace_failed(array, result, jnp.nan) for array in (effective, solution))
    stats = stats | {"error": stats["error"] + lax.stop_gradient(rounding)}
    outputs = (effective, solution, result, stats, largest_lame_ratio(cell.grid, space.law, coefficients))
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), outputs)


def _start(space: AbstractSpace, start: Array, batch: tuple[int, ...], dtype: np.dtype) -> Unknown:
    """Correctors (*batch, ...) as unknowns, zero where they are not finite."""
    given = start.shape[: start.ndim - len(space.corrector_shape)]
    if given not in ((), batch):
        raise ValueError(f"start has the batch axes {given}; expected those of the field, {batch}, or none.")
    solution = lax.stop_gradient(jnp.broadcast_to(start, (*batch, *space.corrector_shape)).astype(dtype))
    solution = to_unknown(space, solution)
    finite = jnp.all(jnp.isfinite(solution), axis=tuple(range(1, solution.ndim)), keepdims=True)
    return jnp.where(finite, solution, 0)


def to_unknown(space: AbstractSpace, corrector: Array) -> Unknown:
    """Correctors (*batch, *space.corrector_shape) as unknowns."""
    return space.from_points(corrector.reshape(-1, len(space.loads), space.num_components, *space.points))


class LocalFields(NamedTuple):
    """Means over each voxel or element of the gradient and of the flux, for each load case.

    Attributes:
        gradient: e_m + grad w_m (in elasticity the strain, Mandel), shape (*batch, m, *grid, m).
        flux: C(x) times the gradient (in elasticity the stress, Mandel), of the same shape, in the unit of C. In
            conduction this is k grad u: the heat flux q is minus it.
    """

    gradient: Float[Array, "*batch_m_grid m"]
    flux: Float[Array, "*batch_m_grid m"]


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
    return _local_fields(cell, field, solution.loads, solution.corrector)


@functools.partial(jax.jit, static_argnums=2)
def _local_fields(cell: CellProblem, field: PyTree, loads: tuple[int, ...] | None, corrector: Array) -> LocalFields:
    space, coefficients, batch = discretize(cell, field, loads)
    expected = (*batch, *space.corrector_shape)
    if corrector.shape != expected:
        raise ValueError(
            f"solution.corrector has shape {corrector.shape}, but this field on this cell has correctors of shape"
            f" {expected}; pass the solution of solve_cell(cell, field)."
        )
    strains = space.mean_strains(to_unknown(space, corrector))
    bases = jnp.asarray(np.array(space.bases), strains.dtype)
    flux = jnp.zeros((), strains.dtype)
    for c, basis in enumerate(bases):
        stresses = jnp.moveaxis(jnp.tensordot(strains, basis, axes=(2, 1), precision=lax.Precision.HIGHEST), -1, 2)
        flux = flux + jnp.expand_dims(coefficients.values[:, c], (1, 2)) * stresses
    return LocalFields(
        *(jnp.moveaxis(x, 2, -1).reshape(*batch, *x.shape[1:2], *x.shape[3:], -1) for x in (strains, flux))
    )
