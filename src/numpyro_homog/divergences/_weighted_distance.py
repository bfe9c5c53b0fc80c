"""Features weighted by the inverse of their covariance: the generalised method of moments."""

import math
import warnings
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..summaries import AbstractSummary, SlicedQuantiles
from ._divergence import AbstractLeastSquaresDivergence, Linearization

_NUM_SPLITS = 4


class WeightedDistance(AbstractLeastSquaresDivergence):
    """Squared distance of features, weighted by the inverse of their covariance.

        D(x, y) = r' (C + rho I)^-1 r / K,     r = m(x) - m(y),

    where m are the features of a summary, C is the covariance that one specimen makes of them, and
    K = trace C (C + rho I)^-1 their effective number. Two clouds of the same law have D = 1/N + 1/M on average.

    What is known precisely then counts more than what is not, and what two features see in common counts once; so
    estimates are closer to the truth than those of `SlicedWasserstein`. The price is a second stage: C must be known at
    about the true parameters. Make it with `from_pilot` from a large cloud simulated at a first estimate;
    `infer.reweight` does all of that. Summary and weights are then held: `rng_key` is not used.

    Args:
        summary: the features.
        eigenvalues: of C, ascending, shape (F,).
        eigenvectors: columns, shape (F, F).
        ridge: rho as a fraction of the largest eigenvalue, positive.

    Raises:
        ValueError: at construction, if the shapes do not fit or `ridge` is not positive.

    Costs the features of each cloud and their product with the F x F weights.

    References:
        Hansen, Econometrica 50 (1982); Gourieroux, Monfort and Renault, J. Appl. Econom. 8 (1993).

    Example:
        >>> summary = SlicedQuantiles.of_pilot(pilot, rng_key=jax.random.key(0))
        >>> weighted = WeightedDistance.from_pilot(pilot, summary)
        >>> weighted(x, y, rng_key=jax.random.key(1))
    """

    summary: AbstractSummary
    eigenvalues: Float[Array, "F"]
    eigenvectors: Float[Array, "F F"]
    ridge: float = eqx.field(static=True)

    def __check_init__(self):
        num = self.eigenvalues.shape[0]
        if self.eigenvectors.shape != (num, num):
            raise ValueError(
                f"{num} eigenvalues and eigenvectors of shape {self.eigenvectors.shape} do not fit together; use"
                " from_pilot."
            )
        if not self.ridge > 0:
            raise ValueError(f"ridge must be positive; got {self.ridge}.")

    @classmethod
    def from_pilot(
        cls, pilot: Float[Array, "*pilot"], summary: AbstractSummary, *, ridge: float = 1e-3
    ) -> "WeightedDistance":
        """Weights from a cloud simulated at about the true parameters.

        The covariance is that of the influence functions. Directions of it that the pilot knows badly must be held by
        the ridge: for 320 sliced quantiles 20,000 points go with 1e-3, 8000 with 1e-2; less amplifies noise.

        Args:
            pilot: cloud, shape (num_points, p), scaled as the clouds that are compared.
            summary: the features.
            ridge: fraction of the largest eigenvalue of the covariance that is added to all.

        Raises:
            ValueError: if the pilot has fewer points than features, or `ridge` is not positive.
        """
        # In double precision on the host: the spectrum spans many decades.
        influence = np.asarray(summary.influence(pilot, pilot), float)
        if pilot.shape[0] <= influence.shape[1]:
            raise ValueError(
                f"The pilot has {pilot.shape[0]} points for {influence.shape[1]} features; simulate some ten thousand,"
                " or use fewer features (projections and bins)."
            )
        values, vectors = np.linalg.eigh(influence.T @ influence / pilot.shape[0])
        return cls(summary, jnp.asarray(np.maximum(values, 0), pilot.dtype), jnp.asarray(vectors, pilot.dtype), ridge)

    @property
    def num_effective(self) -> Float[Array, ""]:
        """Effective number K of features."""
        return jnp.sum(self.eigenvalues / self._regularised)

    def __call__(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, ""]:
        """The divergence D(x, y) for x, shape (M, p), and y, shape (N, p); `rng_key` is not used."""
        return jnp.sum(self._whitened_difference(x, y) ** 2)

    def residuals(self, x: Float[Array, "*x"], y: Float[Array, "*y"], *, rng_key: PRNGKeyArray) -> Float[Array, " num"]:
        """Whitened differences of the features, F of them: their mean square is the divergence."""
        return self._whitened_difference(x, y) * math.sqrt(self.eigenvalues.shape[0])

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

        The weights amplify the noise of the Jacobian of the features. What it adds to the curvature is estimated from
        the products of the Jacobians of four disjoint parts of x, which are independent.

        The arguments are those of `AbstractLeastSquaresDivergence.linearize`; `rng_key` is not used.
        """

        def slope(rows):
            part = None if scores is None else scores[rows]
            return self.whiten(self.summary.jacobian(x[rows], tangents[rows], part))

        difference, jacobian = self._whitened_difference(x, y), slope(slice(None))
        curvature = jacobian.T @ jacobian
        noise, num = jnp.zeros_like(curvature), self.eigenvalues.shape[0]
        if (size := x.shape[0] // _NUM_SPLITS) >= math.ceil(math.sqrt(num)):
            parts = jnp.stack([slope(slice(i * size, (i + 1) * size)) for i in range(_NUM_SPLITS)])
            total, own = jnp.sum(parts, axis=0), jnp.einsum("sfk,sfl->kl", parts, parts)
            noise = curvature - (total.T @ total - own) / (_NUM_SPLITS * (_NUM_SPLITS - 1))
        return Linearization(jnp.sum(difference**2), jacobian.T @ difference, curvature, noise, max(1, num // 4))

    def influence(
        self,
        x: Float[Array, "*x"],
        tangents: Float[Array, "*x P"],
        y: Float[Array, "*y"],
        *,
        rng_key: PRNGKeyArray,
        scores: Float[Array, "M P"] | None = None,
    ) -> Float[Array, "N P"]:
        """Influence of each data point on the gradient, shape (N, P), mean zero; `rng_key` is not used."""
        jacobian = self.whiten(self.summary.jacobian(x, tangents, scores))
        return self.whiten(self.summary.influence(y, y).T).T @ jacobian

    def whiten(self, features: Float[Array, "F *columns"]) -> Float[Array, "F *columns"]:
        """Features, or the columns of their Jacobian, so that the divergence is a plain sum of squares."""
        scale = jnp.sqrt(self._regularised * self.num_effective)
        whitened = self.eigenvectors.T @ features
        return whitened / scale.reshape(-1, *(1,) * (features.ndim - 1))

    @property
    def _regularised(self) -> Float[Array, "F"]:
        return self.eigenvalues + self.ridge * jnp.max(self.eigenvalues)

    def _whitened_difference(self, x: Float[Array, "*x"], y: Float[Array, "*y"]) -> Float[Array, "F"]:
        return self.whiten(self.summary(x) - self.summary(y.astype(x.dtype)))


class WeightedSlicedWasserstein:
    """Deprecated: `WeightedDistance.from_pilot(pilot, SlicedQuantiles.of_pilot(pilot, ...))`."""

    @staticmethod
    def from_pilot(pilot: Float[Array, "*pilot"], *, ridge: float = 1e-3, **options: Any) -> WeightedDistance:
        """A `WeightedDistance` of `SlicedQuantiles.of_pilot(pilot, **options)`."""
        words = "Write WeightedDistance.from_pilot(pilot, SlicedQuantiles.of_pilot(pilot, ...))."
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return WeightedDistance.from_pilot(pilot, SlicedQuantiles.of_pilot(pilot, **options), ridge=ridge)
