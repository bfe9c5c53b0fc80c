"""Random fields with any marginal distribution."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints

from ._gaussian_field import GaussianField, require_field
from ._normal_scores import has_quantile, quantile_at_score
from ._pushforward import PushforwardTransform, without_density


class CopulaTransform(PushforwardTransform):
    """Normal scores (*batch, *points) -> values (*batch, *points) with the marginal distribution."""

    def __init__(self, marginal: dist.Distribution, num_axes: int):
        self.marginal = marginal
        self.num_axes = num_axes

    def __call__(self, x):
        """The quantile at each score."""
        axes = tuple(range(-self.num_axes, 0))
        front = tuple(range(self.num_axes))
        scores = jnp.moveaxis(jnp.asarray(x), axes, front)  # batch axes last, where the marginal has its own
        scores = jnp.broadcast_to(scores, scores.shape[: self.num_axes] + self._batch(scores.shape[self.num_axes :]))
        return jnp.moveaxis(quantile_at_score(self.marginal, scores), front, axes)

    def _batch(self, shape):
        return jnp.broadcast_shapes(shape, self.marginal.batch_shape)

    @property
    def domain(self):
        """Any scores."""
        return constraints.independent(constraints.real, self.num_axes)

    @property
    def codomain(self):
        """The support of the marginal; any number, if bounds differ within the batch."""
        support = constraints.real if self.marginal.batch_shape else self.marginal.support
        return constraints.independent(support, self.num_axes)

    def forward_shape(self, shape):
        """Broadcast the batch against that of the marginal."""
        cut = len(shape) - self.num_axes
        return (*self._batch(shape[:cut]), *shape[cut:])

    def inverse_shape(self, shape):
        """Broadcast the batch against that of the marginal."""
        return self.forward_shape(shape)

    def tree_flatten(self):
        """The marginal is data."""
        return (self.marginal,), (("marginal",), {"num_axes": self.num_axes})

    def eq(self, other, static=False):
        """Equality of type, number of axes and marginal."""
        if not isinstance(other, CopulaTransform) or self.num_axes != other.num_axes:
            return False
        return eqx.tree_equal(self.marginal, other.marginal)


class GaussianCopulaField(dist.TransformedDistribution):
    """A field with a given marginal distribution, correlated by a Gaussian field.

    v(x) = F^-1(Phi(u(x) / sd(x))): u is the Gaussian `field`, sd(x) its exact standard deviation at x, Phi the normal
    distribution function and F that of the `marginal`. The variance of the field does not matter.

    Quantiles are computed from u/sd itself, without rounding Phi to one, for normal, uniform, exponential and gamma
    marginals and what NumPyro makes of them by monotone transforms (`LogNormal`, `InverseGamma`, ...). Other marginals
    go through their `icdf`; their upper tail ends where 1 - Phi is rounded away, near u/sd = 5.4 in 32 bits and 8.2 in
    64.

    It is a pushforward: `log_prob` raises, and `TransformReparam` exposes the noise. Samples are differentiable in the
    parameters of the marginal (as far as its own `icdf` is, for those not named above) and in the field's.

    Args:
        marginal: a continuous NumPyro distribution of numbers with `icdf`. Its batch shape broadcasts against that of
            the field.
        field: the Gaussian field, with its points.
        validate_args: NumPyro's switch; nothing depends on it here.

    Raises:
        ValueError: at construction, if the marginal is not one of numbers, is discrete, or has no usable `icdf`.
        TypeError: at construction, if `field` is no `GaussianField`.

    Costs the field, and one quantile for each value.

    References:
        Nelsen (2006), An Introduction to Copulas, section 2.9; Grigoriu (1998), J. Eng. Mech. 124, 121-127.

    Example:
        >>> field = nh.GaussianField(nh.Grid((64, 64)), nh.PeriodicMatern((1.0, 1.0), 0.1, 1.5))
        >>> kappa = nh.GaussianCopulaField(dist.LogNormal(0.0, 0.5), field).sample(jax.random.key(0))
        >>> kappa.shape
        (64, 64)
    """

    arg_constraints: ClassVar[dict] = {}
    pytree_data_fields = ()

    def __init__(self, marginal: dist.Distribution, field: GaussianField, *, validate_args: bool | None = None):
        field = require_field(field)
        if marginal.event_shape:
            raise ValueError(
                f"marginal must be a NumPyro distribution of numbers, with event shape (); got {marginal}. For phase "
                "fractions use DirichletCopulaField."
            )
        if marginal.is_discrete:
            raise ValueError(
                f"marginal must be continuous; {type(marginal).__name__} is discrete. For phases use "
                "ThresholdedGaussianField."
            )
        if not has_quantile(marginal):
            raise ValueError(
                f"marginal must have a quantile function `icdf` that works here; {type(marginal).__name__} has none. "
                "Use another family, transform a normal, uniform, exponential or gamma distribution with "
                "`TransformedDistribution`, or, for a beta distribution, take one component of a DirichletCopulaField."
            )
        transform = CopulaTransform(marginal, len(field.event_shape))
        super().__init__(field.normalized(), [transform], validate_args=validate_args)

    @property
    def marginal(self) -> dist.Distribution:
        """The distribution of the value at each point."""
        return self.transforms[-1].marginal

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative."""
        return ["marginal", "field"]

    @property
    def has_rsample(self) -> bool:
        """Samples can be differentiated."""
        return True

    def log_prob(self, value, intermediates=None):
        """Raise: the law has no density."""
        return without_density(self, value, self.event_dim)
