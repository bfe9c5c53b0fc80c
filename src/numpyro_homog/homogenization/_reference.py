"""Inverse of the stiffness of homogeneous reference media on grids, by Fourier transform and by eigenvectors."""

import abc
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ._law import AbstractLaw
from ._modes import voxel_stiffness
from ._tensor_fields import Entries, Unknown, total

Preconditioner = Callable[[Unknown], Unknown]


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractReference(abc.ABC):
    """Inverse of a reference stiffness on the correctors that a boundary condition admits."""

    least: float  # lower bound of the eigenvalues of the media I + ratio J relative to the reference
    is_medium: bool  # whether what it inverts is the stiffness of I + ratio J itself
    # Functionals that must vanish (the mean gradient, where faces are free), and the inverse times them, combined so
    # that each has one functional one and the others zero, both (count, *nodes).
    constraint: tuple[np.ndarray, np.ndarray] | None

    @abc.abstractmethod
    def inverse(self, ratio: Float[Array, " batch"]) -> Preconditioner:
        """The inverse without the constraint."""

    def preconditioner(self, ratio: Float[Array, " batch"]) -> Preconditioner:
        """The inverse with the constraint."""
        invert, constraint = self.inverse(ratio), self.constraint
        if constraint is None:
            return invert

        def invert_within(residual: Unknown) -> Unknown:
            result = invert(residual)
            axes = tuple(range(3, result.ndim))
            for pair in zip(*constraint, strict=True):
                functional, correction = (jnp.asarray(part[None, None, None], ratio.dtype) for part in pair)
                result = result - jnp.sum(functional * result, axis=axes, keepdims=True) * correction
            return result

        return invert_within


