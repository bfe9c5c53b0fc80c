"""Volume fractions with independent uniform components and a remainder."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to
from numpyro.distributions.util import array_equiv, validate_sample

from .._tracing import is_traced
from ._checks import broadcast_batches, float_arrays, require


class BoxOnSimplex(constraints.Constraint):
    """Points of the simplex whose components but the last lie in given intervals."""

    event_dim = 1
    is_discrete = False

    def __init__(self, low: Float[Array, "*batch"], high: Float[Array, "*batch parts"]):
        self.low, self.high = low, high

    def __call__(self, x: ArrayLike) -> Bool[Array, "*batch"]:
        """Whether the points, shape (*batch, J), belong to it; sums may be off by rounding."""
        (x,) = float_arrays(x)
        slack, parts = 16 * jnp.finfo(x.dtype).eps, x[..., :-1]
        inside = jnp.all((parts >= self.low[..., None] - slack) & (parts <= self.high + slack), axis=-1)
        return inside & (x[..., -1] >= -slack) & (jnp.abs(jnp.sum(x, axis=-1) - 1) <= slack)

    def feasible_like(self, prototype: Float[Array, "*batch phases"]) -> Float[Array, "*batch phases"]:
        """The middle of the intervals."""
        middle = (self.low[..., None] + self.high) / 2
        return jnp.broadcast_to(_WithRemainder(self)(middle), jnp.shape(prototype))

    def eq(self, other: object, static: bool = False) -> ArrayLike:
        """Equality of type and bounds."""
        if not isinstance(other, BoxOnSimplex):
            return False
        low = array_equiv(self.low, other.low, static=static)
        return low & array_equiv(self.high, other.high, static=static)

    def tree_flatten(self) -> tuple:
        """Both bounds are data."""
        return (self.low, self.high), (("low", "high"), {})


class _WithRemainder(Transform):
    """x -> (x, 1 - sum x); the volume is that of x."""

    def __init__(self, box: BoxOnSimplex):
        self.box = box

    @property
    def domain(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(self.box.low[..., None], self.box.high), 1)

    @property
    def codomain(self) -> BoxOnSimplex:
        return self.box

    def __call__(self, x: Float[Array, "*batch parts"]) -> Float[Array, "*batch phases"]:
        return jnp.concatenate([x, 1 - jnp.sum(x, axis=-1, keepdims=True)], axis=-1)

    def _inverse(self, y: Float[Array, "*batch phases"]) -> Float[Array, "*batch parts"]:
        return y[..., :-1]

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Float[Array, "*batch"]:
        return jnp.zeros(jnp.shape(x)[:-1], jnp.result_type(x))

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)

    def tree_flatten(self) -> tuple:
        return (self.box,), (("box",), {})


@biject_to.register(BoxOnSimplex)
def _biject_to_box_on_simplex(constraint: BoxOnSimplex) -> Transform:
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
        batch = broadcast_batches(" The lower end is one for all phases.", low=low.shape, high=high.shape[:-1])
        self.low = jnp.broadcast_to(low, batch)
        self.high = jnp.broadcast_to(high, (*batch, high.shape[-1]))
        super().__init__(batch, (high.shape[-1] + 1,), validate_args=validate_args)

    def validate_args(self, strict: bool = True) -> None:
        """Check 0 <= a < b_j and sum b <= 1; traced values pass, or raise if `strict`."""
        if is_traced((self.low, self.high)):
            if strict:
                raise RuntimeError("Cannot validate arguments inside jitted code.")
            return
        low, high = np.asarray(self.low), np.asarray(self.high)
        slack = 16 * jnp.finfo(high.dtype).eps
        require(lambda a: a >= 0, "low", low, "non-negative")
        require(lambda b: b > low[..., None], "high", high, f"greater than low, {low.tolist()}")
        expected = "at most one: what is left is the last phase"
        require(lambda s: s <= 1 + slack, "the sum of high", high.sum(-1), expected)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The box on the simplex."""
        return BoxOnSimplex(self.low, self.high)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample_and_batch phases"]:
        """Draw, shape (*sample, *batch, J), with path derivatives."""
        shape = (*sample_shape, *self.batch_shape, self.high.shape[-1])
        low = self.low[..., None]
        parts = low + (self.high - low) * jax.random.uniform(key, shape, self.high.dtype)
        rest = 1 - jnp.sum(parts, axis=-1, keepdims=True)
        return jnp.concatenate([parts, jnp.maximum(rest, 0)], axis=-1)  # not below zero by rounding

    @validate_sample
    def log_prob(self, value: ArrayLike) -> Float[Array, "*batch"]:
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
