"""Which preconditioner a cell problem is solved with."""

import abc
import math

import equinox as eqx

from ..grids import Grid
from ._boundary import AbstractBoundary, Affine, Periodic, UniformFlux
from ._law import AbstractLaw
from ._multigrid import GridCycle, coarser_shapes, grid_cycle
from ._tensor_fields import Geometry


class AbstractPreconditioner(eqx.Module):
    """How the iteration of a cell problem is preconditioned.

    It changes the cost of a tensor, and not the tensor. To add one, say for which cells it exists, and make the inverse
    that stands in for the reference medium.
    """

    @abc.abstractmethod
    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """Raise ValueError if there is none for such a cell."""

    @abc.abstractmethod
    def cycle(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary, bases: tuple) -> GridCycle | None:
        """What takes the place of the reference medium at high contrast, or None."""

    @abc.abstractmethod
    def switch(self, law: AbstractLaw, ndim: int) -> float:
        """Above this contrast `cycle` is used."""


class ReferenceMedium(AbstractPreconditioner):
    """Preconditioning by a homogeneous medium: best at low contrast (see `Multigrid`).

    Iterations do not depend on the mesh, and grow like the square root of the contrast.
    """

    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """It exists for all cells."""

    def cycle(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary, bases: tuple) -> None:
        return None

    def switch(self, law: AbstractLaw, ndim: int) -> float:
        return math.inf


class Multigrid(AbstractPreconditioner):
    """Preconditioning by coarser grids that know the coefficients: for high contrast.

    For voxel grids. Iterations do not depend on the mesh and grow slowly with the contrast (64 x 64 voxels of five
    phases, periodic, tolerance 1e-4: conduction 6 at contrast 1e3 and 8 at 1e4, elasticity 11 and 18); each costs one
    to three of `ReferenceMedium()`. The error is certified by a complementary energy, which costs some iterations more;
    in elasticity with `Affine()` and `UniformFlux()` by the least coefficient, which costs more of them. Members of a
    batch with low contrast go by the reference medium. Programs take longer to compile.

    Attributes:
        contrast: where it takes over from the reference medium; None for where it is the faster
            (`benchmarks/bench_contrast.py`): 12 for conduction, 30 for elasticity in the plane and 50 in space.

    Raises:
        ValueError: at construction, if `contrast` is no number >= 1; with `CellProblem`, for meshes, boundary
            conditions of one's own, and grids that cannot be halved down to few voxels.

    Example:
        >>> cell = CellProblem(Grid((64, 64)), Conductivity(), Periodic(), preconditioner=Multigrid())
    """

    contrast: float | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.contrast is not None and not self.contrast >= 1:
            raise ValueError(f"contrast is greatest over least coefficient, at least 1; got {self.contrast}.")

    def check(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary) -> None:
        """Voxels that can be halved."""
        if not isinstance(grid, Grid) or not isinstance(boundary, Periodic | Affine | UniformFlux):
            raise ValueError(
                f"Multigrid() needs a Grid, and Periodic(), Affine() or UniformFlux(); got {type(grid).__name__} and"
                f" {type(boundary).__name__}. Leave it out there: ReferenceMedium() is the default."
            )
        coarser_shapes(grid, law)

    def cycle(self, grid: Geometry, law: AbstractLaw, boundary: AbstractBoundary, bases: tuple) -> GridCycle:
        return grid_cycle(grid, law, boundary, bases)

    def switch(self, law: AbstractLaw, ndim: int) -> float:
        """`contrast`, or where the two take as long."""
        if self.contrast is not None:
            return self.contrast
        return 12.0 if law.num_components(ndim) == 1 else 30.0 if ndim < 3 else 50.0
