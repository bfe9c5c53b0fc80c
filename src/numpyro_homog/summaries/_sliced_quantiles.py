"""Sliced quantiles."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._clouds import random_directions
from ._summary import AbstractSummary

_BINS, _BINS_OF_ONE = 20, 80


class SlicedQuantiles(AbstractSummary):
    """Means of the sorted projections in equal bins of ranks, on each of L directions.

    Args:
        directions: in the coordinates, each divided by the spread of its coordinate, shape (L, q).
        num_bins: number of bins of ranks in each direction, >= 2.
        coordinates: function from a cloud (N, p) to its coordinates (N, q), for example `LogEuclidean`; None: as is.

    There are F = L num_bins features, one direction after the other. Costs L sorts of a cloud.

    Example:
        >>> quantiles = SlicedQuantiles.of_pilot(pilot, rng_key=jax.random.key(0))
        >>> quantiles(cloud).shape
        (320,)
    """

    directions: Float[Array, "L q"]
    num_bins: int = eqx.field(static=True)
    coordinates: Callable | None = None

    @classmethod
    def of_pilot(
        cls,
        pilot: Float[Array, "*pilot"],
        *,
        rng_key: PRNGKeyArray,
        num_projections: int = 16,
        num_bins: int | None = None,
        coordinates: Callable | None = None,
    ) -> "SlicedQuantiles":
        """Directions that see the coordinates of a pilot at equal spreads.

        Args:
            pilot: cloud of the kind that is summarised, shape (num_points, p).
            rng_key: key of the directions.
            num_projections: number of directions; one in one dimension.
            num_bins: number of bins of ranks in each direction; default: 20, or 80 if there is one direction only.
            coordinates: function from a cloud to its coordinates; default: the cloud itself.

        Raises:
            ValueError: if the pilot is no cloud or has coordinates without spread, or a number is not positive.
        """
        if pilot.ndim != 2 or num_projections < 1 or (num_bins is not None and num_bins < 2):
            raise ValueError(
                "Expected a pilot cloud (num_points, p), num_projections >= 1 and num_bins >= 2; got"
                f" {pilot.shape}, {num_projections} and {num_bins}."
            )
        points = pilot if coordinates is None else coordinates(pilot)
        spread = jnp.std(points, axis=0)
        if not bool(jnp.all(jnp.isfinite(spread) & (spread > 0))):
            raise ValueError("The pilot has coordinates that are not finite or have no spread.")
        directions = random_directions(rng_key, num_projections, points.shape[1], points.dtype)
        num_bins = num_bins or (_BINS if directions.shape[0] > 1 else _BINS_OF_ONE)
        return cls(directions / spread[None], num_bins, coordinates)

    def __call__(self, cloud: Float[Array, "*cloud"]) -> Float[Array, "F"]:
        """The features of a cloud."""
        return self._bin_means(jnp.sort(self._project(cloud), axis=0)).T.reshape(-1)

    def path_jacobian(self, cloud: Float[Array, "*cloud"], tangents: Float[Array, "*cloud P"]) -> Float[Array, "F P"]:
        """Derivative of the features when the points of a cloud move, each with its rank."""
        along = jax.vmap(lambda t: jax.jvp(self._project, (cloud,), (t,)), in_axes=2, out_axes=(None, 2))
        projected, moved = along(tangents)
        order = jnp.argsort(projected, axis=0)
        means = self._bin_means(jnp.take_along_axis(moved, order[:, :, None], axis=0))
        return jnp.swapaxes(means, 0, 1).reshape(-1, tangents.shape[2])

    def influence(self, points: Float[Array, "*points"], cloud: Float[Array, "*cloud"]) -> Float[Array, "N F"]:
        """Influence of each of `points` on the features of `cloud`, of mean zero over the points.

        A point t moves the mean of the bin between the quantiles a and b by num_bins clip(t, a, b), less its mean.
        """
        projected, ordered = self._project(points), jnp.sort(self._project(cloud), axis=0)
        inner = np.arange(1, self.num_bins) * ordered.shape[0] // self.num_bins
        ends = jnp.full_like(ordered, jnp.inf, shape=(1, ordered.shape[1]))
        edges = jnp.concatenate([-ends, ordered[inner], ends])
        clipped = self.num_bins * jnp.clip(projected[:, :, None], edges[:-1].T[None], edges[1:].T[None])
        flat = clipped.reshape(points.shape[0], -1)
        return flat - jnp.mean(flat, axis=0, keepdims=True)

    def _project(self, cloud: Float[Array, "*cloud"]) -> Float[Array, "N L"]:
        if cloud.ndim != 2 or cloud.shape[0] == 0:
            raise ValueError(f"A cloud has shape (num_points, num_components) and points; got {cloud.shape}.")
        points = cloud if self.coordinates is None else self.coordinates(cloud)
        if points.shape[1] != self.directions.shape[1]:
            raise ValueError(f"A cloud has {points.shape[1]} coordinates, the pilot had {self.directions.shape[1]}.")
        return points @ self.directions.astype(points.dtype).T

    def _bin_means(self, ordered: Float[Array, "M *columns"]) -> Float[Array, "bins *columns"]:
        """Exact means of the step function through `ordered` in equal bins."""
        num, bins = ordered.shape[0], self.num_bins
        ends = np.union1d(np.arange(1, num + 1) * bins, np.arange(1, bins + 1) * num)
        starts = np.concatenate([[0], ends[:-1]])
        weight = jnp.asarray((ends - starts) / num, ordered.dtype).reshape(-1, *(1,) * (ordered.ndim - 1))
        return jax.ops.segment_sum(weight * ordered[starts // bins], starts // num, bins, indices_are_sorted=True)
