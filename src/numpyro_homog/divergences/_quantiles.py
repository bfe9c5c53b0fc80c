"""Steps of empirical quantile functions, and how reweighting moves them; private to the package."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_ROUNDING = 64  # of a sum of masses, in units of the precision


class EqualSteps:
    """Union of the steps of two quantile functions, of points with equal masses: exact in integers, static.

    Attributes:
        widths: lengths of the intervals of the union, shape (K,).
        index_x: rank of the point of x on each, shape (K,).
        index_y: rank of the point of y on each, shape (K,).
        mass: mass of each sorted point of x, shape (M,).
    """

    def __init__(self, num_x: int, num_y: int):
        ends = np.union1d(np.arange(1, num_x + 1) * num_y, np.arange(1, num_y + 1) * num_x)
        starts = np.concatenate([[0], ends[:-1]])
        self.widths = (ends - starts) / (num_x * num_y)
        self.index_x, self.index_y = starts // num_y, starts // num_x
        self.mass = np.full(num_x, 1 / num_x)
        self._equal = num_x == num_y

    def differences(self, sorted_x: Float[Array, "M"], sorted_y: Float[Array, "N"]) -> Float[Array, "K"]:
        """Quantiles of x less those of y on each interval."""
        if self._equal:
            return sorted_x - sorted_y
        return sorted_x[self.index_x] - sorted_y[self.index_y]

    def mean_square(self, sorted_x: Float[Array, "M"], sorted_y: Float[Array, "N"]) -> Float[Array, ""]:
        """The integral of their square."""
        differences = self.differences(sorted_x, sorted_y)
        return jnp.sum(jnp.asarray(self.widths, differences.dtype) * differences**2)

    def after(self, sorted_y: Float[Array, "N"]) -> Float[Array, "M"]:
        """Quantile of y where each point of x ends; where one of y ends there too, the middle of both."""
        num_x, num_y = len(self.mass), sorted_y.shape[0]
        level = np.arange(1, num_x + 1) * num_y
        return 0.5 * (sorted_y[-(-level // num_x) - 1] + sorted_y[np.minimum(level // num_x, num_y - 1)])


class WeightedSteps:
    """As `EqualSteps`, but the sorted points of x have masses of their own, of sum one; traceable."""

    def __init__(self, mass: Float[Array, "M"], num_y: int):
        num_x = mass.shape[0]
        ends_x = jnp.cumsum(mass)
        self._ends_x = ends_x / ends_x[-1]
        both = jnp.concatenate([self._ends_x, jnp.arange(1, num_y + 1, dtype=mass.dtype) / num_y])
        order = jnp.argsort(both)
        ends = both[order]
        of_x = (order < num_x).astype(order.dtype)
        before_x = jnp.cumsum(of_x) - of_x
        self.widths = ends - jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
        self.index_x = jnp.minimum(before_x, num_x - 1)
        self.index_y = jnp.minimum(jnp.arange(num_x + num_y, dtype=order.dtype) - before_x, num_y - 1)
        self.mass = mass

    def differences(self, sorted_x: Float[Array, "M"], sorted_y: Float[Array, "N"]) -> Float[Array, "K"]:
        """As of `EqualSteps`."""
        return sorted_x[self.index_x] - sorted_y[self.index_y]

    def after(self, sorted_y: Float[Array, "N"]) -> Float[Array, "M"]:
        """As of `EqualSteps`, up to rounding."""
        num_y = sorted_y.shape[0]
        level = self._ends_x * num_y
        same = min(_ROUNDING * float(jnp.finfo(level.dtype).eps) * num_y, 0.05)
        first, last = jnp.ceil(level - same) - 1, jnp.floor(level + same)
        first, last = (jnp.clip(rank, 0, num_y - 1).astype(int) for rank in (first, last))
        return 0.5 * (sorted_y[first] + sorted_y[last])


def score_tangents(
    points: Float[Array, "M"], scores: Float[Array, "M P"], mass: Float[Array, "M"]
) -> Float[Array, "M P"]:
    """Derivative of each order statistic when the points, sorted and of these masses, are reweighted.

    With weights proportional to mass (1 + scores . dtheta), the distribution function changes by
    G(t) = sum(mass centred score, where x <= t), and the quantile by -G / density. The density between two neighbours
    is mass / gap, noisy, but right on average over neighbouring ranks.
    """
    below = jnp.cumsum(mass[:, None] * _centred(scores, mass), axis=0)
    return -below * (_gaps(points) / mass)[:, None]


def score_gradient(
    points: Float[Array, "M"], tangents: Float[Array, "M P"], mass: Float[Array, "M"], data: Float[Array, "M"]
) -> Float[Array, "P"]:
    """Half the exact derivative of int (Q_x - Q_y)^2 du when the points of x are reweighted.

    Between two neighbours F_x is constant, so the derivative -int G (t - Q_y(F_x(t))) dt is a sum over the gaps. The
    tangents are `score_tangents`; `data` is Q_y where each point ends.
    """
    return (mass * (points + 0.5 * _gaps(points) - data)) @ tangents


def score_noise(
    points: Float[Array, "M"],
    scores: Float[Array, "M P"],
    mass: Float[Array, "M"],
    sum_groups: Callable[[Float[Array, "M"]], Float[Array, " groups"]],
) -> Float[Array, "P P"]:
    """Part of the mean square of averaged `score_tangents` that G owes to the finite size of the cloud.

    G is a mean of scores: its covariance at level u is about u (1 - u) Cov(scores) sum(mass^2). `sum_groups` adds up
    values within groups of ranks, over which tangents are averaged.
    """
    level = jnp.minimum(jnp.cumsum(mass), 1)
    sums = sum_groups(jnp.sqrt(level * (1 - level)) * _gaps(points))
    centred = _centred(scores, mass)
    return jnp.sum(sums**2 / sum_groups(mass)) * ((mass[:, None] * centred).T @ centred) * jnp.sum(mass**2)


def _centred(scores: Float[Array, "M P"], mass: Float[Array, "M"]) -> Float[Array, "M P"]:
    return scores - (mass @ scores)[None]


def _gaps(points: Float[Array, "M"]) -> Float[Array, "M"]:
    return jnp.diff(points, append=points[-1:])
