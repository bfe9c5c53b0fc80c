"""Gaussian random fields at given points."""

import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import require
from ._covariance import AbstractCovariance
from ._modes import in_chunks, sum_at_points, sum_on_grid
from ._pushforward import PushforwardTransform, without_density


class GaussianFieldTransform(PushforwardTransform):
    """Standard normal coefficients (*batch, *modes) -> values of the field (*batch, *points)."""

    def __init__(self, points: Grid | Array, covariance: AbstractCovariance):
        self.points = points
        self.covariance = covariance

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Shape of the array of points."""
        return self.points.shape if isinstance(self.points, Grid) else self.points.shape[:-1]

    def __call__(self, x):
        """Sum the modes; computed in the dtype of the covariance."""
        return _values(self.points, self.covariance, jnp.asarray(x, self.covariance.dtype))

    def variance(self):
        """The variance at each point, shape (*batch, *points)."""
        target = self.covariance.pointwise_variance
        if target is None:
            return _raw_variance(self.points, self.covariance)
        return jnp.broadcast_to(self.over_sites(target), (*self.covariance.batch_shape, *self.site_shape))

    def over_sites(self, parameter):
        """A parameter (*batch) with one axis more for each axis of the points."""
        return parameter.reshape(parameter.shape + (1,) * len(self.site_shape))

    @property
    def domain(self):
        """Any coefficients."""
        return constraints.independent(constraints.real, self.covariance.ndim)

    @property
    def codomain(self):
        """Any values."""
        return constraints.independent(constraints.real, len(self.site_shape))

    def forward_shape(self, shape):
        """(*batch, *modes) -> (*batch, *points), broadcast against the batch of the covariance."""
        batch = jnp.broadcast_shapes(shape[: len(shape) - self.covariance.ndim], self.covariance.batch_shape)
        return (*batch, *self.site_shape)

    def inverse_shape(self, shape):
        """(*batch, *points) -> (*batch, *modes), broadcast against the batch of the covariance."""
        batch = jnp.broadcast_shapes(shape[: len(shape) - len(self.site_shape)], self.covariance.batch_shape)
        return (*batch, *self.covariance.mode_shape)

    def tree_flatten(self):
        """Points and hyper-parameters are data; a grid has none."""
        return (self.points, self.covariance), (("points", "covariance"), {})

    def eq(self, other, static=False):
        """Equality of type, points and covariance."""
        if not isinstance(other, GaussianFieldTransform):
            return False
        return eqx.tree_equal((self.points, self.covariance), (other.points, other.covariance))


@eqx.filter_jit
def _values(points, covariance, x):
    """The field with the noise x."""
    values = _sum(points, covariance, jnp.sqrt(covariance.spectrum()) * x)
    target = covariance.pointwise_variance
    if target is None:
        return values
    raw = _raw_variance(points, covariance)
    target = target.reshape(target.shape + (1,) * (raw.ndim - len(covariance.batch_shape)))
    return values * jnp.sqrt(target / raw)


@eqx.filter_jit
def _raw_variance(points, covariance):
    """The variance of the sum of modes at each point."""
    return _sum(points, covariance, covariance.spectrum(), power=2)


def _sum(points, covariance, coefficients, power=1):
    """Sum of coefficients (*batch, *modes) times modes to a power, at all points."""
    dtype = covariance.dtype
    if isinstance(points, Grid):
        axes = zip(points.shape, points.spacing, strict=True)
        centers = [(jnp.arange(n, dtype=dtype) + 0.5) * h for n, h in axes]
        return sum_on_grid(coefficients, [covariance.modes(i, x) ** power for i, x in enumerate(centers)])

    def at(chunk):
        return sum_at_points(coefficients, [covariance.modes(i, x) ** power for i, x in enumerate(chunk.T)])

    entries = math.prod(coefficients.shape[:-1]) + sum(covariance.mode_shape)
    return in_chunks(at, entries, points.astype(dtype))


class GaussianField(dist.TransformedDistribution):
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

    arg_constraints: ClassVar[dict] = {}
    pytree_data_fields = ()

    def __init__(
        self,
        points: Grid | ArrayLike,
        covariance: AbstractCovariance,
        *,
        validate_args: bool | None = None,
    ):
        if not isinstance(covariance, AbstractCovariance):
            raise TypeError(
                f"covariance must be NeumannMatern, PeriodicMatern, PeriodicSquaredExponential or another "
                f"AbstractCovariance; got {type(covariance).__name__}."
            )
        if not isinstance(points, Grid):
            points = jnp.asarray(points)
            if points.ndim < 1:
                raise ValueError("points must have coordinates on the last axis, shape (*points, d), or be a Grid.")
        d = points.ndim if isinstance(points, Grid) else points.shape[-1]
        if d != covariance.ndim:
            raise ValueError(
                f"points have {d} coordinates but the covariance has {covariance.ndim} lengths, {covariance.lengths}; "
                "pass points of shape (*points, d) or a Grid, and one length for each of the d axes."
            )
        _require_inside(points, covariance)
        super().__init__(noise(covariance), [GaussianFieldTransform(points, covariance)], validate_args=validate_args)

    @property
    def points(self) -> Grid | Array:
        """The points, or the grid."""
        return self.transforms[0].points

    @property
    def covariance(self) -> AbstractCovariance:
        """The covariance."""
        return self.transforms[0].covariance

    def normalized(self) -> "GaussianField":
        """The field divided by its standard deviation at each point; with the same key, the same noise."""
        return GaussianField(self.points, self.covariance.normalized())

    @property
    def mean(self) -> Float[Array, "..."]:
        """Zero, shape (*batch, *points)."""
        return jnp.zeros(self.batch_shape + self.event_shape, self.covariance.dtype)

    @property
    def variance(self) -> Float[Array, "..."]:
        """The exact variance at each point, shape (*batch, *points)."""
        return self.transforms[0].variance()

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative."""
        return ["covariance"] if isinstance(self.points, Grid) else ["points", "covariance"]

    @property
    def has_rsample(self) -> bool:
        """Samples can be differentiated."""
        return True

    def log_prob(self, value, intermediates=None):
        """Raise: there may be more points than modes, and nobody needs the density."""
        return without_density(self, value, self.event_dim)


def _require_inside(points, covariance):
    if covariance.bounds is None:
        return
    low, high = np.asarray(covariance.bounds).T
    slack = 1e-5 * (high - low)  # coordinates that were rounded

    def inside(x):
        return (x >= low - slack) & (x <= high + slack)

    known = np.asarray([np.zeros(len(low)), points.lengths]) if isinstance(points, Grid) else points
    expected = (
        f"in the box {covariance.bounds} of the covariance, beyond which the field would only be mirrored; enlarge "
        "its `lengths` or its `margin`"
    )
    require(inside, "points", known, expected)


def noise(covariance: AbstractCovariance, leading: tuple[int, ...] = ()) -> dist.Distribution:
    """Standard normal coefficients of as many independent fields as `leading` says, one event."""
    shape = (*leading, *covariance.mode_shape)
    normal = dist.Normal(jnp.zeros((), covariance.dtype), jnp.ones((), covariance.dtype))
    return normal.expand(covariance.batch_shape + shape).to_event(len(shape))


def require_field(field: GaussianField) -> GaussianField:
    """The field, if it is a `GaussianField`.

    Raises:
        TypeError: if not.
    """
    if not isinstance(field, GaussianField):
        raise TypeError(
            f"field must be a GaussianField; got {type(field).__name__}. A batch of fields comes from a covariance "
            "with batched hyper-parameters, or from `expand` or a plate around the whole distribution."
        )
    return field
