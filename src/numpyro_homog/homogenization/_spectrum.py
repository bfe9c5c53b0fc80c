"""Bounds of the eigenvalues of symmetric tensors in every voxel, by elementwise arithmetic."""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float


def eigenvalue_bounds(entries: dict[tuple[int, int], Float[Array, "..."]], size: int):
    """Lower bound of the least and upper bound of the greatest eigenvalue, each of the shape of an entry.

    Exact for size 1 and 2. For larger tensors they follow from the traces of the inverse and of the tensor and of their
    squares, and are exact for multiples of the identity. The lower bound is NaN or not positive where the tensor is not
    positive definite. Batched eigenvalue solvers would take longer than the cell problem.

    Args:
        entries: arrays of the components (i, j) with i <= j.
        size: number of rows.

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


def _greatest(entries, size):
    """The bound tr / m + ((m - 1) / m (tr of the square - tr^2 / m))^(1/2), with the bracket as a sum of squares."""
    mean = sum((entries[i, i] for i in range(1, size)), entries[0, 0]) / size
    spread = sum((entries[i, i] - mean) ** 2 for i in range(size))
    spread = spread + 2 * sum(entries[pair] ** 2 for pair in itertools.combinations(range(size), 2))
    return mean + jnp.sqrt((size - 1) / size * spread)


def inverse_entries(entries, size):
    """Upper triangle of the inverse and the pivots, from L D L' written out."""
    lower: dict[tuple[int, int], Array] = {}
    pivots: list[Array] = []
    for j in range(size):
        pivots.append(entries[j, j] - sum(lower[j, k] ** 2 * pivots[k] for k in range(j)))
        for i in range(j + 1, size):
            dots = sum(lower[i, k] * lower[j, k] * pivots[k] for k in range(j))
            lower[i, j] = (entries[j, i] - dots) / pivots[j]
    # Columns of L^-1 by forward substitution.
    solved: dict[tuple[int, int], Array] = {}
    for j, i in itertools.product(range(size), repeat=2):
        if i == j:
            solved[i, j] = jnp.ones_like(pivots[0])
        elif i > j:
            terms = [lower[i, k] * solved[k, j] for k in range(j, i)]
            solved[i, j] = -sum(terms[1:], terms[0])
    inverse = {}
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        terms = [solved[k, i] * solved[k, j] / pivots[k] for k in range(j, size)]
        inverse[i, j] = sum(terms[1:], terms[0])
    return inverse, pivots
