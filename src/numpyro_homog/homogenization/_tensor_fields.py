"""Fields of symmetric tensors by elementwise arithmetic: what all laws share."""

import functools
import itertools
import operator
from collections.abc import Iterable
from typing import Any

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

Entries = dict[tuple[int, int], Array]  # components (i, j) with i <= j
Values = Float[Array, "batch c *elements"]
Energies = Float[Array, "batch c pairs *elements"]
Unknown = Float[Array, "batch loads k *nodes"]

HINT_OF_MIX = " In three dimensions `mix` needs its `grid=`."


def as_real_array(field: Any, what: str) -> Array:
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
    return HINT_OF_MIX * (grid.ndim == 3 and shape[-2:] == (planar, planar))


def symmetric_unit(index: tuple[int, ...], size: int) -> np.ndarray:
    """The symmetric tensor with ones at all orders of an index."""
    unit = np.zeros((size,) * len(index))
    for order in itertools.permutations(index):
        unit[order] = 1.0
    return unit


def symmetric_bases(size: int) -> tuple:
    """One constant matrix for each component (i, j), i <= j, of a symmetric matrix, row by row, as nested tuples."""
    return tuple(freeze(symmetric_unit(p, size)) for p in itertools.combinations_with_replacement(range(size), 2))


def split_components(field: Float[Array, "*batch_and_grid m m"], grid: Geometry, size: int) -> tuple[Entries, Array]:
    """Components (i, j), i <= j, each (*batch, *grid), and the largest asymmetry of each member, (*batch,)."""
    d, space = len(grid.shape), field_axes(grid)
    # One transposition to contiguous components; everything after it is elementwise.
    components = lax.optimization_barrier(jnp.moveaxis(field, (-2, -1), (-d - 2, -d - 1)))
    entry = {(i, j): components[(..., i, j) + d * (slice(None),)] for i in range(size) for j in range(size)}
    upper = {(i, j): (entry[i, j] + entry[j, i]) / 2 if i < j else entry[i, i] for i, j in entry if i <= j}
    gaps = [jnp.max(jnp.abs(entry[i, j] - entry[j, i]), axis=space) for i, j in upper if i < j]
    return upper, jax.tree.reduce(jnp.maximum, gaps, jnp.zeros(field.shape[: field.ndim - d - 2], field.dtype))


def join_components(entries: Entries, size: int) -> Array:
    """Symmetric matrices on two new last axes, of their components (i, j), i <= j."""
    order = sorted(entries)
    # One array behind a barrier: otherwise XLA computes each entry anew for each of the interleaved components.
    stacked = lax.optimization_barrier(jnp.stack([entries[pair] for pair in order]))
    rows = [[stacked[order.index((min(i, j), max(i, j)))] for j in range(size)] for i in range(size)]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def freeze(matrix: np.ndarray) -> tuple:
    """A matrix as nested tuples, hashable."""
    return tuple(map(tuple, matrix.tolist()))


def eigenvalue_bounds(entries: Entries, size: int) -> tuple[Array, Array]:
    """Lower bound of the least and upper bound of the greatest eigenvalue, each of the shape of an entry.

    Exact for size 1 and 2. For larger tensors they follow from the traces of the inverse and of the tensor and of their
    squares, and are exact for multiples of the identity. The lower bound is NaN or not positive where the tensor is not
    positive definite. Batched eigenvalue solvers would take longer than the cell problem.

    References:
        Samuelson, J. Amer. Stat. Assoc. 63 (1968); Wolkowicz and Styan, Linear Algebra Appl. 29 (1980), theorem 2.1.
    """
    if size == 1:
        return entries[0, 0], entries[0, 0]
    if size == 2:
        centre = (entries[0, 0] + entries[1, 1]) / 2
        radius = jnp.hypot((entries[0, 0] - entries[1, 1]) / 2, entries[0, 1])
        return centre - radius, centre + radius
    inverse, pivots = inverse_entries(entries, size)
    definite = pivots[0] > 0
    for pivot in pivots[1:]:
        definite = definite & (pivot > 0)
    least = 1 / _greatest(inverse, size)
    return jnp.where(definite, least, -1.0), _greatest(entries, size)


def _greatest(entries: Entries, size: int) -> Array:
    """The bound tr / m + ((m - 1) / m (tr of the square - tr^2 / m))^(1/2), with the bracket as a sum of squares."""
    mean = total(entries[i, i] for i in range(size)) / size
    spread = total((entries[i, i] - mean) ** 2 for i in range(size))
    spread = spread + 2 * total(entries[pair] ** 2 for pair in itertools.combinations(range(size), 2))
    return mean + jnp.sqrt((size - 1) / size * spread)