def constrained(functionals: np.ndarray, lifted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The constraint of functionals (count, *nodes), of which `lifted` is the inverse."""
    gram = np.tensordot(functionals, lifted, (tuple(range(1, lifted.ndim)),) * 2)
    return functionals, np.tensordot(np.linalg.inv(gram), lifted, axes=1)


@dataclasses.dataclass(frozen=True, eq=False)
class FourierReference(AbstractReference):
    """Inverse of the stiffness S_0 + ratio S_1 of the media I + ratio J, on periodic fields of zero mean.

    For each wave vectors' S_0 vectors = 1 and vectors' S_1 vectors = diag(stretches): diagonal for all ratios at once.
    Both vanish for the mean.
    """

    vectors: np.ndarray  # real, (components, components, *grid)
    stretches: np.ndarray  # >= 0, (components, *grid)
    paired: bool  # two load cases share a complex transform where their number is even

    def inverse(self, ratio: Float[Array, " batch"]) -> Preconditioner:
        """By transforms of real fields, or of two load cases as the real and the imaginary part of one.

        The inverse is real and even, so that these do not mix: a quarter less time on a CPU.
        """
        half = self.stretches.shape[-1] // 2 + 1
        whole = self._components(ratio, None if self.paired else half)

        def invert(residual: Unknown) -> Unknown:
            axes, shape = tuple(range(3, residual.ndim)), residual.shape[3:]
            if not self.paired or residual.shape[1] % 2:
                inverse = {pair: part[..., :half] for pair, part in whole.items()} if self.paired else whole
                return jnp.fft.irfftn(_multiply(inverse, jnp.fft.rfftn(residual, axes=axes)), s=shape, axes=axes)
            spectrum = jnp.fft.fftn(lax.complex(*jnp.split(residual, 2, axis=1)), axes=axes)
            result = jnp.fft.ifftn(_multiply(whole, spectrum), axes=axes)
            return jnp.concatenate([jnp.real(result), jnp.imag(result)], axis=1)

        return invert

    def _components(self, ratio: Float[Array, " batch"], num_waves: int | None) -> Entries:
        """Components (i, j), i <= j, of the inverse: (batch, 1, *waves), with batch 1 if the ratio has no effect."""
        vectors, stretches = (jnp.asarray(x[..., :num_waves], ratio.dtype) for x in (self.vectors, self.stretches))
        ratio = ratio.reshape(-1, *(1,) * stretches.ndim)
        num = range(len(vectors))
        weights = [1 / (1 + ratio * stretches[k][None, None]) for k in num] if self.stretches.any() else None
        inverse = {}
        for i, j in itertools.combinations_with_replacement(num, 2):
            terms = [(vectors[i, k] * vectors[j, k])[None, None] for k in num]
            terms = [weights[k] * terms[k] for k in num] if weights else terms
            inverse[i, j] = total(terms)
        return inverse


@functools.lru_cache(maxsize=64)
def fourier_reference(grid: Grid, law: AbstractLaw) -> FourierReference:
    """The reference of a law on a periodic grid.

    The symbol of the stiffness is real because a voxel is its own mirror image in its centre.
    """
    mode, shape, num = law.reference_mode(grid.ndim), grid.shape, law.num_components(grid.ndim)
    corners, matrices = voxel_stiffness(grid.spacing, law, np.stack([np.eye(len(mode)), mode]))
    waves = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    symbols = np.zeros((2, *shape, num, num))
    for (a, first), (b, second) in itertools.product(enumerate(corners), repeat=2):
        phase = sum(wave * step for wave, step in zip(waves, second - first, strict=True))
        symbols += np.cos(phase)[..., None, None] * matrices[:, a, :, b].reshape(2, *(1,) * len(shape), num, num)
    origin = (0,) * len(shape)
    symbols[0][origin] = np.eye(num)
    lower_inverse = np.linalg.inv(np.linalg.cholesky(symbols[0]))
    values, vectors = np.linalg.eigh(lower_inverse @ symbols[1] @ np.swapaxes(lower_inverse, -1, -2))
    vectors = np.swapaxes(lower_inverse, -1, -2) @ vectors
    vectors[origin] = 0.0
    values[origin] = 0.0
    # What is rounding: a law without a second mode has none.
    values = np.where(np.abs(values) < 1e-12, 0.0, np.maximum(values, 0.0))
    # Two loads share a transform, and its rounding error: not if they differ by orders of magnitude.
    paired = law.num_loads(grid.ndim) % 2 == 0 and max(grid.spacing) < 8 * min(grid.spacing)
    vectors, values = np.moveaxis(vectors, (-2, -1), (0, 1)), np.moveaxis(values, -1, 0)
    return FourierReference(1.0, True, None, vectors, values, paired)


def _multiply(inverse: Entries, spectrum: Array) -> Array:
    """Product of symmetric matrices and vectors (batch, loads, components, *waves)."""
    num, dtype = range(spectrum.shape[2]), spectrum.dtype
    rows = [total(inverse[min(i, j), max(i, j)].astype(dtype) * spectrum[:, :, j] for j in num) for i in num]
    return jnp.stack(rows, axis=2)


@dataclasses.dataclass(frozen=True, eq=False)
class BoxReference(AbstractReference):
    """Inverse of the reference stiffness on fields that vanish at the faces, or whose mean gradient vanishes.

    The reference is a multiple of the Laplacian of each component. On a box its multilinear stiffness is a sum of
    products of one-dimensional stiffness and mass matrices, which their common eigenvectors make diagonal.

    References:
        Lynch, Rice and Thomas, Numer. Math. 6 (1964), for the tensor products.
    """

    vectors: tuple[np.ndarray, ...]  # eigenvectors for each axis, orthonormal in the mass matrix, (nodes, modes)
    scales: np.ndarray  # inverse eigenvalues, zero for constants, (modes_1, ..., modes_d)

    def inverse(self, ratio: Float[Array, " batch"]) -> Preconditioner:
        """By products with the eigenvectors; the ratio plays no part."""
        vectors = [jnp.asarray(matrix, ratio.dtype) for matrix in self.vectors]
        scales = jnp.asarray(self.scales[None, None, None], ratio.dtype)
        return lambda residual: _invert(jnp, vectors, scales, residual, 3)


@functools.lru_cache(maxsize=64)
def box_reference(grid: Grid, law: AbstractLaw, *, clamped: bool) -> BoxReference:
    """The reference for fields that vanish at the faces, or else have zero mean gradient.

    If clamped, the nodes of opposite faces are one. A law that sees the symmetric gradient alone has half the Laplacian
    as reference, which is below the energy of clamped fields; for free faces Korn's inequality adds `korn_factor`.
    """
    import scipy.linalg

    symmetric, least, constraint = law.symmetric_gradient, law.coercivity(grid.spacing), None
    values, vectors, nodes, inner = np.zeros(()), [], [], slice(1, -1) if clamped else slice(None)
    for n, h in zip(grid.shape, grid.spacing, strict=True):
        own, shared = np.diag([1.0, *[2.0] * (n - 1), 1.0]), np.eye(n + 1, k=1) + np.eye(n + 1, k=-1)
        stiffness, mass = (own - shared) / h, (2 * own + shared) * h / 6  # of linear elements
        found, modes = scipy.linalg.eigh(stiffness[inner, inner], mass[inner, inner])
        if not clamped:
            found[0] = 0.0
        values = values[..., None] + found
        vectors.append(np.pad(modes, [(1, 0), (0, 0)]) if clamped else modes)
        nodes.append(mass.sum(axis=1))
    if not clamped:
        values[(0,) * grid.ndim] = np.inf
    scales = (2.0 if symmetric else 1.0) / values
    if not clamped:
        gradients = np.ones((grid.ndim, *(1,) * grid.ndim)) / math.prod(grid.lengths)
        for axis, share in enumerate(nodes):
            shares = np.tile(share, (grid.ndim, 1))
            shares[axis] = [-1.0, *[0.0] * (grid.shape[axis] - 1), 1.0]
            gradients = gradients * np.expand_dims(shares, [1 + other for other in range(grid.ndim) if other != axis])
        constraint = constrained(gradients, _invert(np, vectors, scales[None], gradients, 1))
        least = least * (korn_factor(grid.lengths) if symmetric else 1.0)
    return BoxReference(least, not symmetric, constraint, tuple(vectors), scales)


def _invert(xp: ModuleType, vectors: Sequence, scales: Any, residual: Any, lead: int) -> Any:
    """The inverse of the Laplacian on the axes behind the first `lead`, in NumPy or JAX."""
    for axis, matrix in enumerate(vectors, lead):
        residual = xp.moveaxis(xp.tensordot(residual, matrix, axes=(axis, 0)), -1, axis)
    residual = residual * scales
    for axis, matrix in enumerate(vectors, lead):
        residual = xp.moveaxis(xp.tensordot(residual, matrix.T, axes=(axis, 0)), -1, axis)
    return residual


def korn_factor(lengths: tuple[float, ...]) -> float:
    """Least energy of the symmetric gradient relative to half the Laplacian, on fields of zero mean gradient of a box.

    References:
        Horgan and Payne, Arch. Rational Mech. Anal. 82 (1983) 165; Costabel and Dauge, Arch. Rational Mech. Anal. 217
        (2015) 873: Korn's constant of a rectangle is at most 2 / sin(angle / 2)^2 with the angle between the diagonal
        and the longer edge. In three dimensions the same value is used, without proof.
    """
    return math.sin(math.atan(min(lengths) / max(lengths)) / 2) ** 2 if len(lengths) > 1 else 1.0
