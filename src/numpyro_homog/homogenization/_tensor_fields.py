"""Fields of symmetric tensors as coefficients: what all laws share."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ..meshes import Mesh

# What a cell is divided into: `ndim` is the dimension of space, `shape` that of a scalar field.
Geometry = Grid | Mesh


def as_real_array(field, what: str) -> Array:
    """The field as a floating-point array; raises TypeError for what is no array of real numbers."""
    if isinstance(field, tuple | list | dict | str | eqx.Module) or field is None:
        raise TypeError(f"field must be {what}; got {type(field).__name__}.")
    field = jnp.asarray(field)
    if field.dtype == bool:
        raise TypeError("field must be real; got dtype bool: labels of phases are no property, see `mix`.")
    return as_floating(field, "field")


def as_floating(array: Array, name: str) -> Array:
    """The array in 32 or 64 bits, integers promoted; raises TypeError for complex numbers and half precision."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real; got dtype {array.dtype}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(jnp.result_type(float))
    if jnp.finfo(array.dtype).bits < 32:
        raise TypeError(
            f"{name} has dtype {array.dtype}, too short for a solve; convert it with {name}.astype(jnp.float32), or to"
            " float64."
        )
    return array


def field_axes(grid: Geometry) -> tuple[int, ...]:
    """The last axes of a field: one for each axis of a grid, one for the elements of a mesh."""
    return tuple(range(-len(grid.shape), 0))


def is_tensor_field(shape: tuple[int, ...], grid: Geometry, size: int) -> bool:
    """Whether an array of this shape is (*batch, *grid, size, size)."""
    return shape[-2:] == (size, size) and shape[-2 - len(grid.shape) : -2] == grid.shape


def hint_of_mix(shape: tuple[int, ...], grid: Geometry, planar: int) -> str:
    """What to add for a field of matrices of the plane, of this size, on a grid in space: `mix` has made them."""
    meant = grid.ndim == 3 and shape[-2:] == (planar, planar)
    return " In three dimensions `mix` needs its `grid=`." if meant else ""


def symmetric_bases(size: int) -> tuple:
    """One constant matrix for each component (i, j), i <= j, of a symmetric matrix, row by row, as nested tuples."""
    pairs = list(itertools.combinations_with_replacement(range(size), 2))
    bases = np.zeros((len(pairs), size, size))
    for basis, (i, j) in zip(bases, pairs, strict=True):
        basis[i, j] = basis[j, i] = 1.0
    return tuple(map(freeze, bases))


def split_components(field: Float[Array, "..."], grid: Geometry, size: int):
    """Components (i, j), i <= j, each (*batch, *grid), and the largest asymmetry of each member, (*batch,)."""
    d, space = len(grid.shape), field_axes(grid)
    # One transposition to contiguous components; everything after it is elementwise.
    components = lax.optimization_barrier(jnp.moveaxis(field, (-2, -1), (-d - 2, -d - 1)))
    entry = {(i, j): components[(..., i, j) + d * (slice(None),)] for i in range(size) for j in range(size)}
    upper = {(i, j): (entry[i, j] + entry[j, i]) / 2 if i < j else entry[i, i] for i, j in entry if i <= j}
    gaps = [jnp.max(jnp.abs(entry[i, j] - entry[j, i]), axis=space) for i, j in upper if i < j]
    return upper, jax.tree.reduce(jnp.maximum, gaps, jnp.zeros(field.shape[: field.ndim - d - 2], field.dtype))


def freeze(matrix: np.ndarray) -> tuple:
    """A matrix as nested tuples, hashable."""
    return tuple(map(tuple, matrix.tolist()))
