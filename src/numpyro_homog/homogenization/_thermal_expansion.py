"""Effective thermal expansion of a cell, from the correctors of its stiffness."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Real

from ._cell import CellProblem, discretize
from ._elastic_mixture import ElasticMixture
from ._elasticity import LinearElasticity
from ._moduli import Lame, spherical
from ._solution import CellSolution, solve_cell, to_unknown

_EXACT = lax.Precision.HIGHEST


class ThermalExpansion(NamedTuple):
    """Effective stiffness and thermal expansion.

    Attributes:
        stiffness: effective stiffness C, Mandel, shape (*batch, m, m), in the unit of the field.
        expansion: effective expansion, Mandel, shape (*batch, m), in the unit of the expansions of the materials.
        error: bound of the error of `expansion` that the tolerance of the cell leaves, shape (*batch, m), to leading
            order in it. No derivative.
    """

    stiffness: Float[Array, "*batch m m"]
    expansion: Float[Array, "*batch m"]
    error: Float[Array, "*batch m"]


def thermal_expansion(
    cell: CellProblem, field: PyTree, expansion: Real[ArrayLike, "*materials"], *, throw: bool = True
) -> ThermalExpansion:
    """Effective stiffness and thermal expansion (or any other eigenstrain) of a cell.

    With stress = C(x) (strain - alpha(x) T), the strains A(x) of the unit load cases and volume averages <.>,

        C* alpha* = <A' C alpha> = C* alpha_0 + <A' C (alpha - alpha_0)>,

    for any number of phases: the strain that a rise of temperature by one brings about in a free cell. The constant
    alpha_0 = <C>^-1 <C alpha> takes out what the correctors need not tell, so a uniform expansion is exact.

    Args:
        cell: a `CellProblem` with `LinearElasticity`, on a grid or a mesh, in plane strain, plane stress or space.
        field: as in `effective_tensor`.
        expansion: how much the materials expand. For phases mixed by `mix`: the coefficient of linear expansion of each
            phase, shape (*batch, J). For a field of `Lame` moduli: that of each voxel, shape (*batch, *grid). For
            either Lame moduli or Mandel stiffnesses: a stress-free strain in Mandel notation, (*batch, *grid, m), in 2D
            that of the plane problem. Batch axes broadcast to those of `field`.
        throw: raise if a member fails; with False its results are NaN.

    Returns:
        `ThermalExpansion`, the tuple (stiffness, expansion, error). In plane strain the expansion is that of a prism
        whose ends are held: (1 + nu) alpha for one material.

    Raises:
        TypeError: if `cell` is no `CellProblem` with `LinearElasticity`.
        ValueError: at call or trace time, if shapes do not fit; for a scalar expansion with stiffnesses in plane
            strain, which do not tell how the material pushes out of the plane; for geometric mixing.
        RuntimeError: at run time, if a member fails and `throw` is true.

    Costs one solve and the memory of `local_fields`. The stiffness has the accuracy of the tolerance, the expansion
    that of its square root times how much the materials differ: `error` bounds it. Differentiable as `solve_cell`: the
    derivative in `expansion` costs no solve, that in `field` one.

    References:
        Levin, Mech. Solids 2 (1967) 58, for two phases; Rosen and Hashin, Int. J. Eng. Sci. 8 (1970) 157, for more.

    Example:
        >>> cell = nh.CellProblem(nh.Grid((32, 32)), nh.LinearElasticity("stress"), nh.Periodic(), tolerance=1e-8)
        >>> field = nh.mix(phases, nh.lame_from_young(jnp.array([3.0, 70.0]), jnp.array([0.4, 0.22])))
        >>> stiffness, expansion, error = nh.thermal_expansion(cell, field, jnp.array([60e-6, 5e-6]))
        >>> numpyro.deterministic("alpha_eff", expansion)
    """
    if not isinstance(cell, CellProblem) or not isinstance(cell.law, LinearElasticity):
        raise TypeError(f"thermal_expansion expects a CellProblem with LinearElasticity; got {cell!r}.")
    expansion = jnp.asarray(expansion)
    jax.eval_shape(lambda: _expansion_of_voxels(cell, field, expansion)[0])  # before anything is solved
    solution = solve_cell(cell, field, throw=throw)
    return ThermalExpansion(solution.effective, *_levin(cell, field, expansion, solution))


@jax.jit
def _levin(cell: CellProblem, field: PyTree, expansion: Array, solution: CellSolution) -> tuple[Array, Array]:
    space, coefficients, batch = discretize(cell, field)
    shape, size = cell.grid.shape, cell.law.num_loads(cell.grid.ndim)
    bases = jnp.asarray(np.array(coefficients.bases), coefficients.values.dtype)

    def on_voxels(strain: Float[Array, "batch m *grid"]) -> Float[Array, "batch m *grid"]:
        return jnp.einsum("bc...,cij,bj...->bi...", coefficients.values, bases, strain, precision=_EXACT)

    vectors, is_stress = _expansion_of_voxels(cell, field, expansion)
    vectors = jnp.broadcast_to(vectors, (*batch, *shape, size)).astype(bases.dtype)
    vectors = jnp.moveaxis(vectors.reshape(-1, *shape, size), -1, 1)
    stress = vectors if is_stress else on_voxels(vectors)
    mean = jnp.einsum("bc,cij->bij", space.mean(coefficients.values), bases, precision=_EXACT)
    uniform = _solve(mean, space.mean(stress))
    axes = tuple(range(2, stress.ndim))
    rest = stress - on_voxels(jnp.broadcast_to(jnp.expand_dims(uniform, axes), stress.shape))
    strains = space.mean_strains(to_unknown(space, solution.corrector))
    work = space.mean(jnp.sum(strains * jnp.expand_dims(rest, 1), axis=2))
    stiffness = solution.effective.reshape(-1, size, size)
    found = uniform + _solve(stiffness, work)
    # By Cauchy and Schwarz the error of `work` for load m is at most the root of: energy of the error of corrector m,
    # times <rest . C^-1 rest>, in which C >= least (I + ratio J).
    rest, coefficients, stiffness = lax.stop_gradient((rest, coefficients, stiffness))
    mode = jnp.asarray(cell.law.reference_mode(cell.grid.ndim), rest.dtype)
    share = coefficients.ratio / (1 + coefficients.ratio * jnp.trace(mode))
    along = jnp.einsum("bi...,ij,bj...->b...", rest, mode, rest, precision=_EXACT)
    squares = jnp.sum(rest**2, axis=1) - jnp.expand_dims(share, tuple(range(1, along.ndim))) * along
    energy = jnp.maximum(space.mean(squares[:, None])[:, 0], 0) / coefficients.least
    relative = lax.stop_gradient(solution.stats["error"]).reshape(-1, size)
    bound = jnp.sqrt(energy[:, None] * relative * jnp.diagonal(stiffness, axis1=1, axis2=2))
    error = jnp.einsum("bij,bj->bi", jnp.abs(jnp.linalg.inv(stiffness)), bound, precision=_EXACT)
    return found.reshape(*batch, size), error.reshape(*batch, size)


def _solve(matrices: Float[Array, "batch m m"], vectors: Float[Array, "batch m"]) -> Float[Array, "batch m"]:
    return jnp.linalg.solve(matrices, vectors[..., None])[..., 0]


def _expansion_of_voxels(cell: Any, field: PyTree, expansion: Array) -> tuple[Array, bool]:
    """Thermal stress or stress-free strain of the voxels, Mandel, on the last axis; and whether it is the stress."""
    grid, law = cell.grid, cell.law
    if isinstance(field, ElasticMixture):
        return field.thermal_stress(expansion, law.plane), True
    size, num, shape = law.num_loads(grid.ndim), len(grid.shape), expansion.shape
    scalar = shape[-num:] == grid.shape
    vector = shape[-1:] == (size,) and shape[-num - 1 : -1] == grid.shape
    if scalar == vector:
        raise ValueError(
            f"expansion has shape {shape} but cell.grid is {grid.shape}; expected one number for each voxel,"
            f" (*batch, *grid), or a strain in Mandel notation, (*batch, *grid, {size}); if both readings fit, use a"
            " finer grid. Expansions of phases go with a field of nh.mix(phases, moduli)."
        )
    if vector:
        return expansion, False
    if isinstance(field, tuple | list):
        modulus = Lame(*map(jnp.asarray, field)).thermal_modulus(law.plane)
        batch = jnp.broadcast_shapes(modulus.shape, shape)
        return spherical(jnp.broadcast_to(modulus, batch) * jnp.broadcast_to(expansion, batch), grid.ndim), True
    if grid.ndim == 2 and law.plane == "strain":
        raise ValueError(
            "A stiffness in plane strain does not tell the stress out of the plane, to which a coefficient of linear"
            " expansion leads; pass nh.Lame moduli, or the stress-free strain of the plane problem, (*batch, *grid, 3):"
            " (1 + nu) alpha (1, 1, 0) for an isotropic material."
        )
    return spherical(expansion, grid.ndim), False
