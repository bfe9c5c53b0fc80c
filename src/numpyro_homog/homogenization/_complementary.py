"""Complementary energy: the error that a residual can make, weighed with the compliance of each voxel."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._law import Coefficients, relative_to
from ._spectrum import inverse_entries
from ._tensor_fields import symmetric_bases


def complementary_values(
    coefficients: Coefficients, values: Float[Array, "batch c *grid"], mode: np.ndarray
) -> Float[Array, "batch c *grid"] | None:
    """Coefficients of R C^-1 R in the bases of C; None if these are neither isotropic nor those of a symmetric matrix.

    With R the reference medium I + ratio J of the coefficients: the stress R eps(u) of u = (stiffness of R)^-1 r is in
    balance with a residual r, and its complementary energy, which is the energy of u in the medium R C^-1 R, bounds
    r' K^-1 r from above (Prager and Synge, Quart. Appl. Math. 5 (1947) 241).

    Args:
        coefficients: C, valid.
        values: its values, or a multiple of them.
        mode: J, a multiple of a projector on one direction, or zero.
    """
    norm = float(np.trace(mode))
    projector = mode / norm if norm else mode
    stretch = 1 + norm * lax.expand_dims(coefficients.ratio, tuple(range(1, values.ndim - 1)))
    size, parts = len(mode), [values[:, c] for c in range(values.shape[1])]
    if coefficients.bases == symmetric_bases(size):
        pairs = itertools.combinations_with_replacement(range(size), 2)
        inverse, _ = inverse_entries(dict(zip(pairs, parts, strict=True)), size)
        return _stack(relative_to(inverse, projector, stretch).values())
    spaces = [p for p in (np.eye(size) - projector, projector) if np.trace(p) > 0]
    bases = np.array(coefficients.bases)
    table = np.array([[np.trace(basis @ p) / np.trace(p) for basis in bases] for p in spaces])
    isotropic = np.allclose(bases, np.einsum("sc,smn->cmn", table, np.array(spaces)))
    if not isotropic or np.linalg.matrix_rank(table) < len(spaces):
        return None
    inverse = [1 / _weighted(row, parts) for row in table]
    if norm:
        inverse[-1] = stretch**2 * inverse[-1]
    return _stack(_weighted(row, inverse) for row in np.linalg.pinv(table))


def _weighted(weights, parts):
    return sum(float(weight) * part for weight, part in zip(weights, parts, strict=True))


def _stack(parts):
    return jnp.stack(list(parts), axis=1)
