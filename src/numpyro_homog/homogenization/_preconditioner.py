"""Inverse of the stiffness of a homogeneous reference medium, applied by discrete transforms."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._operator import VoxelOperator

_DENSE_LIMIT = {1: 64, 2: 64, 3: 32}


def inverse_symbol(operator: VoxelOperator, shape: tuple[int, ...]) -> np.ndarray:
    """Eigenvalues of the inverse reference stiffness (unit coefficients), zero for the mean; shape `shape`.

    Exists for scalar unknowns, whose reference stencil is even along each axis; its eigenvectors are then products
    of sines and cosines, so the same symbol serves the discrete Fourier and the discrete Hartley transform.
    """
    num_components = operator.reference.shape[1]
    if num_components != 1:
        raise NotImplementedError("The reference medium of vector-valued unknowns is not available yet.")
    reference = operator.reference[:, 0, :, 0]
    waves = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    symbol = np.zeros(shape)
    for a, first in enumerate(operator.corners):
        for b, second in enumerate(operator.corners):
            phase = sum(wave * step for wave, step in zip(waves, second - first, strict=True))
            symbol += reference[a, b] * np.cos(phase)
    symbol[(0,) * len(shape)] = np.inf
    return 1.0 / symbol


def apply_inverse(inverse: Float[Array, "..."], residual: Float[Array, "..."]) -> Float[Array, "..."]:
    """Inverse reference stiffness times `residual`, over the last axes; `inverse` comes from `inverse_symbol`."""
    ndim, lead = inverse.ndim, residual.ndim - inverse.ndim
    if max(inverse.shape) <= _DENSE_LIMIT[ndim]:
        cycled = jnp.transpose(inverse, (*range(1, ndim), 0))
        transformed = _cycled_hartley(residual, ndim) * lax.expand_dims(cycled, tuple(range(lead)))
        result = _cycled_hartley(transformed, ndim)
        return result if ndim < 3 else jnp.transpose(result, (*range(lead), lead + 1, lead + 2, lead))
    axes = tuple(range(-ndim, 0))
    spectrum = jnp.fft.rfftn(residual, axes=axes)
    symbol = inverse[..., : spectrum.shape[-1]].astype(spectrum.dtype)
    return jnp.fft.irfftn(spectrum * lax.expand_dims(symbol, tuple(range(lead))), s=inverse.shape, axes=axes)


def _cycled_hartley(array, ndim):
    """Orthogonal Hartley transform over the last `ndim` axes; the first of them comes back last."""
    lead = array.ndim - ndim
    cycle = (*range(lead), array.ndim - 1, *range(lead, array.ndim - 1))
    for step in range(ndim):
        array = jnp.transpose(array, cycle) if step else array
        array = _times(array, jnp.asarray(_hartley_matrix(array.shape[-1]), array.dtype))
    return array


def _times(array, matrix):
    n = array.shape[-1]
    return jnp.dot(array.reshape(-1, n), matrix, precision=lax.Precision.HIGHEST).reshape(array.shape)


@functools.lru_cache(maxsize=32)
def _hartley_matrix(n):
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    return (np.cos(angles) + np.sin(angles)) / np.sqrt(n)
