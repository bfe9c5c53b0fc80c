"""The squared sliced Wasserstein distance of order two."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from .._tracing import at_trace_time
from ..summaries import checked_clouds, random_directions
from ._divergence import AbstractLeastSquaresDivergence, Linearization
from ._quantiles import EqualSteps, WeightedSteps, score_gradient, score_noise, score_tangents

_LARGEST = 10.0
_SCORE_GROUPS = 2.5  # of int B^2 du, B a Brownian bridge: twice its squared mean, by its variance


class SlicedWasserstein(AbstractLeastSquaresDivergence):
    """Squared sliced Wasserstein distance of order two between clouds of points.

        D(x, y) = mean over l of  int_0^1 (Q_{x,l}(u) - Q_{y,l}(u))^2 du,

    where Q_{x,l} is the quantile function of the points projected on direction l. The clouds may differ in size: both
    quantile functions are steps, and the integral is exact on the union of their steps. In one dimension there is
    nothing to slice and D is the squared Wasserstein distance itself, exact.

    D is the *square*: `ot.sliced_wasserstein_distance` of POT returns its root. It is a mean of squares (`residuals`),
    so that Gauss-Newton applies, and needs no root that is singular at D = 0.

    Directions are uniform on the sphere and drawn from the explicit key, in blocks of p that are orthogonal to one
    another; each block sees the covariance of the clouds without Monte-Carlo error. The same key gives the same
    directions; for fresh ones pass a fresh key.

    Args:
        num_projections: number of directions, >= 1.

    Raises:
        ValueError: at construction, if `num_projections` is not a positive integer; at call or trace time, if the
            clouds are not two-dimensional, are empty, or have different numbers of components.

    Differentiable in both clouds and both modes; the derivative moves each point with its rank, and is one-sided where
    two projections tie. NaN in a cloud gives NaN. Costs num_projections sorts of each cloud.

    References:
        Bonneel, Rabin, Peyre and Pfister, J. Math. Imaging Vis. 51 (2015); Rowland et al., AISTATS 2019 (orthogonal
        directions).

    Example:
        >>> divergence = SlicedWasserstein()
        >>> divergence(jnp.zeros((5, 3)), jnp.ones((7, 3)), rng_key=jax.random.key(0))  # |shift|^2 / p
        Array(1., dtype=float32)
    """

    num_projections: int = eqx.field(static=True)
    takes_weights: ClassVar[bool] = True

    def __init__(self, num_projections: int = 48):
        if int(num_projections) != num_projections or num_projections < 1:
            raise ValueError(f"num_projections must be a positive integer; got {num_projections}.")
        self.num_projections = int(num_projections)

    def directions(self, rng_key: PRNGKeyArray, num_components: int, dtype: DTypeLike) -> Float[Array, "L p"]:
        """Unit directions, shape (num_projections, p); the single direction [1] if p = 1."""
        return random_directions(rng_key, self.num_projections, num_components, dtype)

    def __call__(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, ""]:
        """The divergence D(x, y) for x, shape (M, p), and y, shape (N, p)."""
        y = checked_clouds(x, y)
        grid = EqualSteps(x.shape[0], y.shape[0])
        directions = at_trace_time(lambda key: self.directions(key, x.shape[1], x.dtype), rng_key)
        # Data and key are fixed in a posterior: their sorts are then no part of the program.
        sorted_y = at_trace_time(_sorted_projections, y, directions)

        def slice_divergence(projection):
            direction, sorted_slice = projection
            return grid.mean_square(jnp.sort(x @ direction), sorted_slice)

        return jnp.mean(jax.lax.map(slice_divergence, (directions, sorted_y)))

    def residuals(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, " num"]:
        """Differences of quantiles with square-rooted weights: their mean square is the divergence.

        There are num_projections times (M + N - gcd(M, N)) of them.
        """
        y = checked_clouds(x, y)
        grid = EqualSteps(x.shape[0], y.shape[0])
        weights = jnp.asarray(np.sqrt(grid.widths * len(grid.widths)), x.dtype)

        def slice_residuals(direction):
            return weights * grid.differences(jnp.sort(x @ direction), jnp.sort(y @ direction))

        return jax.lax.map(slice_residuals, self.directions(rng_key, x.shape[1], x.dtype)).reshape(-1)

    def linearize(
        self,
        x: Float[Array, "*x"],
        tangents: Float[Array, "*x P"],
        y: Float[Array, "*y"],
        *,
        rng_key: PRNGKeyArray,
        scores: Float[Array, "M P"] | None = None,
        log_weights: Float[Array, " M"] | None = None,
    ) -> Linearization:
        """Divergence, exact gradient, and curvature of the smooth quantile functions.

        The derivative of a quantile function at level u is the mean tangent of the specimens *at* that quantile, while
        the derivative of one order statistic is the tangent of one specimen. The mean square of the latter exceeds that
        of the former by the scatter of tangents at equal value, which does not vanish with M: so tangents are averaged
        over about 2 sqrt(M) groups of neighbouring ranks, and what is left of the scatter is reported as
        `curvature_noise`.

        Where a small change of a parameter makes a phase appear or vanish, single tangents are huge, and their squares
        have no finite mean. For the curvature, not for the gradient, a tangent more than ten times as large as the
        median of the five around its rank is shortened to that.

        With `scores`, each point also stands for the others near it: reweighting moves the quantiles by the influence
        function, and the gradient is that of the reweighted divergence, exactly. With `log_weights`, up to a constant,
        the points count as fixed: what their weights do to the quantiles is curvature, and no noise of it.

        The arguments are those of `AbstractLeastSquaresDivergence.linearize`.
        """
        y = checked_clouds(x, y)
        num = x.shape[0]
        equal = EqualSteps(num, y.shape[0])
        num_groups = max(1, min(num // 2, round(2 * math.sqrt(num))))
        group = np.arange(num) * num_groups // num
        size = np.bincount(group)
        scatter_weight = jnp.asarray(1 / np.sqrt(np.maximum(size - 1, 1))[group, None], x.dtype)

        def sum_groups(values):
            return jax.ops.segment_sum(values, group, num_groups, indices_are_sorted=True)

        def linearize_slice(direction):
            projected = x @ direction
            order = jnp.argsort(projected)
            sorted_x, sorted_y = projected[order], jnp.sort(y @ direction)
            steps = equal if log_weights is None else WeightedSteps(jax.nn.softmax(log_weights)[order], y.shape[0])
            mass = jnp.asarray(steps.mass, x.dtype)
            differences = steps.differences(sorted_x, sorted_y)
            weighted = jnp.asarray(steps.widths, x.dtype) * differences
            mean_error = jax.ops.segment_sum(weighted, steps.index_x, num, indices_are_sorted=True)
            tangent = jnp.einsum("mpk,p->mk", tangents, direction)[order]
            gradient = mean_error @ tangent
            tangent = _shorten(tangent)
            reweighting = jnp.zeros((tangents.shape[2],) * 2, x.dtype)
            if scores is not None:
                moved = score_tangents(sorted_x, scores[order], mass)
                gradient += score_gradient(sorted_x, moved, mass, steps.after(sorted_y))
                tangent += moved
                if log_weights is None:
                    reweighting = score_noise(sorted_x, scores[order], mass, sum_groups)
            total = sum_groups(mass[:, None] * tangent)
            mean = total / sum_groups(mass)[:, None]
            scatter = jnp.sqrt(mass)[:, None] * (tangent - mean[group]) * scatter_weight
            return jnp.sum(weighted * differences), gradient, mean.T @ total, scatter.T @ scatter, reweighting

        slices = jax.lax.map(linearize_slice, self.directions(rng_key, x.shape[1], x.dtype))
        # Neighbours in one direction are none in another: the scatter averages out over the slices as well.
        value, gradient, curvature, noise, reweighting = (jnp.mean(part, axis=0) for part in slices)
        num_groups *= slices[0].shape[0]
        if scores is None:
            return Linearization(value, gradient, curvature, noise, num_groups)
        # Satterthwaite: each kind of noise counts by its share of the curvature.
        height = jnp.maximum(jnp.diag(curvature), jnp.finfo(x.dtype).tiny)
        own, common = (jnp.sum(jnp.diag(part) / height) for part in (noise, reweighting))
        variance = own**2 / num_groups + common**2 / _SCORE_GROUPS
        effective = jnp.where(variance > 0, (own + common) ** 2 / variance, num_groups)
        return Linearization(value, gradient, curvature, noise + reweighting, effective)

    def influence(
        self,
        x: Float[Array, "*x"],
        tangents: Float[Array, "*x P"],
        y: Float[Array, "*y"],
        *,
        rng_key: PRNGKeyArray,
        scores: Float[Array, "M P"] | None = None,
    ) -> Float[Array, "N P"]:
        """Influence of each data point on the gradient, shape (N, P), mean zero.

        An observation t moves int J(u) Q_y(u) du by psi(t) = A(t) - mean, with A the antiderivative of J(F_y(t)): a
        sum over the sorted gaps of the data, with the mean tangent of the points of x about the rank of each gap.
        Summed over the slices. Tangents are shortened as for the curvature.
        """
        y = checked_clouds(x, y)
        num_x, num_y = x.shape[0], y.shape[0]
        # The gap after each point of y, for each point of x; some gaps have none if x has fewer points.
        about = (2 * np.arange(num_x) * num_y + num_x) // (2 * num_x)
        between = np.arange(1, num_y) * num_x // num_y

        def at_gaps(tangent):
            if num_x < num_y:
                return tangent[between]
            total = jax.ops.segment_sum(tangent, about, num_y + 1, indices_are_sorted=True)
            return (total / jnp.asarray(np.bincount(about, minlength=num_y + 1)[:, None], tangent.dtype))[1:num_y]

        def add_slice(total, direction):
            projected = y @ direction
            order = jnp.argsort(projected)
            order_x = jnp.argsort(x @ direction)
            tangent = _shorten(jnp.einsum("mpk,p->mk", tangents, direction)[order_x])
            if scores is not None:
                mass = jnp.full_like(tangent[:, 0], 1 / num_x)
                tangent += score_tangents((x @ direction)[order_x], scores[order_x], mass)
            steps = at_gaps(tangent) * jnp.diff(projected[order])[:, None]
            integral = jnp.concatenate([jnp.zeros_like(steps, shape=(1, steps.shape[1])), jnp.cumsum(steps, axis=0)])
            return total.at[order].add(integral), None

        directions = self.directions(rng_key, x.shape[1], x.dtype)
        total, _ = jax.lax.scan(add_slice, jnp.zeros((num_y, tangents.shape[2]), x.dtype), directions)
        return (total - jnp.mean(total, axis=0, keepdims=True)) / directions.shape[0]


def _sorted_projections(points: Float[Array, "N p"], directions: Float[Array, "L p"]) -> Float[Array, "L N"]:
    """Sorted projections of each direction, one direction at a time."""
    return jax.lax.map(lambda direction: jnp.sort(points @ direction), directions)


def _shorten(tangent: Float[Array, "M P"]) -> Float[Array, "M P"]:
    """Each entry at most ten times as large as the median of five neighbours of its row (if that is not zero)."""
    size = jnp.abs(tangent)
    padded = jnp.pad(size, ((2, 2), (0, 0)), mode="edge")
    first, second, own, third, fourth = (padded[i : i + size.shape[0]] for i in range(5))
    low = jnp.maximum(jnp.minimum(first, second), jnp.minimum(third, fourth))
    high = jnp.minimum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    median = jnp.maximum(jnp.minimum(low, high), jnp.minimum(jnp.maximum(low, high), own))
    limit = _LARGEST * median
    return jnp.where((size > limit) & (limit > 0), jnp.sign(tangent) * limit, tangent)
