"""How reweighting the points of a cloud moves its quantiles; private to the package."""

import jax.numpy as jnp


def score_tangents(points, scores, mass):
    """Derivative of each order statistic when the points are reweighted, shape (M, P).

    With weights proportional to mass (1 + scores . dtheta), the distribution function changes by
    G(t) = sum(mass centred score, where x <= t), and the quantile by -G / density. The density between two neighbours
    is mass / gap, noisy, but right on average over neighbouring ranks.

    Args:
        points: sorted points, shape (M,).
        scores: their scores, shape (M, P).
        mass: their masses, of sum one, shape (M,).
    """
    below = jnp.cumsum(mass[:, None] * _centred(scores, mass), axis=0)
    return -below * (_gaps(points) / mass)[:, None]


def score_gradient(points, tangents, mass, data):
    """Half the exact derivative of int (Q_x - Q_y)^2 du when the points of x are reweighted, shape (P,).

    Between two neighbours F_x is constant, so the derivative -int G (t - Q_y(F_x(t))) dt is a sum over the gaps.

    Args:
        points: sorted points of x, shape (M,).
        tangents: `score_tangents` of them.
        mass: their masses, shape (M,).
        data: Q_y where each point ends, shape (M,).
    """
    return (mass * (points + 0.5 * _gaps(points) - data)) @ tangents


def score_noise(points, scores, mass, sum_groups):
    """Part of the mean square of averaged `score_tangents` that G owes to the finite size of the cloud, (P, P).

    G is a mean of scores: its covariance at level u is about u (1 - u) Cov(scores) sum(mass^2).

    Args:
        points: sorted points, shape (M,).
        scores: their scores, shape (M, P).
        mass: their masses, shape (M,).
        sum_groups: function that adds up values within groups of ranks, over which tangents are averaged.
    """
    level = jnp.minimum(jnp.cumsum(mass), 1)
    sums = sum_groups(jnp.sqrt(level * (1 - level)) * _gaps(points))
    centred = _centred(scores, mass)
    return jnp.sum(sums**2 / sum_groups(mass)) * ((mass[:, None] * centred).T @ centred) * jnp.sum(mass**2)


def _centred(scores, mass):
    return scores - (mass @ scores)[None]


def _gaps(points):
    return jnp.diff(points, append=points[-1:])