def inverse_entries(entries: Entries, size: int) -> tuple[Entries, list[Array]]:
    """Upper triangle of the inverse, and the pivots of the elimination, which sweeps one row after the other."""
    pivots: list[Array] = []
    for k in range(size):
        pivot, row = entries[k, k], [entries[min(i, k), max(i, k)] for i in range(size)]
        pivots.append(pivot)
        scaled = [part / pivot for part in row]
        swept = {(min(i, k), max(i, k)): scaled[i] for i in range(size)} | {(k, k): -1 / pivot}
        entries = {(i, j): swept[i, j] if k in (i, j) else old - scaled[i] * row[j] for (i, j), old in entries.items()}
    return {pair: -entry for pair, entry in entries.items()}, pivots


def along(entries: Entries, direction: np.ndarray) -> tuple[list[Array], Array]:
    """C p and p' C p for a constant vector p."""
    size = range(len(direction))
    product = [weighted(direction, [entries[min(i, j), max(i, j)] for j in size]) for i in size]
    return product, weighted(direction, product)


def relative_to(entries: Entries, direction: np.ndarray, scale: Array) -> Entries:
    """Entries of S C S with S = 1 + (scale - 1) p p' for a constant unit vector p."""
    product, energy = along(entries, direction)
    change = scale - 1
    stretched = {}
    for (i, j), entry in entries.items():
        if direction[i] or direction[j]:
            entry = entry + change * weighted((direction[i], direction[j]), (product[j], product[i]))
        if direction[i] and direction[j]:
            entry = entry + float(direction[i] * direction[j]) * change**2 * energy
        stretched[i, j] = entry
    return stretched


def direction_of(mode: np.ndarray) -> np.ndarray:
    """The unit vector p of a matrix trace p p', or zero."""
    largest = np.argmax(np.diag(mode))
    return mode[largest] / np.sqrt(np.trace(mode) * mode[largest, largest]) if np.any(mode) else mode[0]


def total(terms: Iterable) -> Array:
    """Sum of at least one term, from left to right, and without a zero to begin with."""
    return functools.reduce(operator.add, terms)


def weighted(weights: Iterable, parts: Iterable) -> Array:
    """Sum of parts with constant weights, at least one of which is not zero."""
    return total(float(w) * part for w, part in zip(weights, parts, strict=True) if w)


def complementary_values(
    bases: tuple, values: Float[Array, "batch c *elements"], ratio: Float[Array, " batch"], mode: np.ndarray
) -> Float[Array, "batch c *elements"] | None:
    """Coefficients of R C^-1 R in the bases of C; None if these are neither isotropic nor those of a symmetric matrix.

    With R the reference medium I + ratio J (J is `mode`) of valid coefficients, or a multiple of them: the stress R
    eps(u) of u = (stiffness of R)^-1 r is in balance with a residual r, and its complementary energy, which is the
    energy of u in the medium R C^-1 R, bounds r' K^-1 r from above (Prager and Synge, Quart. Appl. Math. 5 (1947) 241).
    """
    norm, direction = float(np.trace(mode)), direction_of(mode)
    stretch = 1 + norm * lax.expand_dims(ratio, tuple(range(1, values.ndim - 1)))
    size, parts = len(mode), [values[:, c] for c in range(values.shape[1])]
    if bases == symmetric_bases(size):
        pairs = itertools.combinations_with_replacement(range(size), 2)
        inverse, _ = inverse_entries(dict(zip(pairs, parts, strict=True)), size)
        return jnp.stack(list((relative_to(inverse, direction, stretch) if norm else inverse).values()), axis=1)
    projector = np.outer(direction, direction)
    spaces = [p for p in (np.eye(size) - projector, projector) if np.trace(p) > 1e-9]
    table = np.array([[np.trace(basis @ p) / np.trace(p) for basis in np.array(bases)] for p in spaces])
    isotropic = np.allclose(bases, np.einsum("sc,smn->cmn", table, np.array(spaces)))
    if not isotropic or np.linalg.matrix_rank(table) < len(spaces):
        return None
    inverses = [1 / weighted(row, parts) for row in table]
    if norm:
        inverses[-1] = stretch**2 * inverses[-1]
    return jnp.stack([weighted(row, inverses) for row in np.linalg.pinv(table)], axis=1)
