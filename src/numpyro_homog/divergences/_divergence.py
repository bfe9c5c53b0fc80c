"""The interface of divergences between clouds of points."""

import abc
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

_NUM_SPLITS = 4


class AbstractDivergence(eqx.Module):
    """A divergence between two clouds of points, zero when they are equal.

    To add one, subclass it as a frozen Equinox module and implement `__call__`: check the clouds with a clear
    `ValueError`, draw whatever is random from `rng_key`, differentiate in both modes, and let NaN come out as NaN.
    """

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, ""]:
        """Divergence of the clouds x, shape (M, p), and y, shape (N, p); a scalar >= 0."""


class Linearization(NamedTuple):
    """A least-squares divergence and its quadratic model in the parameters behind x.

    With r the residuals, D = mean(r^2), and J the derivative of the smooth part of r:

    Attributes:
        value: the divergence D, scalar.
        gradient: mean(r J) = half the exact gradient of D, shape (P,).
        curvature: mean(J J') estimated from the cloud; positive semidefinite, shape (P, P).
        curvature_noise: the part of `curvature` that is expected from the finite size of x alone, shape (P, P);
            the difference of both is unbiased.
        num_groups: number of groups of points whose tangents `curvature` averages, over all slices. Where the true
            curvature is zero, the standard deviation of the difference is about `curvature_noise` times
            sqrt(2 / num_groups). With scores, whose noise is common to all groups, fewer than that.
    """

    value: Float[Array, ""]
    gradient: Float[Array, "P"]
    curvature: Float[Array, "P P"]
    curvature_noise: Float[Array, "P P"]
    num_groups: int | Float[Array, ""]


class AbstractLeastSquaresDivergence(AbstractDivergence):
    """A divergence that is a mean of squares, for Gauss-Newton and Levenberg-Marquardt.

    To add one, implement besides `__call__` the three methods below. None of them may need memory beyond a few times
    that of the clouds and their tangents, except `residuals`.

    Attributes:
        takes_weights: whether `linearize` takes the argument `log_weights`. Fits with scores then end on draws that
            are held; otherwise they end as other fits do.
    """

    takes_weights: ClassVar[bool] = False

    @abc.abstractmethod
    def residuals(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, " num"]:
        """Vector whose mean square is the divergence."""

    @abc.abstractmethod
    def linearize(
        self,
        x: Float[Array, "*x"],
        tangents: Float[Array, "*x P"],
        y: Float[Array, "*y"],
        *,
        rng_key: PRNGKeyArray,
        scores: Float[Array, "M P"] | None = None,
    ) -> Linearization:
        """Divergence, gradient and curvature.

        Args:
            x: cloud of the model, shape (M, p).
            tangents: derivative dx/dtheta in P parameters, shape (M, p, P).
            y: cloud of the data, shape (N, p).
            rng_key: key of what is random.
            scores: derivative of the log weight of each point of x, shape (M, P): the points have weights proportional
                to 1 + scores . dtheta besides. A divergence that cannot be reweighted raises NotImplementedError.

        Where `takes_weights`, there is one more argument: `log_weights`, shape (M,), of the points of x.
        """

    @abc.abstractmethod
    def influence(
        self,
        x: Float[Array, "*x"],
        tangents: Float[Array, "*x P"],
        y: Float[Array, "*y"],
        *,
        rng_key: PRNGKeyArray,
        scores: Float[Array, "M P"] | None = None,
    ) -> Float[Array, "N P"]:
        """Influence of each point of y on minus `Linearization.gradient`, shape (N, P), mean zero.

        The gradient at the true parameters has covariance (1/N + 1/M) Cov(influence) over clouds drawn anew. A point
        of x in its place has the opposite influence.
        """


def sampling_noise(
    divergence: AbstractDivergence, cloud: Float[Array, "N p"], rng_key: PRNGKeyArray
) -> Float[Array, ""]:
    """What sampling alone makes of a divergence, per point: E D = noise (1/N + 1/M).

    Measured between random halves of a cloud, whose law both clouds are then of.

    Args:
        divergence: a divergence.
        cloud: shape (N, p), N >= 2.
        rng_key: key of the halves and of the divergence.
    """
    num = cloud.shape[0]

    def between_halves(key):
        order_key, divergence_key = jax.random.split(key)
        shuffled = jax.random.permutation(order_key, cloud)
        return divergence(shuffled[: num // 2], shuffled[num // 2 :], rng_key=divergence_key)

    mean = jnp.mean(jax.lax.map(between_halves, jax.random.split(rng_key, _NUM_SPLITS)))
    return mean / (1 / (num // 2) + 1 / (num - num // 2))
