"""A cell solved on two grids, extrapolated."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..grids import Grid, block_means
from ..tensors import least_eigenvalue
from ._cell import CellProblem
from ._effective import AbstractCell, reject
from ._mixing import AbstractMixingRule, LaminateMixing, mix
from ._moduli import phase_moduli


class TwoGridCell(AbstractCell):
    """A cell on its grid and on one twice as coarse, extrapolated: K = K_h + (K_h - K_2h) / 3.

    The fractions of a coarse voxel are the means of those of its voxels. If the error is of second order in the voxel
    size, as it is for smooth coefficients and nearly so for laminate voxels with `PrimalDual()`, the leading part of it
    cancels; what that does to recovered parameters is measured in docs/accuracy.md. The tensor bounds nothing.

    The field is a pair `(phases, kappa)` with the arguments of `mix`: fractions of shape (*batch, *grid, J), and the
    property of each phase, shape (*batch, J), or in elasticity `Lame` moduli of such arrays, mixed in the plane
    state of the law.

    Args:
        cell: the cell on the fine grid, voxels in even number along each axis.
        rule: mixing rule of both grids.

    Raises:
        TypeError: if `cell` is no `CellProblem` on a `Grid`, or `rule` no mixing rule.
        ValueError: if the grid has an odd number of voxels along an axis.

    Costs a solve on each grid, five quarters of one in two dimensions, nine eighths in three; first derivatives none.

    Example:
        >>> cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), discretization=nh.PrimalDual())
        >>> nh.homogenize("K_eff", nh.TwoGridCell(cell), (phases, kappa))

    References:
        Richardson, Phil. Trans. R. Soc. A 210 (1911) 307.
    """

    cell: CellProblem
    coarse: CellProblem
    rule: AbstractMixingRule

    def __init__(self, cell, rule=LaminateMixing()):  # noqa: B008  (immutable)
        if not isinstance(cell, CellProblem) or not isinstance(cell.grid, Grid):
            raise TypeError(f"TwoGridCell(cell) expects a CellProblem on a Grid; got {cell!r}.")
        if not isinstance(rule, AbstractMixingRule):
            raise TypeError(f"rule must be a mixing rule such as LaminateMixing(); got {rule!r}.")
        if any(n % 2 for n in cell.grid.shape):
            raise ValueError(
                f"Two voxels become one: their number must be even along each axis; got {cell.grid.shape}."
            )
        self.cell, self.rule = cell, rule
        coarse = Grid(tuple(n // 2 for n in cell.grid.shape), lengths=cell.grid.lengths)
        self.coarse = dataclasses.replace(cell, grid=coarse)

    def compute_effective(
        self, field: PyTree, *, throw: bool = True, progress: bool = False
    ) -> Float[Array, "*batch d d"]:
        if not isinstance(field, tuple) or len(field) != 2:
            raise ValueError("TwoGridCell expects the pair (phases, kappa): fractions (*batch, *grid, J), properties.")
        phases, kappa = jnp.asarray(field[0]), phase_moduli(field[1])
        on_fine, on_coarse = _mixed(self, phases, kappa)
        fine = self.cell.compute_effective(on_fine, throw=throw, progress=progress)
        tensors = fine + (fine - self.coarse.compute_effective(on_coarse, throw=throw, progress=progress)) / 3
        bad = least_eigenvalue(jax.lax.stop_gradient(tensors)) <= 0
        return reject(tensors, bad, throw, "The grid is too coarse: its extrapolated tensor is not positive definite.")


@eqx.filter_jit
def _mixed(cell: Any, phases: Array, kappa: PyTree) -> tuple[PyTree, PyTree]:
    """Fields on both grids. Traced, so that bad properties are left to the solver, which knows what `throw` wants."""
    fine, coarse = cell.cell.grid, cell.coarse.grid
    field = mix(phases, kappa, cell.rule, grid=fine)
    return field, mix(block_means(phases, (2,) * fine.ndim), kappa, cell.rule, grid=coarse)
