"""Inverse of the stiffness of a homogeneous reference medium, applied by the fast Fourier transform."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._operator import VoxelOperator


class ReferenceModes(NamedTuple):
    """The stiffness S_0 + ratio S_1 of the media I + ratio J, diagonal for all ratios at once.

    For each wave, vectors' S_0 vectors = 1 and vectors' S_1 vectors = diag(stretches). Both vanish for the mean.

    Attributes:
        vectors: real, shape (components, components, *grid).
        stretches: shape (components, *grid), >= 0.
    """

    vectors: np.ndarray
    stretches: np.ndarray

    def inverse(self, ratio: Float[Array, "batch"], *, half: bool) -> dict[tuple[int, int], Float[Array, "..."]]:
        """Components (i, j), i <= j, of the inverse for each member; `half` keeps the waves of a real transform.

        The shape is (batch, 1, *waves), with batch 1 if the ratio has no effect.
        """
        last = self.stretches.shape[-1] // 2 + 1 if half else None
        vectors, stretches = (jnp.asarray(part[..., :last], ratio.dtype) for part in self)
        ratio = ratio.reshape(-1, *(1,) * (stretches.ndim))
        num = range(len(vectors))
        effective = self.stretches.any()
        weights = [1 / (1 + ratio * stretches[k][None, None]) if effective else None for k in num]
        inverse = {}
        for i, j in itertools.combinations_with_replacement(num, 2):
            terms = [(vectors[i, k] * vectors[j, k])[None, None] for k in num]
            terms = [term if weight is None else weight * term for term, weight in zip(terms, weights, strict=True)]
            inverse[i, j] = sum(terms[1:], terms[0])
        return inverse


class FourierReference(NamedTuple):
    """Inverse of the reference stiffness on periodic fields of zero mean.

    Attributes:
        modes: the stiffness in Fourier space.
        paired: two load cases share a complex transform.
        least: the reference is that of the bounds in `Coefficients`.
    """

    modes: ReferenceModes
    paired: bool
    least: float = 1.0

    @property
    def is_medium(self) -> bool:
        """Whether what it inverts is the stiffness of the reference medium itself."""
        return True

    def preconditioner(self, ratio: Float[Array, "batch"]) -> Callable[[Array], Array]:
        """The inverse as a function of residuals (batch, loads, components, *grid)."""
        inverse = self.modes.inverse(ratio, half=not self.paired)
        return lambda residual: apply_inverse(inverse, residual, paired=self.paired)


def reference_modes(operator: VoxelOperator, shape: tuple[int, ...]) -> ReferenceModes:
    """Modes of the reference media of an operator on a periodic grid of this shape.

    The symbol is real because a voxel is its own mirror image in its centre.
    """
    waves = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    num = operator.reference.shape[2]
    symbols = np.zeros((2, *shape, num, num))
    for (a, first), (b, second) in itertools.product(enumerate(operator.corners), repeat=2):
        phase = sum(wave * step for wave, step in zip(waves, second - first, strict=True))
        symbols += np.cos(phase)[..., None, None] * operator.reference[:, a, :, b].reshape(
            2, *(1,) * len(shape), num, num
        )
    origin = (0,) * len(shape)
    symbols[0][origin] = np.eye(num)
    lower_inverse = np.linalg.inv(np.linalg.cholesky(symbols[0]))
    values, vectors = np.linalg.eigh(lower_inverse @ symbols[1] @ np.swapaxes(lower_inverse, -1, -2))
    vectors = np.swapaxes(lower_inverse, -1, -2) @ vectors
    vectors[origin] = 0.0
    values[origin] = 0.0
    # What is rounding: a law without a second mode has none.
    values = np.where(np.abs(values) < 1e-12, 0.0, np.maximum(values, 0.0))
    return ReferenceModes(np.moveaxis(vectors, (-2, -1), (0, 1)), np.moveaxis(values, -1, 0))


def apply_inverse(
    inverse: dict[tuple[int, int], Float[Array, "..."]],
    residual: Float[Array, "..."],
    *,
    paired: bool,
) -> Float[Array, "..."]:
    """Inverse reference stiffness times `residual` (batch, loads, components, *grid).

    `inverse` comes from `ReferenceModes.inverse`, with all waves if `paired`. Since it is real and even, two load cases
    can travel as the real and the imaginary part of one complex transform: a quarter less time than real transforms on
    a CPU.
    """
    axes, shape = tuple(range(3, residual.ndim)), residual.shape[3:]
    if not paired:
        spectrum = jnp.fft.rfftn(residual, axes=axes)
        return jnp.fft.irfftn(_multiply(inverse, spectrum), s=shape, axes=axes)
    first, second = jnp.split(residual, 2, axis=1)
    spectrum = jnp.fft.fftn(lax.complex(first, second), axes=axes)
    result = jnp.fft.ifftn(_multiply(inverse, spectrum), axes=axes)
    return jnp.concatenate([jnp.real(result), jnp.imag(result)], axis=1)


def _multiply(inverse, spectrum):
    parts = [spectrum[:, :, k] for k in range(spectrum.shape[2])]
    rows = []
    for i in range(len(parts)):
        terms = [inverse[min(i, j), max(i, j)].astype(spectrum.dtype) * part for j, part in enumerate(parts)]
        rows.append(sum(terms[1:], terms[0]))
    return jnp.stack(rows, axis=2)
