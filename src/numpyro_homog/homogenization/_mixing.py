"""Mixing rules: from phase fractions and phase properties to the coefficient of a cell problem."""

import abc
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Real

from .._results import VOIDS
from .._tracing import is_traced
from ..grids import Grid
from ._elastic_mixture import ElasticMixture
from ._laminate import laminate_stiffness, laminate_thermal_stress, normal_moments
from ._moduli import Lame, phase_moduli, spherical
from ._tensor_fields import join_components, total

Parts = list[Array]  # one for each phase
Pair = tuple[Array, Array]
Spacing = tuple[float, ...]


class AbstractMixingRule(eqx.Module):
    """A rule for the coefficient of a voxel that holds several phases.

    To add one, subclass it as a frozen Equinox module and implement `__call__` (conduction) and `mix_elastic`. A rule
    must give back the property of phase j in a voxel that holds phase j alone, scale with the properties, and be
    continuous in the fractions; judge it by the parameters that an inversion returns (docs/accuracy.md), not by the
    mean tensor.
    """

    @abc.abstractmethod
    def __call__(self, phases: Parts, kappa: Parts, spacing: Spacing) -> Float[Array, "*batch_and_grid"]:
        """Mix.

        Args:
            phases: one array of fractions per phase, shape (*batch, *grid).
            kappa: one array of conductivities per phase, which broadcasts against the fractions at equal rank.
            spacing: edge lengths of a voxel, one per grid axis.

        Returns:
            The coefficient, shape (*batch, *grid), or (*batch, *grid, d, d) for anisotropic voxels.
        """

    @abc.abstractmethod
    def mix_elastic(self, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Pair | Array:
        """Mix elastic phases: as `__call__`, with Lame parameters; a pair of fields or Mandel stiffnesses.

        In 2D the moduli are those of the plane problem, `Lame.of_plane`, and so is the answer.
        """

    @abc.abstractmethod
    def mix_thermal_stress(self, phases: Parts, stresses: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        """Thermal stress C alpha of the voxels, Mandel, (*batch, *grid, m), from that of each phase, a pressure."""


class ArithmeticMixing(AbstractMixingRule):
    """The mean, sum_j f_j kappa_j: what a softmax relaxation implies. Biased high.

    In elasticity it is that of both Lame parameters.
    """

    def __call__(self, phases: Parts, kappa: Parts, spacing: Spacing) -> Array:
        return _mean(phases, kappa)

    def mix_elastic(self, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Pair:
        return _mean(phases, lame), _mean(phases, shear)

    def mix_thermal_stress(self, phases: Parts, stresses: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        """The mean: all phases have the strain of the voxel."""
        return spherical(_mean(phases, stresses), len(spacing))


class HarmonicMixing(AbstractMixingRule):
    """The harmonic mean, 1 / sum_j (f_j / kappa_j). Biased low.

    In elasticity it is that of bulk and shear modulus.
    """

    def __call__(self, phases: Parts, kappa: Parts, spacing: Spacing) -> Array:
        return 1 / _mean(phases, [1 / k for k in kappa])

    def mix_elastic(self, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Pair:
        return _mix_moduli(self, phases, lame, shear, spacing)

    def mix_thermal_stress(self, phases: Parts, stresses: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        """The mean of the expansions, times the stiffness: all phases have the stress of the voxel."""
        bulk = _bulk(lame, shear, len(spacing))
        expansion = _mean(phases, [stress / k for stress, k in zip(stresses, bulk, strict=True)])
        return spherical(self(phases, bulk, spacing) * expansion, len(spacing))


class GeometricMixing(AbstractMixingRule):
    """The geometric mean, exp(sum_j f_j log kappa_j): unbiased tensors, biased parameters.

    In elasticity it is that of bulk and shear modulus. It is the mean of no arrangement of phases and has no strains in
    them, so thermal stresses are refused.
    """

    def __call__(self, phases: Parts, kappa: Parts, spacing: Spacing) -> Array:
        return jnp.exp(_mean(phases, [jnp.log(k) for k in kappa]))

    def mix_elastic(self, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Pair:
        return _mix_moduli(self, phases, lame, shear, spacing)

    def mix_thermal_stress(self, phases: Parts, stresses: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        raise ValueError("GeometricMixing has no thermal stress; mix with LaminateMixing(), the default.")


class LaminateMixing(AbstractMixingRule):
    """Harmonic mean across the interface, arithmetic mean along it: a I + (h - a) N.

    Here a = sum_j f_j kappa_j and 1 / h = sum_j f_j / kappa_j. N is the mean of n n' over the interfaces near the
    voxel, with trace one: from the gradients g of sum_j f_j log kappa_j at the corners of the voxel (2^d voxels each),
    N = sum |g| n n' / sum |g|, n = g / |g|. Beside a straight interface N is n n'. Where an interface bends, or several
    meet, N has several directions; that is what keeps recovered parameters unbiased (docs/accuracy.md), and what makes
    the coefficient continuous where a gradient vanishes. Principal values lie between h and a.

    A voxel sees its periodic 3 x 3 (3 x 3 x 3) neighbourhood. The coefficient keeps the symmetry between
    kappa and 1 / kappa that two-dimensional conduction has.

    References:
        Backus, J. Geophys. Res. 67 (1962) 4427, for the laminate. Farjadpour et al., Optics Letters 31 (2006) 2972,
        for the same mean in voxels that an interface cuts.
    """

    def __call__(self, phases: Parts, kappa: Parts, spacing: Spacing) -> Array:
        """Anisotropic coefficient, shape (*batch, *grid, d, d), symmetric positive definite."""
        along = _mean(phases, kappa)
        across = 1 / _mean(phases, [1 / k for k in kappa])
        directions = normal_moments(_mean(phases, [jnp.log(k) for k in kappa]), spacing)
        parts = {(i, j): (across - along) * part for (i, j), part in directions.items()}
        return join_components({(i, j): along + p if i == j else p for (i, j), p in parts.items()}, len(spacing))

    def mix_elastic(self, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        """Mandel stiffness of the laminate, shape (*batch, *grid, m, m)."""
        moments = normal_moments(_marks(phases, lame, shear), spacing, 4)
        return laminate_stiffness(functools.partial(_mean, phases), lame, shear, moments, len(spacing))

    def mix_thermal_stress(self, phases: Parts, stresses: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Array:
        """Thermal stress of the laminate: across it that of one stress, along it that of one strain."""
        moments = normal_moments(_marks(phases, lame, shear), spacing, 4)
        return laminate_thermal_stress(functools.partial(_mean, phases), stresses, lame, shear, moments, len(spacing))


def mix(
    phases: Real[ArrayLike, "*batch_grid_J"],
    kappa: PyTree,
    rule: AbstractMixingRule = LaminateMixing(),  # noqa: B008  (immutable)
    *,
    grid: Grid | None = None,
) -> PyTree:
    """Coefficient of a microstructure, from phase fractions by a mixing rule.

    A voxel that holds phase j alone gets the property of phase j. What a voxel gets that several phases share decides
    how accurate the recovered parameters are: see the rules, and docs/accuracy.md for the measurements.

    Args:
        phases: volume fractions, shape (*batch, *grid, J), >= 0, with sum one. Their dtype is used throughout.
        kappa: conductivity of each phase, shape (*batch, J) or any batch that broadcasts against that of `phases`, > 0;
            or for elasticity `Lame` moduli of such arrays (`lame_from_young(E, nu)`), shear > 0, lambda > -2/d shear. A
            bare pair (lame_lambda, shear_modulus) is taken with a warning.
        rule: the mixing rule.
        grid: the voxels of `phases`. Needed unless they are square and two-dimensional.

    Returns:
        Field for `CellProblem`, in the unit of `kappa`. Conduction: shape (*batch, *grid) from isotropic rules,
        (*batch, *grid, d, d) from `LaminateMixing`. Elasticity: an `ElasticMixture`, which `LinearElasticity` mixes in
        its own plane state; its `stiffness` shows the Mandel matrices.

    Raises:
        TypeError, ValueError: at call or trace time, if types or shapes do not fit. If concrete properties are not
            those of a stable material, or concrete integer phases are labels; under `jax.jit` that is left to the
            solver.

    Example:
        >>> phases = nh.LaguerreTessellation(grid, jnp.zeros(3)).sample(jax.random.key(0), (8,))
        >>> nh.mix(phases, jnp.array([1.0, 5.0, 10.0])).shape
        (8, 32, 32, 2, 2)
    """
    spacing = (1.0, 1.0) if grid is None else grid.spacing
    d = len(spacing)
    properties = phase_moduli(kappa)
    given = properties if isinstance(properties, Lame) else (properties,)
    if not is_traced(given):
        _check_stability(given, d)
    phases = jnp.asarray(phases)
    if not jnp.issubdtype(phases.dtype, jnp.floating):
        if not is_traced(phases) and not (phases.ndim and np.all(np.sum(np.asarray(phases), axis=-1) == 1)):
            raise ValueError(
                f"phases of shape {phases.shape} and dtype {phases.dtype} are no volume fractions: their sums over the"
                " last axis are not one. If they are labels, write nh.phases_from_labels(labels, num_phases)."
            )
        phases = phases.astype(jnp.result_type(float))
    parts = [jnp.asarray(part).astype(phases.dtype) for part in given]
    for part in parts:
        _check(phases, part, d, grid)
    batch = jnp.broadcast_shapes(phases.shape[: -1 - d], *(part.shape[:-1] for part in parts))
    if isinstance(properties, Lame):
        parts = [jnp.broadcast_to(part, (*batch, part.shape[-1])) for part in parts]
        return ElasticMixture(jnp.broadcast_to(phases, (*batch, *phases.shape[-1 - d :])), Lame(*parts), rule, spacing)

    def split(array: Array) -> Parts:
        shape = (1,) * (len(batch) + d + 1 - array.ndim) + array.shape[:-1]
        return [array[..., j].reshape(shape) for j in range(array.shape[-1])]

    values = jnp.expand_dims(parts[0], tuple(range(-1 - d, -1)))
    return _conducting(rule, split(phases), split(values), spacing)


_conducting = eqx.filter_jit(lambda rule, *arguments: rule(*arguments))


def _check_stability(properties: tuple, d: int) -> None:
    # NumPy, because under `jax.jit` every operation of JAX is traced.
    *_, last = concrete = [np.asarray(part) for part in properties]
    if not np.all(np.isfinite(last) & (last > 0)):
        name = "kappa" if len(concrete) == 1 else "the shear modulus"
        raise ValueError(f"{name} must be finite and positive; got {last}. {VOIDS}")
    if len(concrete) == 2 and not np.all(np.isfinite(concrete[0]) & (concrete[0] + 2 * last / d > 0)):
        raise ValueError(f"lame_lambda must be finite and above -2/{d} of the shear modulus; got {concrete[0]}.")


def _mean(phases: Parts, values: Parts) -> Array:
    return total(fraction * value for fraction, value in zip(phases, values, strict=True))


def _mix_moduli(rule: AbstractMixingRule, phases: Parts, lame: Parts, shear: Parts, spacing: Spacing) -> Pair:
    """Lame fields from a rule for single properties, applied to bulk and shear modulus."""
    bulk, mixed = rule(phases, _bulk(lame, shear, len(spacing)), spacing), rule(phases, shear, spacing)
    return bulk - 2 * mixed / len(spacing), mixed


def _bulk(lame: Parts, shear: Parts, d: int) -> Parts:
    """Bulk moduli of the dimension."""
    return [l + 2 * m / d for l, m in zip(lame, shear, strict=True)]  # noqa: E741


def _marks(phases: Parts, lame: Parts, shear: Parts) -> Array:
    """What tells the phases apart where the normals of a laminate are sought."""
    return _mean(phases, [jnp.log(m * (l + 2 * m)) for l, m in zip(lame, shear, strict=True)])  # noqa: E741


def _check(phases: Array, kappa: Array, d: int, grid: Grid | None) -> None:
    if phases.ndim < d + 1 or (grid is not None and phases.shape[-1 - d : -1] != grid.shape):
        where = "" if grid is None else f" on a grid of shape {grid.shape}"
        raise ValueError(
            f"phases has shape {phases.shape}; expected volume fractions (*batch, *grid, J) with {d} grid axes{where}"
            " and the phases last. Pass `grid=` if the cell is not two-dimensional, use jnp.moveaxis if the phases are"
            " not last, and nh.phases_from_labels(labels, num_phases) if these are labels."
        )
    if kappa.ndim < 1 or kappa.shape[-1] != phases.shape[-1]:
        raise ValueError(
            f"kappa has shape {kappa.shape}, but phases, shape {phases.shape}, has {phases.shape[-1]} phases on its"
            " last axis; pass one property for each phase, on the last axis: jnp.array([...]) for all specimens, or"
            f" (*batch, {phases.shape[-1]})."
        )
    try:
        jnp.broadcast_shapes(phases.shape[: -1 - d], kappa.shape[:-1])
    except ValueError as error:
        raise ValueError(
            f"the batch of kappa {kappa.shape[:-1]} does not broadcast against that of phases {phases.shape[: -1 - d]};"
            " the axes before the last are specimens."
        ) from error
