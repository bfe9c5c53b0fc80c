"""Symmetric tensors: unique components, symmetrisation, principal values, logarithm and exponential."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def unique_components(
    tensors: Float[Array | np.ndarray, "*batch d d"],
) -> Float[Array | np.ndarray, "*batch components"]:
    """Vector of the unique components of symmetric tensors, diagonal first.

    The order is K11, K22, ..., Kdd, then the upper triangle row by row (K12 in 2D; K12, K13, K23 in 3D).

    Args:
        tensors: symmetric tensors, shape (*batch, d, d), of JAX or NumPy. Only the diagonal and the upper triangle are
            read.

    Returns:
        Components, shape (*batch, d (d + 1) / 2), in the unit of the tensors.

    Raises:
        ValueError: if the last two axes are not equal, as of rows of components.
    """
    return tensors[(..., *_component_indices(_size(tensors)))]


def from_unique_components(components: Float[Array, "*batch components"]) -> Float[Array, "*batch d d"]:
    """Symmetric tensors of the given unique components: the inverse of `unique_components`.

    Raises:
        ValueError: if the last axis is not d (d + 1) / 2 long for any d.
    """
    num = components.shape[-1]
    d = round((np.sqrt(8 * num + 1) - 1) / 2)
    if d * (d + 1) // 2 != num:
        raise ValueError(f"A symmetric tensor has 1, 3, 6, ... unique components; got a last axis of length {num}.")
    rows, columns = _component_indices(d)
    tensors = jnp.zeros((*components.shape[:-1], d, d), components.dtype)
    return tensors.at[..., rows, columns].set(components).at[..., columns, rows].set(components)


def component_names(d: int, symbol: str = "K") -> tuple[str, ...]:
    """Names of the unique components, in the order of `unique_components`.

    Args:
        d: dimension of the tensors.
        symbol: what precedes the indices; "K" and d = 2 give ("K11", "K22", "K12").
    """
    return tuple(f"{symbol}{i + 1}{j + 1}" for i, j in zip(*_component_indices(d), strict=True))


def mandel_factors(size: int) -> np.ndarray:
    """Factors of a stiffness in Mandel notation over that in Voigt notation.

    Args:
        size: 3 in the plane, shear last; 6 in space, shears last.
    """
    weights = np.where(np.arange(size) < (2 if size == 3 else 3), 1.0, 2.0)
    return np.sqrt(np.outer(weights, weights))


def symmetrize(tensors: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Symmetric part of the matrices `tensors`, shape (*batch, d, d)."""
    _size(tensors)
    return (tensors + jnp.swapaxes(tensors, -1, -2)) / 2


def least_eigenvalue(tensors: Float[Array, "*batch d d"]) -> Float[Array, "*batch"]:
    """Least eigenvalue of symmetric tensors, shape (*batch,); closed form for d = 1 and 2."""
    d = _size(tensors)
    if d == 1:
        return tensors[..., 0, 0]
    if d == 2:
        a, b, c = tensors[..., 0, 0], tensors[..., 1, 1], tensors[..., 0, 1]
        return (a + b) / 2 - jnp.hypot((a - b) / 2, c)
    return jax.numpy.linalg.eigvalsh(tensors)[..., 0]


@jax.custom_jvp
def matrix_logarithm(tensors: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Logarithm of symmetric positive definite matrices, shape (*batch, d, d); else NaN."""
    return _of_eigenvalues(jnp.log, *jnp.linalg.eigh(tensors))


@jax.custom_jvp
def matrix_exponential(tensors: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Exponential of symmetric matrices, shape (*batch, d, d)."""
    return _of_eigenvalues(jnp.exp, *jnp.linalg.eigh(tensors))


def logarithm_log_determinant(tensors: Float[Array, "*batch d d"]) -> Float[Array, "*batch"]:
    """Log determinant of the derivative of `matrix_logarithm` at `tensors`, shape (*batch,).

    Both sides are unique components.
    """
    slopes = _logarithm_slopes(jnp.linalg.eigvalsh(tensors))
    return jnp.sum(jnp.log(slopes)[(..., *np.triu_indices(tensors.shape[-1]))], axis=-1)


def _of_eigenvalues(
    fn: Callable[[Array], Array], values: Float[Array, "*batch d"], vectors: Float[Array, "*batch d d"]
) -> Float[Array, "*batch d d"]:
    return jnp.einsum("...ij,...j,...kj->...ik", vectors, fn(values), vectors)


def _jvp_rule(fn: Callable[[Array], Array], slopes_fn: Callable[[Array], Array]) -> Callable:
    """Derivative of a function of a matrix; its divided differences are finite where eigenvalues coincide."""

    def rule(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        values, vectors = jnp.linalg.eigh(*primals)
        inner = jnp.einsum("...ji,...jk,...kl->...il", vectors, *tangents, vectors)
        moved = jnp.einsum("...ij,...jk,...lk->...il", vectors, slopes_fn(values) * inner, vectors)
        return _of_eigenvalues(fn, values, vectors), moved

    return rule


def _logarithm_slopes(values: Float[Array, "*batch d"]) -> Float[Array, "*batch d d"]:
    """(log a - log b) / (a - b) of all pairs of eigenvalues, shape (*batch, d, d)."""
    total = values[..., :, None] + values[..., None, :]
    ratio = (values[..., :, None] - values[..., None, :]) / total
    close = jnp.abs(ratio) < 1e-3
    safe = jnp.where(close, 0.5, ratio)
    # log(a / b) = 2 artanh((a - b) / (a + b)).
    return 2 * jnp.where(close, 1 + ratio**2 / 3, jnp.arctanh(safe) / safe) / total


matrix_logarithm.defjvp(_jvp_rule(jnp.log, _logarithm_slopes))
matrix_exponential.defjvp(_jvp_rule(jnp.exp, lambda values: 1 / _logarithm_slopes(jnp.exp(values))))


def _size(tensors: Array | np.ndarray) -> int:
    """Length d of the last two axes."""
    if tensors.ndim < 2 or tensors.shape[-1] != tensors.shape[-2]:
        raise ValueError(
            f"Tensors have shape (*batch, d, d); got {tensors.shape}. Rows of unique components, K11, K22, K12 in 2D,"
            " become tensors by from_unique_components."
        )
    return tensors.shape[-1]


def _component_indices(d: int) -> np.ndarray:
    return np.concatenate([np.diag_indices(d), np.triu_indices(d, 1)], axis=1)
