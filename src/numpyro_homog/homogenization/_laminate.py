"""Stiffness of a laminate of isotropic layers, averaged over the directions of its normal."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._moduli import MANDEL_PAIRS
from ._normals import contract


def laminate_stiffness(
    mean: Callable, lame: list[Array], shear: list[Array], moments: dict[tuple[int, ...], Array], d: int
) -> Float[Array, "... m m"]:
    """Mandel stiffness of layers with normal n, for moments of n of order four.

    The laminate is transversely isotropic: with t across n, M = lambda + 2 mu and means <.> over the layers,

        C_nnnn = 1 / <1/M>,  C_nntt = C_nnnn <lambda/M>,  C_tttt = <M - lambda^2/M> + C_nnnn <lambda/M>^2,
        C_ntnt = 1 / <1/mu>,  and in three dimensions C_ttss = <lambda - lambda^2/M> + C_nnnn <lambda/M>^2.

    Args:
        mean: mean of a list of values, one for each phase, over the layers.
        lame: first Lame parameter of each phase, in 2D that of the plane problem.
        shear: shear modulus of each phase.
        moments: components of the mean of n n n n, by sorted index.
        d: 2 or 3.

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
    first = coupling - along_lame
    second = across_shear - along_shear
    third = across - along_lame - 2 * along_shear - 2 * first - 4 * second
    constants = jax.lax.optimization_barrier((along_lame, along_shear, first, second, third))
    along_lame, along_shear, first, second, third = constants
    pairs = MANDEL_PAIRS[d]
    normal = {pair: contract(moments, pair, 4) for pair in itertools.combinations_with_replacement(range(d), 2)}

    def n2(i, j):
        return normal[min(i, j), max(i, j)]

    def component(i, j, k, l):  # noqa: E741
        terms = [third * moments[tuple(sorted((i, j, k, l)))]]
        if i == j and k == l:
            terms.append(along_lame)
        terms += [first * n2(k, l)] * (i == j) + [first * n2(i, j)] * (k == l)
        terms += [along_shear] * ((i == k) * (j == l)) + [along_shear] * ((i == l) * (j == k))
        for equal, pair in (((i, k), (j, l)), ((i, l), (j, k)), ((j, k), (i, l)), ((j, l), (i, k))):
            if equal[0] == equal[1]:
                terms.append(second * n2(*pair))
        return sum(terms[1:], terms[0])

    entries = {}
    for (a, first_pair), (b, second_pair) in itertools.combinations_with_replacement(enumerate(pairs), 2):
        weight = 2.0 ** (((first_pair[0] != first_pair[1]) + (second_pair[0] != second_pair[1])) / 2)
        entries[a, b] = weight * component(*first_pair, *second_pair)
    size = range(len(pairs))
    stacked = jax.lax.optimization_barrier(jnp.stack([entries[key] for key in sorted(entries)]))
    order = sorted(entries)
    rows = [[stacked[order.index((min(a, b), max(a, b)))] for b in size] for a in size]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def laminate_thermal_stress(
    mean: Callable,
    stresses: list[Array],
    lame: list[Array],
    shear: list[Array],
    moments: dict[tuple[int, ...], Array],
    d: int,
) -> Float[Array, "... m"]:
    """Thermal stress C alpha of layers with normal n, Mandel, from that of each phase, a pressure b.

    The stress across is one in all layers, and so is the strain along them; with the symbols of `laminate_stiffness`

        b_nn = <b/M> / <1/M>,  b_tt = <2 mu b/M> + b_nn <lambda/M>.

    Args:
        mean: as in `laminate_stiffness`.
        stresses: b of each phase.
        lame: as in `laminate_stiffness`.
        shear: as in `laminate_stiffness`.
        moments: as in `laminate_stiffness`.
        d: 2 or 3.
    """
    layers = list(zip(stresses, lame, shear, strict=True))
    inverse = [1 / (first + 2 * second) for _, first, second in layers]
    across = mean([layer[0] * m for layer, m in zip(layers, inverse, strict=True)]) / mean(inverse)
    along = mean([2 * layer[2] * layer[0] * m for layer, m in zip(layers, inverse, strict=True)])
    along = along + across * mean([layer[1] * m for layer, m in zip(layers, inverse, strict=True)])
    entries = []
    for i, j in MANDEL_PAIRS[d]:
        turned = (across - along) * contract(moments, (i, j), 4)
        entries.append(along + turned if i == j else 2**0.5 * turned)
    return jnp.stack(entries, axis=-1)
