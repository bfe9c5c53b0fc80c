"""Discretisations of a cell problem: from above alone, or from both sides."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from ._boundary import AbstractBoundary, Periodic
from ._law import AbstractLaw, Coefficients, Conductivity
from ._tensor_fields import Geometry

Tensors = Float[Array, "batch m m"]


class AbstractDiscretization(eqx.Module):
    """Which finite-element problems a cell solves, and what it makes of their energies.

    To add one, say for which cells it exists, turn the coefficients into one or several of the same kind, and combine
    the effective tensors of these. Derivatives follow by themselves and cost no solve.
    """

    @abc.abstractmethod
    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """Raise ValueError if the discretisation does not exist for such a cell."""

    def law_of_elements(self, law: AbstractLaw) -> AbstractLaw:
        """The law as the elements see it, with their strain; default: the law itself."""
        return law

    @abc.abstractmethod
    def problems(self, coefficients: Coefficients) -> list[Coefficients]:
        """Coefficients of the problems to be solved, whose values have shape (batch, c, *grid)."""

    @abc.abstractmethod
    def combine(self, energies: list[Tensors]) -> PyTree:
        """What the cell returns, from the least energies of `problems`."""


class Primal(AbstractDiscretization):
    """Voxel elements for the potential: an upper bound of the tensor in the Loewner order."""

    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """There is no cell for which it does not exist."""

    def problems(self, coefficients: Coefficients) -> list[Coefficients]:
        return [coefficients]

    def combine(self, energies: list[Tensors]) -> Tensors:
        return energies[0]


class AbstractDuality(AbstractDiscretization):
    """A cell problem and its dual, where that is a cell problem of the same kind."""

    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """Two dimensions, conduction, periodic."""
        if grid.ndim != 2 or not isinstance(law, Conductivity) or not isinstance(boundary, Periodic):
            raise ValueError(
                "PrimalDual() and effective_bounds need a two-dimensional cell, Conductivity() and Periodic(), where"
                f" the dual of a cell problem is a cell problem; got {grid.ndim} dimensions, {type(law).__name__} and"
                f" {type(boundary).__name__}. Otherwise the tensor of Primal() is an upper bound, and voigt_bound,"
                " reuss_bound and hashin_shtrikman_bounds know bounds from volume fractions."
            )

    def problems(self, coefficients: Coefficients) -> list[Coefficients]:
        return [coefficients, _dual(coefficients)]


class PrimalDual(AbstractDuality):
    """Geometric mean of an upper and a lower bound, which is far closer than either.

    The bounds are those of voxel elements for the potential and for the stream function. In the plane a periodic flux
    without sources is a gradient turned by 90 degrees, so the least dual energy is the tensor D of a second cell
    problem, whose coefficient is k / det k (1 / k for scalars), and D / det D is a lower bound. The mean

        A # B = A^(1/2) (A^(-1/2) B A^(-1/2))^(1/2) A^(1/2)

    obeys the duality of the continuum on every grid, and is exact where both bounds err by the same factor.

    Costs twice the solves of `Primal`; derivatives cost none. For a `CellProblem` in two dimensions with `Conductivity`
    and `Periodic`. `effective_bounds` returns the bounds with the mean.

    What it does not do: the mean is no bound. It knows no finer image than the field: errors of its voxels remain.

    References:
        Keller, J. Math. Phys. 5 (1964) 548; Dykhne, Sov. Phys. JETP 32 (1971) 63; Mendelson, J. Appl. Phys. 46 (1975)
        4740, for anisotropic coefficients; Pusz and Woronowicz, Rep. Math. Phys. 8 (1975) 159, for the mean.

    Example:
        >>> cell = CellProblem(Grid((32, 32)), Conductivity(), Periodic(), discretization=PrimalDual())
    """

    def combine(self, energies: list[Tensors]) -> Tensors:
        return _bounds(*energies).mean


class EffectiveBounds(NamedTuple):
    """Lower and upper bounds of tensors in the Loewner order, and their geometric means.

    Attributes:
        lower: shape (*batch, 2, 2), in the unit of the field.
        upper: likewise.
        mean: likewise; between the two, and far closer to the tensor than either.
    """

    lower: Float[Array, "*batch 2 2"]
    upper: Float[Array, "*batch 2 2"]
    mean: Float[Array, "*batch 2 2"]


class Bracket(AbstractDuality):
    """`PrimalDual`, with `EffectiveBounds` as its answer."""

    def combine(self, energies: list[Tensors]) -> EffectiveBounds:
        return _bounds(*energies)


def _dual(coefficients: Coefficients) -> Coefficients:
    """Coefficients k / det k, which is the inverse turned by 90 degrees."""
    valid = coefficients.valid
    least, greatest = (jnp.where(valid, lax.stop_gradient(x), 1) for x in (coefficients.least, coefficients.greatest))
    space = tuple(range(1, coefficients.values.ndim))
    # Free of units, so that no determinant under- or overflows; zero where there is no solution anyway.
    scale = lax.expand_dims(jnp.sqrt(least) * jnp.sqrt(greatest), space)
    known = lax.expand_dims(valid, space)
    values = jnp.where(known, coefficients.values / scale, 0)
    xx, xy, yy = (
        sum((basis[i][j] * values[:, c] for c, basis in enumerate(coefficients.bases) if basis[i][j]), 0 * values[:, 0])
        for i, j in ((0, 0), (0, 1), (1, 1))
    )
    determinant = jnp.where(known[:, 0], xx * yy - xy**2, 1)
    return eqx.tree_at(
        lambda c: (c.values, c.least, c.greatest),
        coefficients,
        (values / determinant[:, None] / scale, 1 / greatest, 1 / least),
    )


def _bounds(upper: Tensors, dual: Tensors) -> EffectiveBounds:
    """The bounds and their mean, of the least energies of both problems."""
    scale, determinant = _determinant(dual)
    lower = dual / (scale * determinant) / scale
    # The mean A # B = (A / a + B / b) (a b / det(A / a + B / b))^(1/2) with a^2 = det A and b^2 = det B.
    roots = [scale * jnp.sqrt(determinant) for scale, determinant in map(_determinant, (lower, upper))]
    total = lower / roots[0] + upper / roots[1]
    # Both summands have determinant one, so that of their sum is four at least.
    norm = total[..., 0, 0] * total[..., 1, 1] - total[..., 0, 1] ** 2
    mean = jnp.sqrt(roots[0]) * jnp.sqrt(roots[1]) / jnp.sqrt(norm[..., None, None]) * total
    return EffectiveBounds(lower, upper, mean)


def _determinant(matrix: Tensors) -> tuple[Array, Array]:
    """A number s with the unit of the 2 x 2 matrices, and det(matrix / s), each of shape (*batch, 1, 1)."""
    scale = lax.stop_gradient(jnp.sqrt(matrix[..., 0, 0]) * jnp.sqrt(matrix[..., 1, 1]))[..., None, None]
    free = matrix / scale
    return scale, (free[..., 0, 0] * free[..., 1, 1] - free[..., 0, 1] * free[..., 1, 0])[..., None, None]
