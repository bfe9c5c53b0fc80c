"""A microstructure that is given as a function of noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array
from numpyro.distributions import constraints

from ._pushforward import AbstractPushforward


def _member_by_member(
    noise: Array, params: tuple[Array, ...], *, fn: Callable, batch_ndims: int, noise_ndim: int
) -> Array:
    """`fn(noise, *params)` for each member of a batch of noise (*batch, *noise) and parameters."""
    batch = noise.shape[: noise.ndim - noise_ndim]
    params = tuple(jnp.broadcast_to(p, (*batch, *p.shape[batch_ndims:])) for p in params)
    for _ in batch:
        fn = jax.vmap(fn)
    return fn(noise, *params)


class Pushforward(AbstractPushforward):
    """A microstructure of your own: the law of `fn(noise, *params)`.

    `fn` makes one sample (phase fractions with shape (*grid, num_phases), or any array) of one draw of the noise; it is
    mapped over batches and plates. Where phases could be drawn in lines of the model instead, this makes them one site:
    `TransformReparam` exposes the noise, and `Predictive` can return the sample by name.

    It is a pushforward: there is no density, `log_prob` raises. Samples are differentiated through `fn`.

    Args:
        noise: a NumPyro distribution with a batch shape of (), such as `dist.Uniform(0, 1).expand([2]).to_event(1)`.
        fn: pure function from one draw of the noise, shape `noise.event_shape`, and the parameters to one array. What
            it takes from its surroundings must be constant: parameters of the model are `params`.
        params: parameters of `fn`, arrays or numbers.
        batch_ndims: number of leading axes of every parameter that are batch axes: 0 for parameters that all
            specimens share, 1 for those drawn in the plate of the specimens.
        smooth: whether `fn` moves smoothly with its parameters. False if it decides (labels, thresholds): a path
            derivative would be zero or wrong, and is then neither claimed nor used.
        validate_args: NumPyro's switch; nothing depends on it here.

    Raises:
        ValueError: at construction, if `noise` has a batch shape, a parameter has fewer axes than `batch_ndims`, or
            `fn` does not return one array.

    Example:
        >>> def stripes(phase, share):
        ...     inside = jax.nn.sigmoid(50 * (share - (jnp.arange(32) / 32 + phase) % 1))
        ...     return jnp.broadcast_to(jnp.stack([inside, 1 - inside], -1), (32, 32, 2))
        >>> nh.distributions.Pushforward(dist.Uniform(0.0, 1.0), stripes, 0.3).event_shape
        (32, 32, 2)
    """

    no_path = "its function decides (`smooth=False`), or its noise is discrete."

    def __init__(
        self,
        noise: dist.Distribution,
        fn: Callable[..., Array],
        *params: ArrayLike,
        batch_ndims: int = 0,
        smooth: bool = True,
        validate_args: bool | None = None,
    ):
        if noise.batch_shape:
            raise ValueError(
                f"noise has batch shape {noise.batch_shape} and event shape {noise.event_shape}; the noise of one "
                f"sample is one event: write `noise.to_event({len(noise.batch_shape)})`."
            )
        arrays = tuple(jnp.asarray(p) for p in params)
        for number, p in enumerate(arrays):
            if p.ndim < batch_ndims:
                raise ValueError(f"Parameter {number} has shape {p.shape}, without the {batch_ndims} axes of a batch.")
        one = jax.eval_shape(noise.sample, jax.random.key(0))
        made = jax.eval_shape(fn, one, *(jax.ShapeDtypeStruct(p.shape[batch_ndims:], p.dtype) for p in arrays))
        if not isinstance(made, jax.ShapeDtypeStruct):
            raise ValueError(
                f"fn must return one array, the sample that belongs to noise of shape {one.shape}; it returns {made}."
            )
        super().__init__(
            noise,
            _member_by_member,
            {"params": arrays},
            options={"fn": fn, "batch_ndims": batch_ndims, "noise_ndim": len(one.shape)},
            batch_shape=jnp.broadcast_shapes(*(p.shape[:batch_ndims] for p in arrays)),
            event_shape=made.shape,
            support=constraints.real,
            paths={"params": smooth},
            validate_args=validate_args,
        )
