"""Mixing rules: from phase fractions and phase properties to the coefficient of a cell problem."""

import abc
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from ..grids import Grid
from ._operator import add_halo


class AbstractMixingRule(eqx.Module):
    """A rule for the conductivity of a voxel that holds several phases.

    To add one, subclass it as a frozen Equinox module and implement `__call__`. A rule must give back kappa_j in a
    voxel that holds phase j alone, scale with kappa, and be continuous in the fractions; judge it by the parameters
    that an inversion returns (docs/accuracy.md), not by the mean tensor.
    """

    @abc.abstractmethod
    def __call__(
        self, phases: list[Array], kappa: list[Array], spacing: tuple[float, ...]
    ) -> Float[Array, "*batch_and_grid"]:
        """Mix.

        Args:
            phases: one array of fractions per phase, shape (*batch, *grid).
            kappa: one array of conductivities per phase, which broadcasts against the fractions at equal rank.
            spacing: edge lengths of a voxel, one per grid axis.

        Returns:
            The coefficient, shape (*batch, *grid), or (*batch, *grid, d, d) for anisotropic voxels.
        """


class ArithmeticMixing(AbstractMixingRule):
    """The mean, sum_j f_j kappa_j: what a softmax relaxation implies. Biased high."""

    def __call__(self, phases, kappa, spacing):
        """Isotropic coefficient, shape (*batch, *grid)."""
        return _mean(phases, kappa)


class HarmonicMixing(AbstractMixingRule):
    """The harmonic mean, 1 / sum_j (f_j / kappa_j). Biased low."""

    def __call__(self, phases, kappa, spacing):
        """Isotropic coefficient, shape (*batch, *grid)."""
        return 1 / _mean(phases, [1 / k for k in kappa])


class GeometricMixing(AbstractMixingRule):
    """The geometric mean, exp(sum_j f_j log kappa_j): unbiased tensors, biased parameters."""

    def __call__(self, phases, kappa, spacing):
        """Isotropic coefficient, shape (*batch, *grid)."""
        return jnp.exp(_mean(phases, [jnp.log(k) for k in kappa]))


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

    def __call__(self, phases, kappa, spacing):
        """Anisotropic coefficient, shape (*batch, *grid, d, d), symmetric positive definite."""
        along = _mean(phases, kappa)
        across = 1 / _mean(phases, [1 / k for k in kappa])
        directions = _directions(_mean(phases, [jnp.log(k) for k in kappa]), spacing)
        d = len(spacing)
        pairs = list(directions)
        entries = [(across - along) * directions[pair] for pair in pairs]
        entries = [along + entry if i == j else entry for (i, j), entry in zip(pairs, entries, strict=True)]
        # One array behind a barrier: otherwise XLA computes each entry anew for each of the interleaved components.
        stacked = jax.lax.optimization_barrier(jnp.stack(entries))
        rows = [[stacked[pairs.index((min(i, j), max(i, j)))] for j in range(d)] for i in range(d)]
        return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def mix(
    phases: Real[ArrayLike, "..."],
    kappa: Real[ArrayLike, "..."],
    rule: AbstractMixingRule = LaminateMixing(),  # noqa: B008  (immutable)
    *,
    grid: Grid | None = None,
) -> Float[Array, "..."]:
    """Conductivity field of a microstructure, from phase fractions by a mixing rule.

    A voxel that holds phase j alone gets kappa_j. What a voxel gets that several phases share decides how accurate
    the recovered parameters are: see the rules, and docs/accuracy.md for the measurements.

    Args:
        phases: volume fractions, shape (*batch, *grid, J), >= 0, with sum one. Their dtype is used throughout.
        kappa: conductivity of each phase, shape (*batch, J) or any batch that broadcasts against that of `phases`, > 0.
        rule: the mixing rule.
        grid: the voxels of `phases`. Needed unless they are square and two-dimensional.

    Returns:
        Coefficient for `CellProblem`: shape (*batch, *grid) from isotropic rules, (*batch, *grid, d, d) from
        `LaminateMixing`, in the unit of `kappa`.

    Raises:
        ValueError: at call or trace time, if shapes do not fit. If `kappa` is concrete and not positive; under
            `jax.jit` that is left to the solver.

    Example:
        >>> phases = nh.LaguerreTessellation(grid, jnp.zeros(3)).sample(jax.random.key(0), (8,))
        >>> nh.mix(phases, jnp.array([1.0, 5.0, 10.0])).shape
        (8, 32, 32, 2, 2)
    """
    if not isinstance(kappa, jax.core.Tracer):
        concrete = np.asarray(kappa)  # NumPy, because under `jax.jit` every operation of JAX is traced
        if not np.all(np.isfinite(concrete) & (concrete > 0)):
            raise ValueError(f"kappa must be finite and positive; got {concrete}.")
    phases, kappa = jnp.asarray(phases), jnp.asarray(kappa)
    if not jnp.issubdtype(phases.dtype, jnp.floating):
        phases = phases.astype(jnp.result_type(float))
    d = 2 if grid is None else grid.ndim
    _check(phases, kappa, d, grid)
    batch = jnp.broadcast_shapes(phases.shape[: -1 - d], kappa.shape[:-1])
    kappa = kappa.astype(phases.dtype)
    num = kappa.shape[-1]

    def padded(array, shape):
        return array.reshape((1,) * (len(batch) + d - len(shape)) + shape)

    fractions = [padded(phases[..., j], phases.shape[:-1]) for j in range(num)]
    properties = [padded(kappa[..., j], kappa.shape[:-1] + (1,) * d) for j in range(num)]
    spacing = (1.0, 1.0) if grid is None else grid.spacing
    return _compiled(rule, fractions, properties, spacing)


