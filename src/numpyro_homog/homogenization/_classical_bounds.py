"""Bounds and estimates of effective properties from volume fractions alone: no cell, no solve."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from ..tensors import symmetrize
from ._moduli import Plane
from ._phase_properties import phase_properties, phase_scalars

Properties = Real[ArrayLike, "*phases"] | tuple[Real[ArrayLike, "*bulk"], Real[ArrayLike, "*shear"]]
Phases = Float[Array, "*batch J"]
Scalars = Float[Array, "*batch"]
Estimate = Float[Array, "*estimate"] | tuple[Float[Array, "*estimate"], Float[Array, "*estimate"]]


def voigt_bound(
    fractions: Real[ArrayLike, "*batch J"], properties: Real[ArrayLike, "*phases"]
) -> Float[Array, "*bound"]:
    """Arithmetic mean sum_j fractions_j properties_j: upper bound for any geometry.

    Args:
        fractions: volume fractions of the phases, shape (*batch, J), >= 0, with sum one.
        properties: scalars (conductivities, or bulk or shear moduli), shape (*batch, J), > 0; or symmetric positive
            definite tensors (d x d conductivities, m x m stiffnesses in Mandel notation, such as those of
            `isotropic_stiffness` with the plane state of the cell), shape (*batch, J, m, m). The batch axes of both
            arguments broadcast. What can be read both ways, J = m, is read by its rank: give it those of `fractions`.

    Returns:
        Bound in the unit of `properties`, shape (*batch,) or (*batch, m, m), there in the Loewner order.

    Raises:
        TypeError: for a tuple of moduli.
        ValueError: at call or trace time, if shapes do not fit. If values are concrete and not as described; under
            `jax.jit` values are not looked at.

    References:
        Wiener 1912; Voigt 1889; Hill, Proc. Phys. Soc. A 65 (1952) 349.

    Example:
        >>> voigt_bound(jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0]))
        Array(2., dtype=float32)
    """
    return _voigt(*phase_properties(fractions, properties))


def reuss_bound(
    fractions: Real[ArrayLike, "*batch J"], properties: Real[ArrayLike, "*phases"]
) -> Float[Array, "*bound"]:
    """Harmonic mean (sum_j fractions_j properties_j^-1)^-1: lower bound for any geometry.

    Args:
        fractions: as of `voigt_bound`, as are result and what is refused.
        properties: as of `voigt_bound`.

    References:
        Wiener 1912; Reuss 1929; Hill, Proc. Phys. Soc. A 65 (1952) 349.

    Example:
        >>> reuss_bound(jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0]))
        Array(1.5, dtype=float32)
    """
    return _reuss(*phase_properties(fractions, properties))


def hashin_shtrikman_bounds(
    fractions: Real[ArrayLike, "*batch J"], properties: Properties, *, ndim: int, plane: Plane = "strain"
) -> tuple[Estimate, Estimate]:
    """Lower and upper bound of isotropic mixtures of isotropic phases, any number of them.

    Every bound has the form sum_j w_j x_j / sum_j w_j with w_j = fractions_j / (x_j + r), where r comes from a
    reference medium (d is `ndim`):

        conductivity    r = (d - 1) k_0
        bulk modulus    r = 2 (d - 1) / d G_0
        shear modulus   r = G_0 (d K_0 / 2 + (d + 1) (d - 2) G_0 / d) / (K_0 + 2 G_0)

    The reference has the least properties of all phases for the lower and the greatest for the upper bound, bulk and
    shear modulus each by itself (Walpole), so phases need not be well-ordered. Phases of fraction zero do not count.

    Args:
        fractions: volume fractions of the phases, shape (*batch, J), >= 0, with sum one.
        properties: conductivities, shape (*batch, J), > 0; or `Lame` moduli of such arrays, which become the pair
            (bulk, shear); or that pair itself, > 0. In two dimensions bulk means the area modulus of the plane problem,
            lam + mu in plane strain; in three lam + 2 mu / 3.
        ndim: number of space dimensions, 2 or 3. Two means aligned fibres, seen across, or a thin plate.
        plane: plane state, "strain" or "stress", in which `Lame` moduli are read in two dimensions.

    Returns:
        `(lower, upper)` in the unit of `properties`: each of shape (*batch,), or a pair (bulk, shear) of such arrays.

    Raises:
        ValueError: as `voigt_bound`, for another `ndim`, and for plane stress of anything but `Lame` moduli in 2D.

    What it does not do: it says nothing of a single cell, whose tensor need not be isotropic and may lie outside.
    Derivatives follow the phases of extreme properties; ties share them equally.

    References:
        Hashin and Shtrikman, J. Appl. Phys. 33 (1962) 3125, and J. Mech. Phys. Solids 11 (1963) 127; Hill, ibid. 12
        (1964) 199, and Hashin, ibid. 13 (1965) 119, for fibres; Walpole, ibid. 14 (1966) 151.

    Example:
        >>> hashin_shtrikman_bounds(jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0]), ndim=2)
        (Array(1.6666666, dtype=float32), Array(1.8, dtype=float32))
    """
    lower, upper = _hashin_shtrikman(*phase_scalars(fractions, properties, ndim, plane), ndim)
    return _as_given(lower), _as_given(upper)


def self_consistent(
    fractions: Real[ArrayLike, "*batch J"], properties: Properties, *, ndim: int, plane: Plane = "strain"
) -> Estimate:
    """Self-consistent estimate: each phase as balls in a medium with the properties sought.

    It is the fixed point of the formula of `hashin_shtrikman_bounds`, its own reference medium; for conduction
    (Bruggeman) the root k of sum_j fractions_j (kappa_j - k) / (kappa_j + (d - 1) k) = 0. The root is unique, also in
    elasticity, where the bulk modulus follows from the shear modulus and the fixed point is that of a concave function.

    Args:
        fractions: volume fractions of the phases, shape (*batch, J), >= 0, with sum one.
        properties: as in `hashin_shtrikman_bounds`, and so is `plane`.
        ndim: number of space dimensions, 2 (discs; fibres in plane strain) or 3 (spheres).
        plane: plane state.

    Returns:
        Estimate in the unit of `properties`: shape (*batch,), or a pair (bulk, shear) of such arrays.

    Raises:
        ValueError: as `hashin_shtrikman_bounds`.

    Found by bisection and differentiated by the implicit function theorem, in both modes and any order. At the
    percolation threshold (a fraction 1 / d that conducts) rounding is magnified by the square root of the contrast.

    What it does not do: it is no bound, and it knows no geometry but that of a symmetric mixture.

    References:
        Bruggeman, Ann. Phys. 416 (1935) 636; Hill, J. Mech. Phys. Solids 13 (1965) 213; Budiansky, ibid. 223.

    Example:
        >>> self_consistent(jnp.array([0.5, 0.5]), jnp.array([1.0, 4.0]), ndim=2)
        Array(1.9999998, dtype=float32)
    """
    return _as_given(_self_consistent(*phase_scalars(fractions, properties, ndim, plane), ndim))


@jax.jit
def _voigt(fractions: Array, properties: Array) -> Array:
    shape = fractions.shape + (1,) * (properties.ndim - fractions.ndim)
    return jnp.sum(fractions.reshape(shape) * properties, axis=fractions.ndim - 1)


@jax.jit
def _reuss(fractions: Array, properties: Array) -> Array:
    if properties.ndim == fractions.ndim:
        return 1 / _voigt(fractions, 1 / properties)
    return symmetrize(jnp.linalg.inv(_voigt(fractions, symmetrize(jnp.linalg.inv(properties)))))


@functools.partial(jax.jit, static_argnums=2)
def _hashin_shtrikman(fractions: Phases, parts: list[Phases], ndim: int) -> tuple[list[Scalars], list[Scalars]]:
    def bound(extreme: Callable) -> list[Scalars]:
        shifts = _shifts([extreme(fractions, part) for part in parts], ndim)
        return [_shifted_mean(fractions, part, shift) for part, shift in zip(parts, shifts, strict=True)]

    return bound(_least), bound(_greatest)


@functools.partial(jax.jit, static_argnums=2)
def _self_consistent(fractions: Phases, parts: list[Phases], ndim: int) -> list[Scalars]:
    last = parts[-1]

    def medium(x: Scalars) -> list[Scalars]:
        return [x] if len(parts) == 1 else [_shifted_mean(fractions, parts[0], 2 * (ndim - 1) / ndim * x), x]

    def imbalance(x: Scalars) -> Scalars:
        shift = _shifts(medium(x), ndim)[-1]
        return jnp.sum(fractions * (last - x[..., None]) / (last + shift[..., None]), axis=-1)

    return medium(_root(imbalance, _least(fractions, last), _greatest(fractions, last)))


def _shifts(reference: list[Scalars], ndim: int) -> list[Scalars]:
    """What is added to each property in the means: conductivity, or bulk and shear modulus of the reference."""
    if len(reference) == 1:
        return [(ndim - 1) * reference[0]]
    bulk, shear = reference
    rise = (ndim / 2 * bulk + (ndim + 1) * (ndim - 2) / ndim * shear) / (bulk + 2 * shear)
    return [2 * (ndim - 1) / ndim * shear, shear * rise]


def _shifted_mean(fractions: Phases, values: Phases, shift: Scalars) -> Scalars:
    """(sum f / (x + r))^-1 - r, as a weighted mean, in which nothing cancels."""
    weights = fractions / (values + shift[..., None])
    return jnp.sum(weights * values, axis=-1) / jnp.sum(weights, axis=-1)


def _least(fractions: Phases, values: Phases) -> Scalars:
    return jnp.min(jnp.where(fractions > 0, values, jnp.inf), axis=-1)


def _greatest(fractions: Phases, values: Phases) -> Scalars:
    return jnp.max(jnp.where(fractions > 0, values, 0), axis=-1)


def _root(falling: Callable, least: Scalars, greatest: Scalars) -> Scalars:
    """Root of an elementwise function that is positive at `least` and negative at `greatest`, both positive."""

    def solve(fn: Callable, _: Scalars) -> Scalars:
        def halve(_: Array, bracket: tuple[Scalars, Scalars]) -> tuple[Scalars, Scalars]:
            low, high = bracket
            middle = jnp.sqrt(low) * jnp.sqrt(high)
            below = fn(middle) > 0
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        # Each step halves log(high / low): eight more than the digits leave nothing of a contrast of 1e100.
        steps = jnp.finfo(least.dtype).nmant + 8
        low, high = lax.fori_loop(0, steps, halve, (lax.stop_gradient(least), lax.stop_gradient(greatest)))
        return jnp.sqrt(low) * jnp.sqrt(high)

    return lax.custom_root(falling, lax.stop_gradient(least), solve, lambda linear, y: y / linear(jnp.ones_like(y)))


def _as_given(parts: list[Scalars]) -> Estimate:
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])
