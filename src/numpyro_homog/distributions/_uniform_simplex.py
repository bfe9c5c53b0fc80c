"""Volume fractions with independent uniform components and a remainder."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to
from numpyro.distributions.util import array_equiv, validate_sample

from .._tracing import is_traced
from ._checks import float_arrays, require


class BoxOnSimplex(constraints.Constraint):
    """Points of the simplex whose components but the last lie in given intervals."""

    event_dim = 1
    is_discrete = False

    def __init__(self, low: Array, high: Array):
        self.low = low
        self.high = high

    def __call__(self, x):
        """Whether the points, shape (..., J), belong to it; sums may be off by rounding."""
        x = jnp.asarray(x)
        slack = 16 * jnp.finfo(x.dtype).eps if jnp.issubdtype(x.dtype, jnp.floating) else 0
        parts = x[..., :-1]
        inside = jnp.all((parts >= self.low[..., None] - slack) & (parts <= self.high + slack), axis=-1)
        return inside & (x[..., -1] >= -slack) & (jnp.abs(jnp.sum(x, axis=-1) - 1) <= slack)

    def feasible_like(self, prototype):
        """The middle of the intervals."""
        middle = (self.low[..., None] + self.high) / 2
        return jnp.broadcast_to(_WithRemainder(self)(middle), jnp.shape(prototype))

    def eq(self, other, static=False):
        """Equality of type and bounds."""
        if not isinstance(other, BoxOnSimplex):
            return False
        low = array_equiv(self.low, other.low, static=static)
        return low & array_equiv(self.high, other.high, static=static)

    def tree_flatten(self):
        """Both bounds are data."""
        return (self.low, self.high), (("low", "high"), {})


class _WithRemainder(Transform):
    """x -> (x, 1 - sum x); the volume is that of x."""

    def __init__(self, codomain):
        self.box = codomain

    @property
    def domain(self):
        return constraints.independent(constraints.interval(self.box.low[..., None], self.box.high), 1)

    @property
    def codomain(self):
        return self.box

    def __call__(self, x):
        return jnp.concatenate([x, 1 - jnp.sum(x, axis=-1, keepdims=True)], axis=-1)

    def _inverse(self, y):
        return y[..., :-1]

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.zeros(jnp.shape(x)[:-1], jnp.result_type(x))

    def forward_shape(self, shape):
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape):
        return (*shape[:-1], shape[-1] - 1)

    def tree_flatten(self):
        return (self.box,), (("box",), {})


@biject_to.register(BoxOnSimplex)
def _biject_to_box_on_simplex(constraint):
    remainder = _WithRemainder(constraint)
    return dist.transforms.ComposeTransform([biject_to(remainder.domain), remainder])


class UniformSimplex(dist.Distribution):
    """Volume fractions, independent and uniform but for the last, which is the remainder.

    phi_j ~ U(a, b_j), independent, for j < J, with a = `low`, b = `high`, and phi_J = 1 - sum_{j<J} phi_j. On its
    support, a box, the density with respect to the first J - 1 components is 1 / prod_j (b_j - a).

    What data tell: of a laminate with known conductivities kappa and c_j = 1 / kappa_j, one measures 1 / kbar =
    c_J + sum_{j<J} phi_j (c_j - c_J), a sum of independent uniforms. Its law determines the centre of the sum and the
    *set* of the widths |c_j - c_J| (b_j - a), not which phase has which. With J = 2 that is all: (a, b) is
    identified. With J >= 3 it is not: for c = (3, 2, 1), the parameters a = .1, b = (.3, .3) and a = .1, b = (.2, .5)
    give widths {.4, .2} and {.2, .4} and the same centre, so one law of kbar. Order the widths in the prior, or measure
    more than one direction.

    Samples have path derivatives in both parameters (`reparametrized_params`); so has `log_prob`. NUTS and SVI can
    take it as the law of a latent site.

    Args:
        low: the lower end a >= 0, shape (*batch).
        high: the upper ends b_j > a, shape (*batch, J - 1), J >= 2, with sum <= 1.
        validate_args: check the values of the parameters when they are concrete (NumPyro's convention).

    Raises:
        ValueError: at construction, if `high` has no last axis or the batch shapes do not broadcast; with
            `validate_args`, if a < 0, some b_j <= a, or sum b > 1.

    Example:
        >>> law = nh.UniformSimplex(0.1, jnp.array([0.3, 0.4]))
        >>> law.mean
        Array([0.2 , 0.25, 0.55], dtype=float32)
    """

    arg_constraints: ClassVar = {
        "low": constraints.dependent(is_discrete=False, event_dim=0),
        "high": constraints.dependent(is_discrete=False, event_dim=1),
    }
    reparametrized_params: ClassVar = ["low", "high"]

    def __init__(self, low: ArrayLike, high: ArrayLike, *, validate_args: bool | None = None):
        low, high = float_arrays(low, high)
        if high.ndim < 1 or high.shape[-1] < 1:
            raise ValueError(
                f"high has shape {high.shape}; one upper end for each phase but the last is expected on the last axis, "
                "(*batch, J - 1) with J >= 2."
            )
        try:
            batch = np.broadcast_shapes(low.shape, high.shape[:-1])
        except ValueError:
            raise ValueError(
                f"low has shape {low.shape}, which does not broadcast with the batch shape {high.shape[:-1]} of high, "
                f"whose shape {high.shape} is (*batch, J - 1). The lower end is one for all phases."
            ) from None
        self.low = jnp.broadcast_to(low, batch)
        self.high = jnp.broadcast_to(high, (*batch, high.shape[-1]))
        super().__init__(batch, (high.shape[-1] + 1,), validate_args=validate_args)

    def validate_args(self, strict: bool = True) -> None:
        """Check 0 <= a < b_j and sum b <= 1; traced values pass, or raise if `strict`."""
        low, high = self.low, self.high
        if is_traced((low, high)):
            if strict:
                raise RuntimeError("Cannot validate arguments inside jitted code.")
            return
        slack = 16 * jnp.finfo(high.dtype).eps
        require(lambda a: a >= 0, "low", low, "non-negative")
        floor = np.asarray(low)[..., None]
        require(lambda b: b > floor, "high", high, f"greater than low, {floor[..., 0].tolist()}")
        expected = "at most one: what is left is the last phase"
        require(lambda s: s <= 1 + slack, "the sum of high", np.asarray(high).sum(-1), expected)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The box on the simplex."""
        return BoxOnSimplex(self.low, self.high)

    def sample(self, key, sample_shape=()):
        """Draw, shape (*sample, *batch, J), with path derivatives."""
        shape = (*sample_shape, *self.batch_shape, self.high.shape[-1])
        low = self.low[..., None]
        parts = low + (self.high - low) * jax.random.uniform(key, shape, self.high.dtype)
        rest = 1 - jnp.sum(parts, axis=-1, keepdims=True)
        return jnp.concatenate([parts, jnp.maximum(rest, 0)], axis=-1)  # not below zero by rounding

    @validate_sample
    def log_prob(self, value):
        """Log density with respect to the first J - 1 components; minus infinity outside of the support."""
        return jnp.where(self.support(value), -self.entropy(), -jnp.inf)

    @property
    def mean(self) -> Float[Array, "*batch phases"]:
        """(a + b_j) / 2 and the remainder."""
        return self.support.feasible_like(jnp.zeros((*self.batch_shape, *self.event_shape)))

    @property
    def variance(self) -> Float[Array, "*batch phases"]:
        """(b_j - a)^2 / 12, and their sum for the last."""
        parts = (self.high - self.low[..., None]) ** 2 / 12
        return jnp.concatenate([parts, jnp.sum(parts, axis=-1, keepdims=True)], axis=-1)

    def entropy(self) -> Float[Array, "*batch"]:
        """Sum of log(b_j - a)."""
        return jnp.sum(jnp.log(self.high - self.low[..., None]), axis=-1)
