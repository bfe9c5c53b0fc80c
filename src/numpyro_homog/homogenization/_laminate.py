"""Voxels that interfaces cut as laminates: directions of the interfaces, and stiffness averaged over these."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._modes import add_halo, window
from ._moduli import MANDEL_PAIRS, mandel_basis, volumetric
from ._tensor_fields import join_components, symmetric_unit, total, weighted

Moments = dict[tuple[int, ...], Array]  # components of the mean of n n or n n n n, by sorted index


def normal_moments(values: Float[Array, "*batch_and_grid"], spacing: tuple[float, ...], order: int = 2) -> Moments:
    """Moments of the interface normals around each voxel: the mean of n_i n_j ..., weighted by the jump.

    From the gradients g of `values`, which mark the phases, (*batch, *grid) and periodic, at the corners of the voxel
    (2^d voxels each), n = g / |g| with weight |g|. The trace is one: beside a straight interface the second moment is n
    n', and far from all interfaces it is I / d. Components of order 2 or 4 by sorted index, each of the shape of
    `values`.
    """
    d, dtype = len(spacing), values.dtype
    eps = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    shape = values.shape[values.ndim - d :]
    corners = tuple(n + 1 for n in shape)
    # Barriers keep XLA from computing what several consumers share once more for each of them.
    padded = jax.lax.optimization_barrier(add_halo(values, d))
    around = {step: window(padded, step, corners) for step in itertools.product((0, 1), repeat=d)}
    gradient = []
    for i in range(d):
        terms = [value if step[i] else -value for step, value in around.items()]
        gradient.append(total(terms) * jnp.asarray(min(spacing) / spacing[i] / 2 ** (d - 1), dtype))
    inverse_norm = jax.lax.rsqrt(total(component**2 for component in gradient) + eps**2)
    moments = {}
    for index in itertools.combinations_with_replacement(range(d), order):
        moments[index] = math.prod((gradient[i] * inverse_norm for i in index[1:]), start=gradient[index[0]])
    for index, moment in jax.lax.optimization_barrier(moments).items():
        mean = total(window(moment, step, shape) for step in itertools.product((0, 1), repeat=d)) / 2**d
        # Far from all interfaces that of normals of all directions, in which each axis occurs an even number of times.
        counts = [index.count(axis) for axis in range(d)]
        share = {2: 1 / d, 4: 1 / (d * (d + 2))}[order] * math.prod(max(count - 1, 1) for count in counts)
        moments[index] = mean if any(count % 2 for count in counts) else mean + eps * share
    trace = contract(moments, (), order)
    return {index: moment / trace for index, moment in moments.items()}


def contract(moments: Moments, index: tuple[int, ...], order: int) -> Array:
    """Component `index` of the moment of lower order: the sum over pairs of equal further indices."""
    d = 1 + max(key[-1] for key in moments)
    pairs = itertools.product(range(d), repeat=(order - len(index)) // 2)
    return total(moments[tuple(sorted((*index, *pair, *pair)))] for pair in pairs)


def laminate_stiffness(
    mean: Callable, lame: list[Array], shear: list[Array], moments: Moments, d: int
) -> Float[Array, "*batch_and_grid m m"]:
    """Mandel stiffness of layers with normal n, for moments of n of order four, from moduli of the phases.

    The laminate is transversely isotropic: with t across n, M = lambda + 2 mu and means <.> over the layers,

        C_nnnn = 1 / <1/M>,  C_nntt = C_nnnn <lambda/M>,  C_tttt = <M - lambda^2/M> + C_nnnn <lambda/M>^2,
        C_ntnt = 1 / <1/mu>,  and in three dimensions C_ttss = <lambda - lambda^2/M> + C_nnnn <lambda/M>^2.

    In 2D the moduli are those of the plane problem. `mean` is that of a list of values, one for each phase.

    References:
        Backus, J. Geophys. Res. 67 (1962) 4427, eq. (13).
    """
    layers = list(zip(lame, shear, strict=True))
    across = 1 / mean([1 / (first + 2 * second) for first, second in layers])
    ratio = mean([first / (first + 2 * second) for first, second in layers])
    coupling = across * ratio
    along_shear = mean(shear)
    along = mean([4 * second * (first + second) / (first + 2 * second) for first, second in layers]) + coupling * ratio
    along_lame = along - 2 * along_shear
    across_shear = 1 / mean([1 / second for second in shear])
    # C = l dd + 2 m 1 + a (d nn + nn d) + 4 b (sym. d nn) + c nnnn, from its five components.
    first, second = coupling - along_lame, across_shear - along_shear
    third = across - along_lame - 2 * along_shear - 2 * first - 4 * second
    along_lame, along_shear, first, second, third = jax.lax.optimization_barrier(
        (along_lame, along_shear, first, second, third)
    )
    basis, trace = mandel_basis(d), volumetric(d)
    parts, matrices = [along_lame, along_shear], [np.outer(trace, trace), 2 * np.eye(len(trace))]
    for pair in itertools.combinations_with_replacement(range(d), 2):
        unit, normal = symmetric_unit(pair, d), contract(moments, pair, 4)
        mixed = np.outer(trace, np.einsum("aij,ij->a", basis, unit))
        parts += [first * normal, second * normal]
        matrices += [mixed + mixed.T, 4 * np.einsum("aij,jl,bil->ab", basis, unit, basis)]
    for index, moment in moments.items():
        parts.append(third * moment)
        matrices.append(np.einsum("aij,ijkl,bkl->ab", basis, symmetric_unit(index, d), basis))
    table = np.array(matrices)
    pairs = itertools.combinations_with_replacement(range(len(trace)), 2)
    return join_components({(a, b): weighted(table[:, a, b], parts) for a, b in pairs}, len(trace))


def laminate_thermal_stress(
    mean: Callable, stresses: list[Array], lame: list[Array], shear: list[Array], moments: Moments, d: int
) -> Float[Array, "*batch_and_grid m"]:
    """Thermal stress C alpha of layers with normal n, Mandel, from that of each phase, a pressure b.

    The stress across is one in all layers, and so is the strain along them; with the symbols of `laminate_stiffness`

        b_nn = <b/M> / <1/M>,  b_tt = <2 mu b/M> + b_nn <lambda/M>.
    """
    layers = list(zip(stresses, lame, shear, strict=True))
    inverse = [1 / (first + 2 * second) for _, first, second in layers]
    across = mean([b * m for (b, _, _), m in zip(layers, inverse, strict=True)]) / mean(inverse)
    along = mean([2 * second * b * m for (b, _, second), m in zip(layers, inverse, strict=True)])
    along = along + across * mean([first * m for (_, first, _), m in zip(layers, inverse, strict=True)])
    turned = {pair: (across - along) * contract(moments, pair, 4) for pair in MANDEL_PAIRS[d]}
    entries = [along + entry if i == j else 2**0.5 * entry for (i, j), entry in turned.items()]
    return jnp.stack(entries, axis=-1)
