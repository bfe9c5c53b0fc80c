"""Means and covariances."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._summary import AbstractSummary


class Moments(AbstractSummary):
    """Means of the components of a cloud, and their covariances.

        m = (E x_i, E (x_i - E x_i)(x_j - E x_j) for i <= j),    F = p + p (p + 1) / 2.

    They know less than the quantiles of a cloud whose shape changes with the parameters, but all of a normal one.

    Example:
        >>> Moments()(jnp.array([[0.0], [2.0]]))
        Array([1., 1.], dtype=float32)
    """

    def __call__(self, cloud: Float[Array, "*cloud"]) -> Float[Array, "F"]:
        """Means and covariances."""
        mean = jnp.mean(cloud, axis=0)
        return jnp.concatenate([mean, jnp.mean(self._products(cloud - mean[None]), axis=0)])

    def path_jacobian(self, cloud: Float[Array, "*cloud"], tangents: Float[Array, "*cloud P"]) -> Float[Array, "F P"]:
        """Derivative of the features when the points of a cloud move."""
        return jax.vmap(lambda t: jax.jvp(self, (cloud,), (t,))[1], in_axes=2, out_axes=1)(tangents)

    def influence(self, points: Float[Array, "*points"], cloud: Float[Array, "*cloud"]) -> Float[Array, "N F"]:
        """Influence of each of `points` on the features of `cloud`, of mean zero over the points."""
        off = points - jnp.mean(cloud, axis=0, keepdims=True)
        both = jnp.concatenate([off, self._products(off)], axis=1)
        return both - jnp.mean(both, axis=0, keepdims=True)

    @staticmethod
    def _products(off: Float[Array, "N p"]) -> Float[Array, "N pairs"]:
        rows, columns = np.triu_indices(off.shape[1])
        return off[:, rows] * off[:, columns]
