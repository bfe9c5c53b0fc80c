"""Solutions of cell problems that keep the correctors, and solutions that start from others."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from .._results import RESULTS
from ._cell import CellProblem, discretize, raise_if_failed, replace_failed, result_of
from ._mean_dilatation import MeanDilatation, largest_lame_ratio, warn_of_locking
from ._primal_dual import Primal
from ._solve import corrector, stationary_tensor


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
    """

    effective: Float[Array, "*batch m m"]
    corrector: Float[Array, "..."]
    result: RESULTS
    stats: dict[str, Array]
    cell: CellProblem = eqx.field(static=True)


def solve_cell(
    cell: CellProblem, field: PyTree, *, start: CellSolution | None = None, throw: bool = True
) -> CellSolution:
    """Solve a batch of cell problems and keep the correctors.

    Args:
        cell: the cell problem.
        field: as in `effective_tensor`.
        start: solution of similar cells to start from, on the same grid with the same boundary condition: of the same
            batch, or one member for all. Tensors and errors are certified as without it. Where it is no help (it
            failed, or is worse than nothing) it is not used. It carries no derivative.
        throw: raise if a member fails; with False its tensor and corrector are NaN and `result` says why.

    Raises:
        ValueError: at call or trace time, if `field` or `start` does not fit the cell, or the discretisation is not
            `Primal()` or `MeanDilatation()`.
        RuntimeError: at run time, if a member fails and `throw` is true.

    Costs one solve and memory for the correctors. The first derivative of the tensors costs no further solve in reverse
    mode, or in any mode under `jax.jit` if that of the correctors is not used; each other derivative costs one.

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
    if start is not None:
        _check_start(cell, start)
    effective, solution, result, stats, lame_ratio = _solve_cell(
        cell, field, None if start is None else start.corrector
    )
    warn_of_locking(cell.grid, lame_ratio, stacklevel=3)
    if throw:
        effective = raise_if_failed(effective, result)
    return CellSolution(effective, solution, result, stats, cell)


def _check_start(cell, start):
    """Raise unless the correctors of `start` are admissible in `cell`."""
    if not isinstance(start, CellSolution):
        raise TypeError(f"start must be what solve_cell returned; got {type(start).__name__}.")
    kinds = [
        (c.grid, c.boundary, c.law.num_components(c.grid.ndim), c.law.num_loads(c.grid.ndim))
        for c in (start.cell, cell)
    ]
    for name, old, new in zip(("grid", "boundary", "number of components", "number of loads"), *kinds, strict=True):
        if old != new:
            raise ValueError(f"start was solved with another {name} ({old}) than the cell has ({new}); leave it out.")


@jax.jit
def _solve_cell(cell, field, start):
    problem, coefficients, batch = discretize(cell, field)
    solution, diagnostics = corrector(
        problem, coefficients, _unknowns(problem, start, batch, coefficients.values.dtype)
    )
    effective, rounding = stationary_tensor(problem, coefficients.values, solution)
    solution = problem.space.on_nodes(solution)
    result = result_of(problem, coefficients, diagnostics)
    if problem.law.num_components(cell.grid.ndim) == 1:
        solution = jnp.squeeze(solution, axis=2)
    effective, solution = (replace_failed(array, result, jnp.nan) for array in (effective, solution))
    stats = diagnostics._asdict() | {"error": diagnostics.error + lax.stop_gradient(rounding)}
    lame_ratio = largest_lame_ratio(cell.grid, problem.law, coefficients)
    outputs = (effective, solution, result, stats, lame_ratio)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), outputs)


def _unknowns(problem, start, batch, dtype):
    """Correctors (*batch, m, ...) as unknowns (batch, loads, components, ...), zero where they are not finite."""
    if start is None:
        return None
    own = 1 + (problem.law.num_components(problem.geometry.ndim) > 1) + problem.space.num_node_axes
    given = start.shape[: start.ndim - own]
    if given not in ((), batch):
        raise ValueError(f"start has the batch axes {given}; expected those of the field, {batch}, or none.")
    solution = lax.stop_gradient(jnp.broadcast_to(start, (*batch, *start.shape[len(given) :])).astype(dtype))
    solution = solution.reshape(math.prod(batch), *solution.shape[len(batch) :])
    if own == 1 + problem.space.num_node_axes:
        solution = jnp.expand_dims(solution, 2)
    finite = jnp.all(jnp.isfinite(solution), axis=tuple(range(1, solution.ndim)), keepdims=True)
    return problem.space.from_nodes(jnp.where(finite, solution, 0))
