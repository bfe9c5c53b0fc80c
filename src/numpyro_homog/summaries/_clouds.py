"""What all summaries and distances ask of clouds, and the directions that they are sliced along."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from .._tracing import at_trace_time


def random_directions(
    rng_key: PRNGKeyArray, num_directions: int, num_components: int, dtype: DTypeLike
) -> Float[Array, "L p"]:
    """Directions uniform on the sphere, in blocks of p that are orthogonal to one another.

    Args:
        rng_key: key of the directions.
        num_directions: number L of them.
        num_components: dimension p; for p = 1 there is the single direction [1].
        dtype: of the result.

    References:
        Rowland et al., AISTATS 2019.
    """
    if num_components == 1:
        return jnp.ones((1, 1), dtype)
    num_blocks = math.ceil(num_directions / num_components)
    normal = jax.random.normal(rng_key, (num_blocks, num_components, num_components), dtype)
    # The signs that QR leaves open do not matter: slices are even in the direction.
    orthogonal, _ = jnp.linalg.qr(normal)
    return orthogonal.reshape(-1, num_components)[:num_directions]


def checked_clouds(x: Float[Array, "*x"], y: Float[Array, "*y"]) -> Float[Array, "N p"]:
    """The cloud y in the precision of x.

    Args:
        x: cloud, shape (M, p).
        y: cloud, shape (N, p).

    Raises:
        ValueError: unless both are clouds of the same kind and have points.
    """
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(
            f"A cloud has shape (num_points, num_components), with one component (num_points, 1); got {x.shape}"
            f" and {y.shape}."
        )
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"The clouds have {x.shape[1]} and {y.shape[1]} components; they must agree.")
    if 0 in x.shape or 0 in y.shape:
        raise ValueError(f"A cloud is empty: shapes {x.shape} and {y.shape}.")
    return at_trace_time(lambda points: points.astype(x.dtype), y)
