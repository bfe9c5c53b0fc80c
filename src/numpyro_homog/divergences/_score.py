"""How reweighting the points of a cloud moves its quantiles; private to the package."""

import jax
import jax.numpy as jnp
import numpy as np


def score_tangents(points, scores):
    """Derivative of each order statistic when the points are reweighted, shape (M, P).

    With weights proportional to 1 + scores . dtheta, the distribution function changes by
    G(t) = mean(centred score, where x <= t), and the quantile by -G / density. The density between two neighbours is
    1 / (M gap), noisy, but right on average over neighbouring ranks.

    Args:
        points: sorted points, shape (M,).
        scores: their scores, shape (M, P).
    """
    below = jnp.cumsum(scores - jnp.mean(scores, axis=0, keepdims=True), axis=0)
    return -below * jnp.diff(points, append=points[-1:])[:, None]


def score_gradient(points, tangents, sorted_y):
    """Half the exact derivative of int (Q_x - Q_y)^2 du when the points of x are reweighted, shape (P,).

    Between two neighbours F_x is constant, so the derivative -int G (t - Q_y(F_x(t))) dt is a sum over the gaps; where
    Q_y has a step there, its middle counts.

    Args:
        points: sorted points of x, shape (M,).
        tangents: `score_tangents` of them.
        sorted_y: sorted points of y, shape (N,).
    """
    num_x, num_y = points.shape[0], sorted_y.shape[0]
    level = np.arange(1, num_x + 1) * num_y
    last = num_y - 1
    data = 0.5 * (sorted_y[-(-level // num_x) - 1] + sorted_y[np.minimum(level // num_x, last)])
    middle = points + 0.5 * jnp.diff(points, append=points[-1:])
    return (middle - data) @ tangents / num_x


def score_noise(points, scores, group, size):
    """Part of the mean square of averaged `score_tangents` that G owes to the finite size of the cloud, (P, P).

    G is a mean of M scores: its covariance at level u is about u (1 - u) Cov(scores) / M.

    Args:
        points: sorted points, shape (M,).
        scores: shape (M, P); their order does not matter.
        group: group of each rank, over which tangents are averaged, static, shape (M,).
        size: number of ranks in each group, static.
    """
    num = points.shape[0]
    level = np.arange(1, num + 1) / num
    spread = jnp.asarray(np.sqrt(level * (1 - level)), points.dtype) * jnp.diff(points, append=points[-1:])
    sums = jax.ops.segment_sum(spread, group, len(size), indices_are_sorted=True)
    centred = scores - jnp.mean(scores, axis=0, keepdims=True)
    return (sums**2 @ jnp.asarray(1 / size, points.dtype)) * (centred.T @ centred) / num
