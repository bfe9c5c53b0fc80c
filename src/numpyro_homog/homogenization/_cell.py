"""Finite-element cell problems on voxel grids and meshes."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._platform import voxels_per_chunk
from .._results import RESULTS
from .._tracing import is_traced
from ..grids import Grid
from ..meshes import Mesh
from ._boundary import AbstractBoundary
from ._conditioning import AbstractPreconditioner, ReferenceMedium
from ._effective import AbstractCell
from ._host import map_slices
from ._law import AbstractLaw, Coefficients
from ._mean_dilatation import largest_lame_ratio, warn_of_locking
from ._mesh_nodes import checked_elements
from ._mesh_space import MeshSpace
from ._primal_dual import AbstractDiscretization, Primal
from ._solve import Stats, energy_tensor
from ._space import AbstractSpace
from ._tensor_fields import Geometry
from ._voxel_space import VoxelSpace


class CellProblem(AbstractCell):
    """The cell problem div(C (e_m + grad w_m)) = 0 for unit strains e_m, on a grid or mesh.

    On a grid elements are multilinear, on a `Mesh` what it says; there is one coefficient (a scalar or a tensor) in
    each voxel or element.

    A cell problem is static: hashable, without arrays, free to close over or to pass through `jax.jit`.

    Args:
        grid: voxels of the cell, or a `Mesh` in their place.
        law: the constitutive law, for example `Conductivity()`.
        boundary: the boundary condition of the corrector, for example `Periodic()`.
        tolerance: admissible relative error of each diagonal entry of the effective tensor with respect to the exact
            solution of the discrete problem, in (0, 1). The solver stops when the error is certified to be below it.
            Derivatives of the tensor have errors of the order of its square root: 1e-6 gives gradients to 1e-3.
        max_iterations: conjugate-gradient iterations after which a member is declared failed.
        discretization: `Primal()`, whose tensor is an upper bound; or, where they exist, `PrimalDual()`, whose tensor
            is far closer and costs twice as much, and `MeanDilatation()` for phases with Poisson's ratio above .49.
        preconditioner: `ReferenceMedium()`, or `Multigrid()` for high contrast.

    Raises:
        TypeError, ValueError: at construction, for arguments that are not as described.

    Warns, outside of JAX transformations, if a phase is so nearly incompressible that the elements lock.

    What it does not do: it has no error bar for the discretisation itself. Voxel elements are biased high; see
    `effective_bounds` and "Bounds" in the documentation.

    References:
        Moulinec and Suquet, CMAME 157 (1998), for the preconditioner by a homogeneous reference medium; Schneider,
        Merkert and Kabel, IJNME 109 (2017), for its use with finite elements.

    Example:
        >>> cell = CellProblem(Grid((32, 32)), Conductivity(), Periodic())
        >>> effective_tensor(cell, jnp.ones((10, 32, 32))).shape
        (10, 2, 2)
    """

    grid: Geometry = eqx.field(static=True)
    law: AbstractLaw = eqx.field(static=True)
    boundary: AbstractBoundary = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    max_iterations: int = eqx.field(static=True)
    discretization: AbstractDiscretization = eqx.field(static=True)
    preconditioner: AbstractPreconditioner = eqx.field(static=True)

    def __init__(
        self,
        grid,
        law,
        boundary,
        *,
        tolerance: float = 1e-6,
        max_iterations: int = 2000,
        discretization=Primal(),  # noqa: B008  (immutable)
        preconditioner=ReferenceMedium(),  # noqa: B008
    ):
        for value, kind, what in (
            (grid, Grid | Mesh, "a Grid or a Mesh"),
            (law, AbstractLaw, "a law such as Conductivity()"),
            (boundary, AbstractBoundary, "a boundary condition such as Periodic()"),
            (discretization, AbstractDiscretization, "discretization=Primal(), PrimalDual() or MeanDilatation()"),
            (preconditioner, AbstractPreconditioner, "preconditioner=ReferenceMedium() or Multigrid()"),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"CellProblem(grid, law, boundary) expects {what}; got {type(value).__name__}.")
        if not (math.isfinite(tolerance) and 0 < tolerance < 1):
            raise ValueError(f"tolerance is relative and must lie in (0, 1); got {tolerance}.")
        if max_iterations < 1 or int(max_iterations) != max_iterations:
            raise ValueError(f"max_iterations must be a positive integer; got {max_iterations}.")
        discretization.check(grid, law, boundary)
        preconditioner.check(grid, law, boundary)
        if isinstance(grid, Mesh):
            checked_elements(grid)
            boundary.numbers(grid)
        self.grid, self.law, self.boundary = grid, law, boundary
        self.discretization, self.preconditioner = discretization, preconditioner
        self.tolerance, self.max_iterations = float(tolerance), int(max_iterations)

    def compute_effective(
        self, field: PyTree, *, throw: bool = True, progress: bool = False
    ) -> Float[Array, "*batch d d"]:
        return evaluate(self, field, throw=throw, progress=progress)


def evaluate(cell: CellProblem, field: PyTree, *, throw: bool, progress: bool = False) -> PyTree:
    """What the discretisation of `cell` makes of `field`: a tensor, or several."""
    if is_traced(field):
        if progress:
            raise ValueError("progress=True needs concrete arrays; under jit, grad or vmap leave it out.")
        effective, result, _ = _compute_effective(cell, field)
    else:
        leaves, structure = jax.tree.flatten(field)
        batch, work = _measure(cell, structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves))
        effective, result, lame_ratio = map_slices(
            _compute_effective, cell, field, batch, smallest=2 * voxels_per_chunk() // work, progress=progress
        )
        warn_of_locking(cell.grid, lame_ratio, stacklevel=5)
    return raise_if_failed(effective, result) if throw else effective


@functools.lru_cache(maxsize=256)
def _measure(cell: CellProblem, structure: jax.tree_util.PyTreeDef, signature: tuple) -> tuple[tuple[int, ...], int]:
    """Batch axes of fields of one shape, and the work for a member in voxels."""
    arrays = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in signature])
    coefficients = jax.eval_shape(lambda field: cell.law.coefficients(field, cell.grid), arrays)
    return coefficients.batch, space_of(cell, coefficients.bases).work


@jax.jit
def _compute_effective(cell: CellProblem, field: PyTree) -> tuple[PyTree, RESULTS, Array | None]:
    """What the discretisation makes of a field, `RESULTS`, and `largest_lame_ratio`, each with the batch axes."""
    space, coefficients, batch = discretize(cell, field)
    parts = cell.discretization.problems(coefficients)
    # One batch of all problems: a member and its dual have the same contrast, and come to lie in the same chunks.
    joined = parts[0] if len(parts) == 1 else jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    energies, stats = energy_tensor(space, (cell.tolerance, cell.max_iterations), joined)
    stats = jax.tree.map(lambda x: jnp.concatenate(jnp.split(x, len(parts)), axis=-1), stats)
    result = result_of(cell, coefficients, stats)
    # A member that failed must not enter a formula whose derivative there is infinite, even if nobody asks for it.
    identity = jnp.eye(energies.shape[-1], dtype=energies.dtype)[None]
    least = [replace_failed(part, result, identity) for part in jnp.split(energies, len(parts))]
    effective = jax.tree.map(lambda x: replace_failed(x, result, jnp.nan), cell.discretization.combine(least))
    outputs = (effective, result, largest_lame_ratio(cell.grid, space.law, coefficients))
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), outputs)


def discretize(
    cell: CellProblem, field: PyTree, loads: tuple[int, ...] | None = None
) -> tuple[AbstractSpace, Coefficients, tuple[int, ...]]:
    """The space of a cell, coefficients with the batch axes joined to one, and the batch axes."""
    coefficients = cell.law.coefficients(field, cell.grid)
    batch = coefficients.batch
    space = space_of(cell, coefficients.bases, loads)
    return space, jax.tree.map(lambda x: x.reshape(math.prod(batch), *x.shape[len(batch) :]), coefficients), batch


@functools.lru_cache(maxsize=64)
def space_of(cell: CellProblem, bases: tuple, loads: tuple[int, ...] | None = None) -> AbstractSpace:
    """The space of the correctors of a cell for tensors `bases`, and its preconditioner, for all loads or some."""
    law, preconditioner = cell.discretization.law_of_elements(cell.law), cell.preconditioner
    loads = tuple(range(law.num_loads(cell.grid.ndim))) if loads is None else loads
    cycle = preconditioner.cycle(cell.grid, law, cell.boundary, bases)
    maker, switch = cycle and cycle.preconditioner, preconditioner.switch(law, cell.grid.ndim)
    if isinstance(cell.grid, Mesh):
        return MeshSpace(cell.grid, law, cell.boundary, bases, loads, maker, switch)
    return VoxelSpace(cell.grid, law, cell.boundary, bases, loads, maker, switch)


def result_of(cell: CellProblem, coefficients: Coefficients, stats: Stats) -> RESULTS:
    """`RESULTS` of each member, shape (batch,)."""

    def choose(valid: Array, converged: Array) -> RESULTS:
        trouble = RESULTS.where(valid, RESULTS.not_converged, RESULTS.bad_coefficient)  # type: ignore[arg-type]
        return RESULTS.where(valid & converged, RESULTS.successful, trouble)  # type: ignore[arg-type]

    certified = (stats["error"] >= 0) & (stats["error"] <= cell.tolerance)
    return jax.vmap(choose)(coefficients.valid, jnp.all(certified, axis=-1))


def replace_failed(array: Array, result: RESULTS, value: Array | float) -> Array:
    """`value` in place of the members that failed."""
    failed = jnp.expand_dims(result != RESULTS.successful, tuple(range(1, array.ndim)))
    return jnp.where(failed, value, array)


def raise_if_failed(effective: PyTree, result: RESULTS) -> PyTree:
    """Raise with the failed members when the values are known, and by a run-time check when they are traced."""
    failed = result != RESULTS.successful
    if isinstance(failed, jax.core.Tracer):
        return result.error_if(effective, failed)
    if not np.any(failed):
        return effective
    members = np.argwhere(failed)
    shown = ", ".join(str(tuple(member.tolist())) for member in members[:5])
    first = jax.tree.map(lambda value: value[tuple(members[0])], result)
    advice = RESULTS[first]  # type: ignore[type-arg, valid-type]
    raise RuntimeError(f"{advice} Failed members: {len(members)} of {np.size(failed)}, the first at index {shown}.")
