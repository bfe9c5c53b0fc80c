"""Mixing rules: from phase fractions and phase properties to the coefficient of a cell problem."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from numpyro_homog.grids import Grid


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
    """The mean, sum_j f_j kappa_j: what a softmax relaxation of the phases implies. An upper bound; biased high."""

    def __call__(self, phases, kappa, spacing):
        """Isotropic coefficient, shape (*batch, *grid)."""
        return _mean(phases, kappa)


class HarmonicMixing(AbstractMixingRule):
    """The harmonic mean, 1 / sum_j (f_j / kappa_j). Biased low."""

    def __call__(self, phases, kappa, spacing):
        """Isotropic coefficient, shape (*batch, *grid)."""
        return 1 / _mean(phases, [1 / k for k in kappa])


class GeometricMixing(AbstractMixingRule):
    """The geometric mean, exp(sum_j f_j log kappa_j). Nearly unbiased tensors, but biased parameters."""

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

    The sum over voxels sees a periodic 3 x 3 (3 x 3 x 3) neighbourhood. The coefficient keeps the symmetry between
    kappa and 1 / kappa that two-dimensional conduction has.

    References:
        Backus (1962) for the laminate; Kohn and Wirgin-type subpixel smoothing in Farjadpour et al., Optics Letters
        31 (2006) 2972, for its use in cut voxels.
    """

    def __call__(self, phases, kappa, spacing):
        """Anisotropic coefficient, shape (*batch, *grid, d, d), symmetric positive definite."""
        along = _mean(phases, kappa)
        across = 1 / _mean(phases, [1 / k for k in kappa])
        directions = _directions(_mean(phases, [jnp.log(k) for k in kappa]), spacing)
        d = len(spacing)
        entries = {key: (across - along) * direction for key, direction in directions.items()}
        entries = {(i, j): along + entry if i == j else entry for (i, j), entry in entries.items()}
        # Without the barrier XLA computes each entry anew for each of the interleaved d * d components.
        entries = jax.lax.optimization_barrier(entries)
        rows = [jnp.stack([entries[min(i, j), max(i, j)] for j in range(d)], axis=-1) for i in range(d)]
        return jnp.stack(rows, axis=-2)


def mix(
    phases: Real[ArrayLike, "..."],
    kappa: Real[ArrayLike, "..."],
    rule: AbstractMixingRule = LaminateMixing(),  # noqa: B008  (immutable)
    *,
    grid: Grid | None = None,
) -> Float[Array, "..."]:
    """Conductivity field of a microstructure: phase fractions times phase conductivities, by a mixing rule.

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
    return rule(fractions, properties, spacing)


def _mean(phases, values):
    terms = [fraction * value for fraction, value in zip(phases, values, strict=True)]
    return sum(terms[1:], terms[0])


def _directions(values, spacing):
    """Mean of n n' around each voxel, weighted by |g|, as a dictionary of its components (i, j), i <= j."""
    d, dtype = len(spacing), values.dtype
    eps = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    axes = tuple(range(values.ndim - d, values.ndim))
    for axis in axes:
        first = jax.lax.slice_in_dim(values, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(values, values.shape[axis] - 1, values.shape[axis], axis=axis)
        values = jnp.concatenate([last, values, first], axis=axis)
    gradient = []
    for i, axis in enumerate(axes):
        lower, upper = _neighbours(values, axis)
        component = (upper - lower) * jnp.asarray(min(spacing) / spacing[i], dtype)
        for other in axes:
            if other != axis:
                component = sum(_neighbours(component, other)) / 2
        gradient.append(component)
    squared_norm = sum((component**2 for component in gradient[1:]), gradient[0] ** 2) + eps**2
    root = jnp.stack(gradient) * jax.lax.rsqrt(jnp.sqrt(squared_norm))[None]

    def moment(pair):
        product = root[pair[0]] * root[pair[1]]
        for axis in axes:
            product = sum(_neighbours(product, axis)) / 2
        return product

    # A loop, because XLA would fuse one expression with its consumers and repeat it there, in derivatives above all.
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    moments = dict(zip(pairs, jax.lax.map(moment, np.array(pairs, np.int32)), strict=True))
    trace = sum((moments[i, i] for i in range(1, d)), moments[0, 0]) + eps
    return {(i, j): (moment + (eps / d if i == j else 0)) / trace for (i, j), moment in moments.items()}


def _neighbours(values, axis):
    """The two arrays of neighbours along an axis, one entry shorter."""
    size = values.shape[axis]
    return jax.lax.slice_in_dim(values, 0, size - 1, axis=axis), jax.lax.slice_in_dim(values, 1, size, axis=axis)


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
