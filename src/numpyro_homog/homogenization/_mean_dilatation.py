"""Voxel elements with one dilatation each, for nearly incompressible phases; and how to tell that plain ones lock."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..grids import Grid
from ..meshes import Mesh
from ._boundary import AbstractBoundary
from ._jax_fem import voxel_element
from ._law import AbstractLaw, Coefficients
from ._primal_dual import AbstractDiscretization, Tensors
from ._tensor_fields import Geometry, field_axes, weighted

# Poisson's ratio .49, where plain voxels are off by more than two percent on 32 x 32 (benchmarks/bench_locking.py).
LARGEST_LAME_RATIO = 50.0
FIRST_ORDER = ("TRI3", "QUAD4", "TET4", "HEX8")


class MeanDilatation(AbstractDiscretization):
    """Voxel elements that do not lock: each has its mean dilatation (B-bar).

    Plain voxels (`Primal`) cannot deform at constant volume, so a phase with Poisson's ratio near 1/2 makes them far
    too stiff. Here the strain eps = dev eps + (tr eps / d) 1 takes the mean of tr eps over the voxel. The energy is
    that of linear displacements with a constant pressure in each voxel, for Lame parameters and Mandel stiffnesses
    alike; with plane stress, where nothing locks, it changes little. A displacement without energy is a rigid motion:
    there are no hourglass modes. Pressures of single voxels may oscillate like a checkerboard; tensors do not feel it.

    The energy is at most that of plain voxels and is no upper bound of the exact one: errors have either sign. An
    iteration costs what it does with `Primal`; first derivatives cost no solve. For `LinearElasticity` and symmetric
    `TensorMapLaw` on a `Grid`, with all boundary conditions. Meshes have elements of second order for that.

    References:
        Nagtegaal, Parks and Rice, CMAME 4 (1974) 153; Hughes, IJNME 15 (1980) 1413, for B-bar; Simo and Hughes,
        Computational Inelasticity (1998), section 4.5, for the pressure behind it.

    Example:
        >>> cell = CellProblem(Grid((32, 32)), LinearElasticity(), Periodic(), discretization=MeanDilatation())
    """

    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """Displacements on voxels."""
        if not isinstance(grid, Grid) or not law.symmetric_gradient:
            raise ValueError(
                "MeanDilatation() needs a Grid and a law of elasticity; got"
                f" {type(grid).__name__} and {type(law).__name__}. On a mesh take elements of second order"
                " (TRI6, QUAD8, TET10, HEX20), for conduction leave it out."
            )

    def law_of_elements(self, law: AbstractLaw) -> AbstractLaw:
        """With the mean dilatation in the place of that at each point."""
        return MeanDilatationLaw(law)

    def problems(self, coefficients: Coefficients) -> list[Coefficients]:
        return [coefficients]

    def combine(self, energies: list[Tensors]) -> Tensors:
        return energies[0]


class MeanDilatationLaw(AbstractLaw):
    """A law of elasticity whose strains have the mean dilatation of their element; all else is that of the law."""

    law: AbstractLaw

    def num_components(self, ndim: int) -> int:
        return self.law.num_components(ndim)

    def num_loads(self, ndim: int) -> int:
        return self.law.num_loads(ndim)

    def strain_operator(self, gradients: np.ndarray) -> np.ndarray:
        """The strain, its part along the reference mode averaged: on a box all points of the quadrature weigh alike."""
        strain, mode = self.law.strain_operator(gradients), self.reference_mode(gradients.shape[-1])
        return strain + (mode / np.trace(mode)) @ (strain.mean(axis=0) - strain)

    def affine(self, points: np.ndarray) -> np.ndarray:
        return self.law.affine(points)

    def reference_mode(self, ndim: int) -> np.ndarray:
        return self.law.reference_mode(ndim)

    @property
    def symmetric_gradient(self) -> bool:
        return True

    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        return self.law.coefficients(field, grid)

    def coercivity(self, spacing: tuple[float, ...]) -> float:
        """Least ratio of the energies with and without means, over the displacements of a voxel that are not rigid."""
        gradients, weights, _ = voxel_element(spacing)
        mean, exact = (
            np.einsum("q,qmi,qmj->ij", weights, strain, strain)
            for strain in (self.strain_operator(gradients), self.law.strain_operator(gradients))
        )
        values, vectors = np.linalg.eigh(exact)
        strained = values > 1e-10 * values[-1]
        half = vectors[:, strained] / np.sqrt(values[strained])
        return float(np.linalg.eigvalsh(half.T @ mean @ half)[0])


def largest_lame_ratio(grid: Geometry, law: AbstractLaw, coefficients: Coefficients) -> Float[Array, "*batch"] | None:
    """Greatest lambda / mu of each member where elements lock; None if they do not.

    Of a tensor, mu is half the mean stiffness across the dilatation, and 2 mu + d lambda that along it.
    """
    quadratic = isinstance(grid, Mesh) and grid.element_type not in FIRST_ORDER
    if grid.ndim == 1 or quadratic or not law.symmetric_gradient or isinstance(law, MeanDilatationLaw):
        return None
    mode, bases = law.reference_mode(grid.ndim), np.array(coefficients.bases)
    along = np.einsum("cij,ij->c", bases, mode) / np.trace(mode)
    across = (np.trace(bases, axis1=1, axis2=2) - along) / (len(mode) - 1)
    parts = jnp.moveaxis(lax.stop_gradient(coefficients.values), -len(grid.shape) - 1, 0)
    ratio = weighted(along, parts) / weighted(across, parts)
    return jnp.max(2 / grid.ndim * (ratio - 1), axis=field_axes(grid))


def warn_of_locking(grid: Geometry, ratio: Float[Array, "*batch"] | None, *, stacklevel: int) -> None:
    """Warn if `largest_lame_ratio` is known and beyond what plain elements can take."""
    if ratio is None or isinstance(ratio, jax.core.Tracer):
        return
    # What is infinite is no material, and has failed.
    worst = float(np.max(ratio, where=np.isfinite(ratio), initial=0.0))
    if worst <= LARGEST_LAME_RATIO:
        return
    mesh = isinstance(grid, Mesh)
    remedy = "elements of second order (TRI6, QUAD8, TET10, HEX20)" if mesh else "discretization=MeanDilatation()"
    warnings.warn(
        f"The elements lock: a phase is nearly incompressible (lambda / mu up to {worst:.3g}, Poisson's ratio"
        f" {worst / (2 + 2 * worst):.6g}), and the stiffness comes out too high, many times over near 1/2. Build the"
        f" CellProblem with {remedy}.",
        UserWarning,
        stacklevel=stacklevel,
    )
