"""Laguerre tessellation of the torus, one seed per phase."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._fractions import AbstractDistance, EuclideanDistance, voxel_fractions, voxel_labels
from ._pushforward import PushforwardTransform, without_density


class LaguerreTransform(PushforwardTransform):
    """Seeds (*batch, J, d) in the cell -> volume fractions (*batch, *grid, J) of the phases that grow from them."""

    def __init__(self, grid: Grid, delays: Float[Array, "*batch phases"], distance: AbstractDistance, sharp: bool):
        self.grid = grid
        self.delays = delays
        self.distance = distance
        self.sharp = sharp

    def __call__(self, x):
        """Rasterise seeds of shape (*batch, J, d); computed in the dtype of the delays."""
        batch = jnp.broadcast_shapes(x.shape[:-2], self.delays.shape[:-1])
        num = self.delays.shape[-1]
        seeds = jnp.broadcast_to(jnp.asarray(x).astype(self.delays.dtype), (*batch, num, self.grid.ndim))
        rasterise = voxel_labels if self.sharp else voxel_fractions
        return rasterise(seeds, jnp.broadcast_to(self.delays, (*batch, num)), self.grid, self.distance)

    @property
    def domain(self):
        """Positions in the box of the cell."""
        return constraints.independent(constraints.interval(0.0, jnp.asarray(self.grid.lengths, self.delays.dtype)), 2)

    @property
    def codomain(self):
        """Points of the simplex, one per voxel."""
        return constraints.independent(constraints.simplex, self.grid.ndim)

    def forward_shape(self, shape):
        """(*batch, J, d) -> (*batch, *grid, J), broadcast against the batch of the delays."""
        return (*jnp.broadcast_shapes(shape[:-2], self.delays.shape[:-1]), *self.grid.shape, self.delays.shape[-1])

    def inverse_shape(self, shape):
        """(*batch, *grid, J) -> (*batch, J, d), broadcast against the batch of the delays."""
        batch = jnp.broadcast_shapes(shape[: -1 - self.grid.ndim], self.delays.shape[:-1])
        return (*batch, self.delays.shape[-1], self.grid.ndim)

    def tree_flatten(self):
        """Delays are data; grid, distance and sharpness are static."""
        return (self.delays,), (self.grid, self.distance, self.sharp)

    @classmethod
    def tree_unflatten(cls, aux_data, params):
        """Inverse of `tree_flatten`; checks nothing, because JAX passes placeholders."""
        transform = cls.__new__(cls)
        (transform.delays,) = params
        transform.grid, transform.distance, transform.sharp = aux_data
        return transform

    def eq(self, other, static=False):
        """Equality of type, grid, distance, sharpness and delays."""
        if not isinstance(other, LaguerreTransform):
            return False
        same = (self.grid, self.distance, self.sharp) == (other.grid, other.distance, other.sharp)
        if not same or self.delays.shape != other.delays.shape:
            return False
        equal = jnp.all(self.delays == other.delays)
        return bool(equal) if static and not isinstance(equal, jax.core.Tracer) else equal


class LaguerreTessellation(dist.TransformedDistribution):
    """Cells that grow on the torus, one uniform seed per phase, started at different times.

    A point x belongs to the phase j with the least d(x, z_j) + w_j: seeds z_j are uniform on the periodic cell, w_j are
    the `delays`, d is the periodic distance. With d = |x - z| (default) this is the Johnson-Mehl tessellation: the cell
    that starts later is smaller, and may be missing. With `SquaredDistance()` it is the power diagram. A constant added
    to all delays changes nothing: fix one of them.

    A sample is the volume fraction of each phase in each voxel, from the geometry (how the interfaces, plane within a
    voxel, cut it; several may meet), so it is continuous, with continuous first derivatives, in seeds and delays,
    without any relaxation. Accuracy is of second order in the voxel size.

    It is a pushforward: there is no density, `log_prob` raises. Sampling is reparameterised; holding the key (or, with
    `TransformReparam`, the seeds) holds the noise. Derivatives with respect to delays are right unless `sharp`, and
    `reparametrized_params` and `has_rsample` say so.

    Args:
        grid: the voxels.
        delays: start times w, shape (*batch, J), J >= 1, finite, in the unit of length (of length squared for
            `SquaredDistance`). Their dtype is that of the samples. `batch` is the batch shape.
        distance: `EuclideanDistance()` or `SquaredDistance()`.
        sharp: one-hot samples, by the voxels' centres; no derivatives.
        validate_args: check that delays are finite, when they are concrete (NumPyro's convention).

    Raises:
        ValueError: at construction, if `delays` has no axis or no phase, or, with `validate_args`, is not finite.

    Costs about .05 us per voxel for three phases on one core (float32), in space .16 us; grows like J^3, in space J^4.

    References:
        Johnson and Mehl (1939); Okabe, Boots, Sugihara, Chiu, Spatial Tessellations (2000), sections 3.1 and 5.8.

    Example:
        >>> grid = nh.Grid((32, 32))
        >>> law = nh.LaguerreTessellation(grid, jnp.array([0.0, 0.1, 0.05]))
        >>> law.sample(jax.random.key(0), (4,)).shape
        (4, 32, 32, 3)
    """

    arg_constraints: ClassVar = {"delays": constraints.real_vector}
    pytree_data_fields = ()

    def __init__(
        self,
        grid: Grid,
        delays: ArrayLike,
        *,
        distance: AbstractDistance = EuclideanDistance(),  # noqa: B008  (immutable)
        sharp: bool = False,
        validate_args: bool | None = None,
    ):
        delays = jnp.asarray(delays)
        if not jnp.issubdtype(delays.dtype, jnp.floating):
            delays = delays.astype(jnp.result_type(float))
        if delays.ndim < 1 or delays.shape[-1] < 1:
            raise ValueError(
                f"delays has shape {delays.shape}; one start time per phase is expected on the last axis, "
                "(*batch, J) with J >= 1."
            )
        lengths = jnp.asarray(grid.lengths, delays.dtype)
        seeds = dist.Uniform(jnp.zeros_like(lengths), lengths).expand((delays.shape[-1], grid.ndim)).to_event(2)
        transform = LaguerreTransform(grid, delays, distance, sharp)
        super().__init__(seeds, [transform], validate_args=validate_args)

    @property
    def delays(self) -> Float[Array, "*batch phases"]:
        """Start times of the phases, shape (*batch, J)."""
        return self.transforms[0].delays

    @property
    def reparametrized_params(self) -> list[str]:
        """Parameters with a path derivative: the delays, unless the samples are one-hot."""
        return [] if self.transforms[0].sharp else ["delays"]

    @property
    def has_rsample(self) -> bool:
        """Whether samples can be differentiated with respect to the delays."""
        return not self.transforms[0].sharp

    def rsample(self, key, sample_shape=()):
        """Sample with path derivatives.

        Raises:
            NotImplementedError: if the samples are one-hot, which have none.
        """
        if not self.has_rsample:
            raise NotImplementedError("one-hot samples have no path derivatives; use `sharp=False`.")
        return self.sample(key, sample_shape)

    def log_prob(self, value, intermediates=None):
        """Raise: the law has no density."""
        return without_density(self, value, self.event_dim)
