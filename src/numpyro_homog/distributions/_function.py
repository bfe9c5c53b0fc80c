"""A microstructure that is given as a function of noise."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ._pushforward import PushforwardTransform


class FunctionTransform(PushforwardTransform):
    """`fn(noise, *params)` for each member of a batch of noise and parameters."""

    def __init__(self, fn, params, batch_ndims, noise_shape, event_shape):
        self.params = params
        self.fn, self.batch_ndims, self.noise_shape, self.event_shape = fn, batch_ndims, noise_shape, event_shape

    def __call__(self, x):
        """Noise (*batch, *noise_shape) -> samples (*batch, *event_shape)."""
        batch = self._batch(x.shape, self.noise_shape)
        x = jnp.broadcast_to(x, (*batch, *self.noise_shape))
        params = [jnp.broadcast_to(p, (*batch, *p.shape[self.batch_ndims :])) for p in self.params]
        fn = self.fn
        for _ in batch:
            fn = jax.vmap(fn)
        return fn(x, *params)

    def _batch(self, shape, event_shape):
        own = [jnp.shape(p)[: self.batch_ndims] for p in self.params]
        return jnp.broadcast_shapes(shape[: len(shape) - len(event_shape)], *own)

    @property
    def domain(self):
        """Numbers; the distribution of the noise knows which."""
        return constraints.independent(constraints.real, len(self.noise_shape))

    @property
    def codomain(self):
        """Numbers; the function knows which."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def forward_shape(self, shape):
        """(*batch, *noise_shape) -> (*batch, *event_shape), broadcast against the batch of the parameters."""
        return (*self._batch(shape, self.noise_shape), *self.event_shape)

    def inverse_shape(self, shape):
        """(*batch, *event_shape) -> (*batch, *noise_shape), broadcast against the batch of the parameters."""
        return (*self._batch(shape, self.event_shape), *self.noise_shape)

    def tree_flatten(self):
        """Parameters are data; the function and the shapes are static."""
        return (self.params,), (self.fn, self.batch_ndims, self.noise_shape, self.event_shape)

    @classmethod
    def tree_unflatten(cls, aux_data, params):
        """Inverse of `tree_flatten`; checks nothing, because JAX passes placeholders."""
        fn, *rest = aux_data
        return cls(fn, *params, *rest)

    def eq(self, other, static=False):
        """Equality of type, function, shapes and parameters."""
        if not isinstance(other, FunctionTransform) or self.tree_flatten()[1] != other.tree_flatten()[1]:
            return False
        equal = [jnp.array_equal(a, b) for a, b in zip(self.params, other.params, strict=True)]
        return bool(jnp.all(jnp.array(equal))) if static else jnp.all(jnp.array(equal))


class Pushforward(dist.TransformedDistribution):
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

    arg_constraints: ClassVar[dict] = {}
    pytree_data_fields = ()
    pytree_aux_fields = ("smooth",)

    def __init__(
        self,
        noise: dist.Distribution,
        fn: Callable[..., Any],
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
        self.smooth = smooth
        transform = FunctionTransform(fn, arrays, batch_ndims, one.shape, made.shape)
        super().__init__(noise, [transform], validate_args=validate_args)

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative."""
        return ["params"] if self.has_rsample else []

    @property
    def has_rsample(self) -> bool:
        """Whether samples can be differentiated: noise behind a discrete draw has no path either."""
        return self.smooth and self.base_dist.has_rsample
