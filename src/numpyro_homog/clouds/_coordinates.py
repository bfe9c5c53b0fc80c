"""Coordinates of clouds of tensors in which they are compared."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..tensors import from_unique_components, matrix_logarithm, unique_components


class LogEuclidean(eqx.Module):
    """Unique components of the logarithm of tensors, as coordinates of a cloud.

    Ratios become differences: products of a conductivity by a factor are shifts, and clouds with a long upper tail
    become round. The map is one-to-one and smooth.

    With `fold`, tensors in two dimensions are brought into one representative of the symmetries of the square (turns by
    a right angle and reflections): half the trace, half the absolute difference of the diagonal, and the absolute
    off-diagonal entry. Nothing is lost if the law of the material has these symmetries, as that of random cells on a
    square torus; if it has not, do not fold.

    Args:
        scales: what each component of the tensor was divided by in the cloud, shape (p,), p = 1, 3, 6 or 21; for
            estimators `estimator.scale.scales`.
        fold: remove the symmetries of the square; two dimensions only.

    Raises:
        ValueError: at construction, if `scales` are not those of one tensor, or `fold` is asked for in another
            dimension than two; at call or trace time, if the cloud has another number of components.

    Example:
        >>> LogEuclidean(jnp.ones(3), fold=True)(jnp.array([[jnp.e, 1.0, 0.0]]))
        Array([[0.5, 0.5, 0. ]], dtype=float32)
    """

    scales: Float[Array, "p"]
    fold: bool = eqx.field(static=True)

    def __init__(self, scales: ArrayLike, *, fold: bool = False):
        scales = jnp.asarray(scales)
        if scales.ndim != 1 or scales.size not in (1, 3, 6, 21):
            raise ValueError(
                f"scales are those of the unique components of one tensor, shape (1,), (3,), (6,) or (21,);"
                f" got {scales.shape}."
                " Are other sites compared, or was a component without spread dropped?"
            )
        if fold and scales.size != 3:
            raise ValueError("fold removes the symmetries of the square: for tensors in two dimensions only.")
        self.scales, self.fold = scales, fold

    def __call__(self, cloud: Float[Array, "*cloud"]) -> Float[Array, "points p"]:
        """Coordinates of a cloud, shape (N, p). Points that are not positive definite become NaN."""
        if cloud.ndim != 2 or cloud.shape[1] != self.scales.size:
            raise ValueError(f"The cloud has shape {cloud.shape}; expected (num_points, {self.scales.size}).")
        tensors = from_unique_components(cloud * self.scales[None].astype(cloud.dtype))
        logs = jnp.asarray(unique_components(matrix_logarithm(tensors)))
        if not self.fold:
            return logs
        first, second, shear = logs[:, 0], logs[:, 1], logs[:, 2]
        return jnp.stack([(first + second) / 2, jnp.abs(first - second) / 2, jnp.abs(shear)], axis=1)
