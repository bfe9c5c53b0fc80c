"""Gaussian random fields at given points."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import require
from ._covariance import AbstractCovariance, in_chunks, sum_at_points, sum_on_grid, trail
from ._pushforward import AbstractPushforward, parameter


def field_values(noise: Array, points: Grid | Array, covariance: AbstractCovariance) -> Float[Array, "*values"]:
    """Normal coefficients (*batch, *modes) -> values (*batch, *points), in the dtype of the covariance."""
    return _values(noise.astype(covariance.dtype), points, covariance)


@eqx.filter_jit
def _values(coefficients: Array, points: Grid | Array, covariance: AbstractCovariance) -> Float[Array, "*values"]:
    values = _sum(points, covariance, jnp.sqrt(covariance.spectrum()) * coefficients)
    if covariance.pointwise_variance is None:
        return values
    raw = _raw_variance(points, covariance)
    target = trail(covariance.pointwise_variance, raw.ndim - len(covariance.batch_shape))
    return values * jnp.sqrt(target / raw)


@eqx.filter_jit
def _raw_variance(points: Grid | Array, covariance: AbstractCovariance) -> Float[Array, "*values"]:
    """The variance of the sum of modes at each point."""
    return _sum(points, covariance, covariance.spectrum(), power=2)


def _sum(points: Grid | Array, covariance: AbstractCovariance, coefficients: Array, power: int = 1) -> Array:
    """Sum of coefficients (*batch, *modes) times modes to a power, at all points."""
    dtype = covariance.dtype
    if isinstance(points, Grid):
        centers = [(jnp.arange(n, dtype=dtype) + 0.5) * h for n, h in zip(points.shape, points.spacing, strict=True)]
        return sum_on_grid(coefficients, [covariance.modes(i, x) ** power for i, x in enumerate(centers)])

    def at(chunk: Float[Array, "p d"]) -> Float[Array, "*batch p"]:
        return sum_at_points(coefficients, [covariance.modes(i, x) ** power for i, x in enumerate(chunk.T)])

    entries = math.prod(coefficients.shape[:-1]) + sum(covariance.mode_shape)
    return in_chunks(at, entries, points.astype(dtype))


class GaussianField(AbstractPushforward):
    """A zero-mean Gaussian field at given points, or at the voxels of a grid.

    u(x) = sum_k sqrt(lambda_k) xi_k prod_i e_i,k_i(x_i): the `covariance` has the spectrum lambda and the modes e, the
    noise xi is standard normal, one number for each mode. The sum is evaluated axis by axis, exactly; values far apart
    belong to one realisation, so that a large specimen can be seen through its points alone.

    It is a pushforward of the noise: `log_prob` raises, and `TransformReparam` makes the noise the latent variable.
    Samples are differentiable in the hyper-parameters and in the points. Holding the key holds the noise.

    Args:
        points: coordinates, shape (*points, d), in the unit of `covariance.lengths`; or a `Grid`, which means its voxel
            centres. All of them are one event, seen by every member of a batch. Values have the dtype of the
            covariance.
        covariance: `NeumannMatern`, `PeriodicMatern` or `PeriodicSquaredExponential`; its batch shape is that of the
            field.
        validate_args: NumPyro's switch; nothing depends on it here.

    Attributes:
        variance: the exact variance at each point, shape (*batch, *points).

    Raises:
        TypeError: at construction, if `covariance` is none.
        ValueError: at construction, if `points` has another dimension than the covariance, or leaves the box of
            `NeumannMatern` (known coordinates only).

    Costs one matrix product for each axis of a grid, and 2 M^d operations for each scattered point, with M modes along
    each of d axes. At scattered points the memory beside noise and values is bounded, in derivatives too.

    References:
        Lindgren, Rue and Lindstrom (2011), J. R. Stat. Soc. B 73, 423-498; Lord, Powell and Shardlow (2014), An
        Introduction to Computational Stochastic PDEs, section 7.4.

    Example:
        >>> grid = nh.Grid((64, 64))
        >>> law = nh.GaussianField(grid, nh.PeriodicMatern(grid.lengths, 0.1, 1.5))
        >>> law.sample(jax.random.key(0), (2,)).shape
        (2, 64, 64)
    """

    points = parameter("points", "The points, or the grid.")
    covariance = parameter("covariance", "The covariance.")

    def __init__(self, points: Grid | ArrayLike, covariance: AbstractCovariance, *, validate_args: bool | None = None):
        if not isinstance(covariance, AbstractCovariance):
            raise TypeError(
                f"covariance must be NeumannMatern, PeriodicMatern, PeriodicSquaredExponential or another "
                f"AbstractCovariance; got {type(covariance).__name__}."
            )
        on_grid = isinstance(points, Grid)
        at: Any = points if on_grid else jnp.asarray(points)
        if at.ndim < 1:
            raise ValueError("points must have coordinates on the last axis, shape (*points, d), or be a Grid.")
        d = at.ndim if on_grid else at.shape[-1]
        if d != covariance.ndim:
            raise ValueError(
                f"points have {d} coordinates but the covariance has {covariance.ndim} lengths, {covariance.lengths}; "
                "pass points of shape (*points, d) or a Grid, and one length for each of the d axes."
            )
        if covariance.bounds is not None:
            low, high = np.asarray(covariance.bounds).T
            slack = 1e-5 * (high - low)  # coordinates that were rounded
            known = np.asarray([np.zeros(d), at.lengths]) if on_grid else at
            expected = f"in the box {covariance.bounds} of the covariance, beyond which the field would only be"
            expected += " mirrored; enlarge its `lengths` or its `margin`"
            require(lambda x: (x >= low - slack) & (x <= high + slack), "points", known, expected)
        super().__init__(
            noise(covariance),
            field_values,
            {"points": at, "covariance": covariance},
            batch_shape=covariance.batch_shape,
            event_shape=at.shape if on_grid else at.shape[:-1],
            support=constraints.real,
            paths={"covariance": True} if on_grid else {"points": True, "covariance": True},
            validate_args=validate_args,
        )

    def normalized(self) -> "GaussianField":
        """The field divided by its standard deviation at each point; with the same key, the same noise."""
        return GaussianField(self.points, self.covariance.normalized())

    @property
    def mean(self) -> Float[Array, "*batch_and_points"]:
        """Zero, shape (*batch, *points)."""
        return jnp.zeros(self.batch_shape + self.event_shape, self.covariance.dtype)

    @property
    def variance(self) -> Float[Array, "*batch_and_points"]:
        """The exact variance at each point, shape (*batch, *points)."""
        target = self.covariance.pointwise_variance
        if target is None:
            return _raw_variance(self.points, self.covariance)
        return jnp.broadcast_to(trail(target, len(self.event_shape)), self.batch_shape + self.event_shape)


def noise(covariance: AbstractCovariance, leading: tuple[int, ...] = ()) -> dist.Distribution:
    """Standard normal coefficients of as many independent fields as `leading` says, one event."""
    shape = (*leading, *covariance.mode_shape)
    normal = dist.Normal(jnp.zeros((), covariance.dtype), jnp.ones((), covariance.dtype))
    return normal.expand(covariance.batch_shape + shape).to_event(len(shape))


def require_field(field: GaussianField) -> GaussianField:
    """The field, or `TypeError` if it is none."""
    if not isinstance(field, GaussianField):
        raise TypeError(
            f"field must be a GaussianField; got {type(field).__name__}. A batch of fields comes from a covariance "
            "with batched hyper-parameters, or from `expand` or a plate around the whole distribution."
        )
    return field
