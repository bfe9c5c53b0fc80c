"""From energies in voxels to tensors."""

import itertools
import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._tensor_fields import Energies, Values


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