@eqx.filter_jit
def _compiled(rule, fractions, properties, spacing):
    return rule(fractions, properties, spacing)


def _mean(phases, values):
    terms = [fraction * value for fraction, value in zip(phases, values, strict=True)]
    return sum(terms[1:], terms[0])


def _directions(values, spacing):
    """Mean of n n' around each voxel, weighted by |g|, as a dictionary of its components (i, j), i <= j."""
    d, dtype = len(spacing), values.dtype
    eps = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    shape = values.shape[values.ndim - d :]
    corners = tuple(n + 1 for n in shape)
    # Barriers keep XLA from computing what several consumers share once more for each of them.
    padded = jax.lax.optimization_barrier(add_halo(values, d))
    around = {step: _window(padded, step, corners) for step in itertools.product((0, 1), repeat=d)}
    gradient = []
    for i in range(d):
        terms = [value if step[i] else -value for step, value in around.items()]
        gradient.append(sum(terms[1:], terms[0]) * jnp.asarray(min(spacing) / spacing[i] / 2 ** (d - 1), dtype))
    inverse_norm = jax.lax.rsqrt(sum((component**2 for component in gradient[1:]), gradient[0] ** 2) + eps**2)
    moments = {}
    for i, j in itertools.combinations_with_replacement(range(d), 2):
        moments[i, j] = gradient[i] * gradient[j] * inverse_norm
    for key, moment in jax.lax.optimization_barrier(moments).items():
        terms = [_window(moment, step, shape) for step in itertools.product((0, 1), repeat=d)]
        mean = sum(terms[1:], terms[0]) / 2**d
        moments[key] = mean + eps / d if key[0] == key[1] else mean
    trace = sum((moments[i, i] for i in range(1, d)), moments[0, 0])
    return {key: moment / trace for key, moment in moments.items()}


def _window(padded, step, shape):
    """The part of the last axes that begins at `step` and has shape `shape`."""
    lead = padded.ndim - len(shape)
    stop = (*padded.shape[:lead], *(i + n for i, n in zip(step, shape, strict=True)))
    return jax.lax.slice(padded, (*(0,) * lead, *step), stop)


def _check(phases, kappa, d, grid):
    if phases.ndim < d + 1:
        raise ValueError(
            f"phases has shape {phases.shape}, but at least {d} grid axes and a last axis of phases are expected; "
            "pass `grid=` if the cell is not two-dimensional."
        )
    if grid is not None and phases.shape[-1 - d : -1] != grid.shape:
        raise ValueError(
            f"phases has shape {phases.shape}, which is not (*batch, *grid, J) on a grid of shape {grid.shape}."
        )
    if kappa.ndim < 1 or kappa.shape[-1] != phases.shape[-1]:
        raise ValueError(
            f"kappa has shape {kappa.shape}, but phases has {phases.shape[-1]} phases on its last axis; "
            "pass one conductivity per phase, on the last axis."
        )
    try:
        jnp.broadcast_shapes(phases.shape[: -1 - d], kappa.shape[:-1])
    except ValueError as error:
        raise ValueError(
            f"the batch of kappa {kappa.shape[:-1]} does not broadcast against that of phases {phases.shape[: -1 - d]}."
        ) from error
