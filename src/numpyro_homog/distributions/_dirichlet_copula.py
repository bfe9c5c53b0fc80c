"""Random fields of phase fractions with Dirichlet marginals."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from ._checks import require_positive
from ._gamma_quantile import log_gamma_quantile
from ._gaussian_field import GaussianField, GaussianFieldTransform, noise, require_field
from ._pushforward import PushforwardTransform, without_density


class DirichletCopulaTransform(PushforwardTransform):
    """Coefficients (*batch, J, *modes) of J fields -> fractions (*batch, *points, J)."""

    def __init__(self, concentration: Float[Array, "*batch phases"], scores: GaussianFieldTransform):
        self.concentration = concentration
        self.scores = scores

    def __call__(self, x):
        """Normalised gamma quantiles, in logarithms; computed in the dtype of the concentration."""
        x = jnp.asarray(x)
        batch = self._batch(x.shape[: -1 - self._num_modes])
        x = jnp.broadcast_to(x, (*batch, *x.shape[-1 - self._num_modes :]))
        scores = self.scores(jnp.moveaxis(x, -1 - self._num_modes, 0))
        alpha = jnp.moveaxis(jnp.broadcast_to(self.concentration, (*batch, self._num_phases)), -1, 0)
        return _fractions(self.scores.over_sites(alpha), scores.astype(alpha.dtype))

    @property
    def _num_modes(self):
        return self.scores.covariance.ndim

    @property
    def _num_phases(self):
        return self.concentration.shape[-1]

    def _batch(self, shape):
        return jnp.broadcast_shapes(shape, self.concentration.shape[:-1], self.scores.covariance.batch_shape)

    @property
    def domain(self):
        """Any coefficients."""
        return constraints.independent(constraints.real, self._num_modes + 1)

    @property
    def codomain(self):
        """Points of the simplex, one for each point in space."""
        return constraints.independent(constraints.simplex, len(self.scores.site_shape))

    def forward_shape(self, shape):
        """(*batch, J, *modes) -> (*batch, *points, J), broadcast against the batches of the parameters."""
        return (*self._batch(shape[: len(shape) - 1 - self._num_modes]), *self.scores.site_shape, self._num_phases)

    def inverse_shape(self, shape):
        """(*batch, *points, J) -> (*batch, J, *modes), broadcast against the batches of the parameters."""
        batch = self._batch(shape[: len(shape) - 1 - len(self.scores.site_shape)])
        return (*batch, self._num_phases, *self.scores.covariance.mode_shape)

    def tree_flatten(self):
        """The concentration and the field are data."""
        return (self.concentration, self.scores), (("concentration", "scores"), {})

    def eq(self, other, static=False):
        """Equality of type, concentration and field."""
        if not isinstance(other, DirichletCopulaTransform) or not self.scores.eq(other.scores):
            return False
        return eqx.tree_equal(self.concentration, other.concentration)


@jax.jit
def _fractions(alpha, scores):
    """Phases first -> phases last."""
    return jnp.moveaxis(jax.nn.softmax(log_gamma_quantile(alpha, scores), axis=0), 0, -1)


class DirichletCopulaField(dist.TransformedDistribution):
    """Phase fractions, Dirichlet at every point and correlated by Gaussian fields.

    phi_j(x) = g_j / sum_k g_k, where g_j(x) is the gamma quantile of shape alpha_j at the probability
    Phi(u_j(x) / sd(x)), and u_1, ..., u_J are independent copies of the Gaussian `field`. At each point phi(x) is
    Dirichlet(alpha) exactly, alpha being the `concentration`; each component alone has a beta distribution.

    Everything is computed with logarithms: no fraction is lost before it underflows itself, for shapes down to 0.05
    in 32 bits. Samples are differentiable once in concentration, hyper-parameters and points.

    It is a pushforward: `log_prob` raises, and `TransformReparam` exposes the noise.

    Args:
        concentration: alpha, shape (*batch, J), J >= 2, > 0. Its dtype is that of the samples, and its batch shape
            broadcasts against that of the field.
        field: the Gaussian field, with its points; its variance does not matter.
        validate_args: check values at sample sites (NumPyro's convention).

    Raises:
        ValueError: at construction, for a concentration that is not as described (if its values are known).
        TypeError: at construction, if `field` is no `GaussianField`.

    Costs J fields, and one gamma quantile for each fraction: a few iterations with tens of terms.

    References:
        Nelsen (2006), An Introduction to Copulas, section 2.9; Figurnov, Mohamed and Mnih (2018), NeurIPS, equation 5
        (implicit derivative).

    Example:
        >>> field = nh.GaussianField(nh.Grid((64, 64)), nh.PeriodicMatern((1.0, 1.0), 0.1, 1.5))
        >>> phases = nh.DirichletCopulaField(jnp.array([0.5, 1.0, 2.0]), field).sample(jax.random.key(0))
        >>> phases.shape
        (64, 64, 3)
    """

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    pytree_data_fields = ()

    def __init__(self, concentration: ArrayLike, field: GaussianField, *, validate_args: bool | None = None):
        field = require_field(field)
        concentration = jnp.asarray(concentration)
        if not jnp.issubdtype(concentration.dtype, jnp.floating):
            concentration = concentration.astype(jnp.result_type(float))
        if concentration.ndim < 1 or concentration.shape[-1] < 2:
            raise ValueError(
                f"concentration has shape {concentration.shape}; one positive number for each phase is expected on the "
                "last axis, (*batch, J) with J >= 2. For one correlated number use GaussianCopulaField."
            )
        require_positive("concentration", concentration)
        scores = GaussianFieldTransform(field.points, field.covariance.normalized())
        transform = DirichletCopulaTransform(concentration, scores)
        super().__init__(noise(field.covariance, (concentration.shape[-1],)), [transform], validate_args=validate_args)

    @property
    def concentration(self) -> Float[Array, "*batch phases"]:
        """The parameters of the Dirichlet distribution, shape (*batch, J)."""
        return self.transforms[0].concentration

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative."""
        return ["concentration", "field"]

    @property
    def has_rsample(self) -> bool:
        """Samples can be differentiated."""
        return True

    def log_prob(self, value, intermediates=None):
        """Raise: the law has no density."""
        return without_density(self, value, self.event_dim)
