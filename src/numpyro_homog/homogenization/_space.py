"""The finite-element space of a cell problem: one interface for grids and meshes."""

import abc
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import jax.numpy as jnp
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


def load_pairs(num_loads: int) -> list[tuple[int, int]]:
    """Pairs (m, n) of load cases with m <= n: the entries of a symmetric tensor, row by row."""
    return list(itertools.combinations_with_replacement(range(num_loads), 2))


def contract(values: Values, energies: Energies) -> Float[Array, "batch m m"]:
    """Tensors sum_c sum_elements values_c energies_c, from energies of pairs in the order of `load_pairs`."""
    size, axes = _num_loads(energies), tuple(range(1, values.ndim))
    entries = {pair: jnp.sum(values * energies[:, :, p], axis=axes) for p, pair in enumerate(load_pairs(size))}
    rows = [jnp.stack([entries[min(m, n), max(m, n)] for n in range(size)], axis=-1) for m in range(size)]
    return jnp.stack(rows, axis=-2)


def rounding_error(values: Values, energies: Energies) -> Float[Array, "batch m"]:
    """Relative error that rounding makes of the diagonal of `contract`: eps (8 + N^(1/2)) for a sum of N terms.

    It grows with the moduli of the terms over their sum. A term is the outcome of a few operations, and the sum is made
    in lanes and blocks; in order it could err by more, up to eps N / 2. An estimate, and no bound.
    """
    diagonal = [p for p, (m, n) in enumerate(load_pairs(_num_loads(energies))) if m == n]
    terms = jnp.expand_dims(values, 2) * jnp.take(energies, jnp.asarray(diagonal), axis=2)
    axes = (1, *range(3, terms.ndim))
    share = float(jnp.finfo(terms.dtype).eps) * (8 + math.sqrt(math.prod(values.shape[1:])))
    estimate = share * jnp.sum(jnp.abs(terms), axis=axes) / jnp.sum(terms, axis=axes)
    return jnp.where(jnp.isfinite(estimate), estimate, 0)


def _num_loads(energies: Energies) -> int:
    """The m of m (m + 1) / 2 pairs."""
    return (math.isqrt(8 * energies.shape[2] + 1) - 1) // 2
