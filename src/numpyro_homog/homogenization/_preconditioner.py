"""Inverse of the stiffness of a homogeneous reference medium, applied by the fast Fourier transform."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._operator import VoxelOperator


def inverse_symbol(operator: VoxelOperator, shape: tuple[int, ...]) -> np.ndarray:
    """Eigenvalues of the inverse reference stiffness (unit coefficients), zero for the mean; shape `shape`.

    Exists for scalar unknowns, whose reference stencil is even, so that the eigenvalues are real.
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


def apply_inverse(inverse: Float[Array, "..."], residual: Float[Array, "..."], *, paired: bool) -> Float[Array, "..."]:
    """Inverse reference stiffness times `residual` (batch, loads, components, *grid).

    `inverse` comes from `inverse_symbol`. Since it is real and even, two load cases can travel as the real and the
    imaginary part of one complex transform (`paired`): a quarter less time than real transforms on a CPU.
    """
    axes = tuple(range(residual.ndim - inverse.ndim, residual.ndim))
    lead = tuple(range(axes[0]))
    num_loads = residual.shape[1]
    if num_loads % 2 or not paired:
        spectrum = jnp.fft.rfftn(residual, axes=axes)
        symbol = inverse[..., : spectrum.shape[-1]].astype(spectrum.dtype)
        return jnp.fft.irfftn(spectrum * lax.expand_dims(symbol, lead), s=inverse.shape, axes=axes)
    first, second = residual[:, : num_loads // 2], residual[:, num_loads // 2 :]
    spectrum = jnp.fft.fftn(lax.complex(first, second), axes=axes)
    result = jnp.fft.ifftn(spectrum * lax.expand_dims(inverse.astype(spectrum.dtype), lead), axes=axes)
    return jnp.concatenate([jnp.real(result), jnp.imag(result)], axis=1)
