"""The interface of summaries."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractSummary(eqx.Module):
    """Features of a cloud: functionals of the distribution of its points.

    To add one, subclass it as a frozen Equinox module and implement the three methods; `Moments` is the file to
    imitate. Distances, weights and likelihoods are made of a summary: they ask for nothing else.
    """

    @abc.abstractmethod
    def __call__(self, cloud: Float[Array, "*cloud"]) -> Float[Array, "F"]:
        """The features of a cloud."""

    @abc.abstractmethod
    def path_jacobian(self, cloud: Float[Array, "*cloud"], tangents: Float[Array, "*cloud P"]) -> Float[Array, "F P"]:
        """Derivative of the features when the points of a cloud move."""

    @abc.abstractmethod
    def influence(self, points: Float[Array, "*points"], cloud: Float[Array, "*cloud"]) -> Float[Array, "N F"]:
        """Influence of each of `points` on the features of `cloud`, of mean zero over the points."""

    def jacobian(
        self,
        cloud: Float[Array, "*cloud"],
        tangents: Float[Array, "*cloud P"],
        scores: Float[Array, "M P"] | None = None,
    ) -> Float[Array, "F P"]:
        """Derivative of the features when points move and their weights change.

        Args:
            cloud: the points.
            tangents: their derivative in P parameters.
            scores: derivative of their log weights: it moves a feature by the mean of score times influence.
        """
        moved = self.path_jacobian(cloud, tangents)
        if scores is None:
            return moved
        return moved + jnp.matmul(self.influence(cloud, cloud).T, scores) / cloud.shape[0]
