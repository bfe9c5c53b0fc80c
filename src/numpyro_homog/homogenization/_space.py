"""The finite-element space of a cell problem: one interface for grids and meshes."""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from .._platform import voxels_per_chunk
from ._boundary import AbstractBoundary
from ._law import AbstractLaw
from ._reference import AbstractReference
from ._tensor_fields import Energies, Geometry, Unknown, Values


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractSpace(abc.ABC):
    """The correctors that a boundary condition admits, and the stiffness of a law between them.

    The unknown has shape (batch, loads, components, *nodes), coefficients have shape (batch, c, *elements). To add one,
    write what is abstract here; the solver and the derivative rules ask for nothing else.
    """

    geometry: Geometry
    law: AbstractLaw  # as the elements see it
    boundary: AbstractBoundary
    bases: tuple  # constant tensors of the coefficients
    loads: tuple[int, ...]  # numbers of the unit strains
    cycle: Callable | None = None  # from coefficients to the preconditioner for contrasts above `switch`
    switch: float = math.inf

    @property
    def volume(self) -> float:
        """Volume of the cell."""
        return math.prod(self.geometry.lengths)

    @property
    def num_components(self) -> int:
        """Components of the unknown."""
        return self.law.num_components(self.geometry.ndim)

    @property
    def units(self) -> np.ndarray:
        """The unit strains, shape (loads, m)."""
        return np.eye(self.law.num_loads(self.geometry.ndim))[list(self.loads)]

    @functools.cached_property
    def strains(self) -> np.ndarray:
        """Strain of a unit gradient along each axis, shape (d, m, components)."""
        axes = np.eye(self.geometry.ndim)
        return np.concatenate([self.law.strain_operator(axis[None, None]) for axis in axes])  # of one node

    @property
    def chunk(self) -> int:
        """Members that are solved at a time."""
        return max(1, voxels_per_chunk() // self.work)

    @property
    def corrector_shape(self) -> tuple[int, ...]:
        """Shape of the corrector of one member, as users see it: a single component has no axis."""
        return (len(self.loads), *(self.num_components,) * (self.num_components > 1), *self.points)

    @property
    @abc.abstractmethod
    def work(self) -> int:
        """Work and memory of one member of a batch, in voxels."""

    @property
    @abc.abstractmethod
    def reference(self) -> AbstractReference:
        """The inverse of the stiffness of a reference medium."""

    @property
    @abc.abstractmethod
    def points(self) -> tuple[int, ...]:
        """Shape of what `on_points` makes of the nodes."""

    @abc.abstractmethod
    def mean(self, values: Values) -> Float[Array, "batch c"]:
        """Volume average of coefficients."""

    @abc.abstractmethod
    def prepare(self, values: Values) -> Array:
        """Coefficients as `apply` and `load` take them."""

    @abc.abstractmethod
    def apply(self, prepared: Array, unknown: Unknown, *, strained: bool = False) -> Unknown:
        """Stiffness times `unknown`; `strained` adds the unit strains to it: minus the residual at that corrector.

        Constants lie in the null space, so it acts on differences of nodal values: in 32-bit arithmetic the rounding
        error is then proportional to the differences and not to the values.
        """

    @abc.abstractmethod
    def load(self, prepared: Array) -> Unknown:
        """Right-hand sides of the cell problem: minus the stiffness of the affine unknowns."""

    @abc.abstractmethod
    def strain_energies(self, corrector: Unknown) -> Energies:
        """Sensitivity u_m' M_c u_n / volume of the tensor to coefficients by `load_pairs`, u = affine + corrector."""

    @abc.abstractmethod
    def mean_strains(self, corrector: Unknown) -> Float[Array, "batch loads m *elements"]:
        """Means over each element of the strain of affine + corrector."""

    @abc.abstractmethod
    def on_points(self, unknown: Unknown) -> Array:
        """The unknown at all points, shape (batch, loads, k, *points)."""

    @abc.abstractmethod
    def from_points(self, values: Array) -> Unknown:
        """Inverse of `on_points`."""
