"""What all microstructures have in common: they are laws of a function of noise."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform

_ADVICE = (
    "it is the image of noise under a map without inverse. Fit its parameters by comparing populations "
    "(MinimumDistance, generalized_bayes), or make the noise itself the latent variable with "
    "`numpyro.handlers.reparam(config={site: TransformReparam()})`."
)


class PushforwardTransform(Transform):
    """`fn(noise, **params, **options)`, without an inverse; batches of noise and parameters broadcast.

    NumPyro's `TransformedDistribution` knows nothing of parameters of a transform: the shapes tell it of their batch.
    """

    def __init__(
        self,
        fn: Callable[..., Array],
        params: dict[str, Any],
        options: dict[str, Any],
        batch_shape: tuple[int, ...],
        noise_shape: tuple[int, ...],
        event_shape: tuple[int, ...],
        support: constraints.Constraint,
        paths: dict[str, bool],
    ):
        self.fn, self.params, self.options, self.support, self.paths = fn, params, options, support, paths
        self.batch_shape, self.noise_shape, self.event_shape = batch_shape, noise_shape, event_shape

    def __call__(self, x: ArrayLike) -> Array:
        """Noise (*batch, *noise_shape) -> samples (*batch, *event_shape)."""
        x = jnp.broadcast_to(x, (*self._batch(jnp.shape(x), self.noise_shape), *self.noise_shape))
        return self.fn(x, **self.params, **self.options)

    def _inverse(self, y: ArrayLike) -> Array:
        return _without_density(self, y, self.inverse_shape(jnp.shape(y)), "cannot be inverted")

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike, intermediates: Any = None) -> Array:
        """Raise: there is no density."""
        return _without_density(self, y, self._batch(jnp.shape(y), self.event_shape))

    def _batch(self, shape: tuple[int, ...], event_shape: tuple[int, ...]) -> tuple[int, ...]:
        return jnp.broadcast_shapes(shape[: len(shape) - len(event_shape)], self.batch_shape)

    @property
    def domain(self) -> constraints.Constraint:
        """Numbers; the distribution of the noise knows which."""
        return constraints.independent(constraints.real, len(self.noise_shape))

    @property
    def codomain(self) -> constraints.Constraint:
        """What the support of one point says, at all points of an event."""
        return constraints.independent(self.support, len(self.event_shape) - self.support.event_dim)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*batch, *noise_shape) -> (*batch, *event_shape)."""
        return (*self._batch(shape, self.noise_shape), *self.event_shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*batch, *event_shape) -> (*batch, *noise_shape)."""
        return (*self._batch(shape, self.event_shape), *self.noise_shape)

    def tree_flatten(self) -> tuple:
        """Parameters are data, all else is static."""
        data = ("params", "support")
        return (self.params, self.support), (data, {k: v for k, v in vars(self).items() if k not in (*data, "_inv")})

    def eq(self, other: object, static: bool = False) -> ArrayLike:
        """Equality of type, function, options, shapes and parameters."""
        return eqx.tree_equal(self, other)


class AbstractPushforward(dist.TransformedDistribution):
    """The law of `fn(noise, **params, **options)`, without a density.

    A family is a subclass of a constructor alone, which checks its arguments and calls this one: `_laguerre.py` is the
    file to imitate. Batches and plates, pytrees, the truth about derivatives and the advice in place of a density are
    written here. Arguments that a user may look at, or a population must, are made visible by `parameter`; those named
    in `arg_constraints` have to be. `no_path` says what to do where there is no path derivative.

    Args:
        noise: a distribution with the dtype of the samples, one event for each sample. It may itself be a pushforward.
        fn: module-level function of noise (*batch, *noise.event_shape), and of `params` and `options` by name, to
            samples (*batch, *event_shape). Parameters come as they are: their batch axes broadcast against `batch`.
        params: arrays, or trees of them, by name.
        options: what else `fn` takes by name: static, and comparable.
        batch_shape: that of the parameters.
        event_shape: that of one sample.
        paths: for each argument, whether samples have a right derivative in it with the noise held. Not so if it acts
            through a decision (a label, a threshold, a sharp voxel), where the path derivative is zero or wrong.
        support: constraint on the values at one point.
        validate_args: NumPyro's switch.
    """

    arg_constraints: ClassVar[dict] = {}
    no_path: ClassVar[str] = "it decides (labels, thresholds), or its noise is discrete."

    def __init__(
        self,
        noise: dist.Distribution,
        fn: Callable[..., Array],
        params: Mapping[str, Any],
        *,
        batch_shape: tuple[int, ...],
        event_shape: tuple[int, ...],
        paths: Mapping[str, bool],
        support: constraints.Constraint = constraints.simplex,
        options: Mapping[str, Any] | None = None,
        validate_args: bool | None = None,
    ):
        shapes = batch_shape, noise.event_shape, event_shape
        transform = PushforwardTransform(fn, dict(params), dict(options or {}), *shapes, support, dict(paths))
        super().__init__(noise, [transform], validate_args=validate_args)

    def __init_subclass__(cls, **kwargs: Any):
        cls.pytree_data_fields = ()  # NumPyro would take those of arg_constraints, which belong to the transform
        super().__init_subclass__(**kwargs)

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative; none, if the noise is discrete."""
        return [name for name, has_path in self.transforms[-1].paths.items() if has_path and self.base_dist.has_rsample]

    @property
    def has_rsample(self) -> bool:
        """Whether samples have a path derivative in every argument."""
        return all(self.transforms[-1].paths.values()) and self.base_dist.has_rsample

    def rsample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Array:
        """Sample with path derivatives.

        Raises:
            NotImplementedError: if an argument has none.
        """
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self).__name__} has no path derivative in all arguments: {self.no_path}")
        return self.sample(key, sample_shape)

    def log_prob(self, value: ArrayLike, intermediates: Any = None) -> Array:
        """Raise: the law has no density."""
        return _without_density(self, value, jnp.shape(value)[: jnp.ndim(value) - self.event_dim])


def parameter(name: str, doc: str) -> property:
    """An attribute of a pushforward: one of its `params`."""
    return property(lambda law: law.transforms[-1].params[name], doc=doc)


def uniform(high: float | Sequence[float], shape: tuple[int, ...], dtype: Any) -> dist.Distribution:
    """Numbers between zero and `high`, independent and uniform: one event of this shape."""
    ends = jnp.asarray(high, dtype)
    return dist.Uniform(jnp.zeros_like(ends), ends).expand(shape).to_event(len(shape))


def _without_density(law: Any, value: ArrayLike, shape: tuple[int, ...], deed: str = "has no density") -> Array:
    """Raise, to those who ask a pushforward for its log density at `value`.

    NumPyro's `get_dependencies`, `get_model_relations` and `render_model` run log densities without computing them,
    only to see what they depend on. They get zeros that depend on the value and on the parameters.
    """
    for frame, _ in traceback.walk_stack(None):
        module = frame.f_globals.get("__name__", "")
        if module == "numpyro.infer.inspect":
            parts = [jnp.sum(jnp.asarray(leaf, float)) for leaf in jax.tree.leaves((law, value))]
            return jnp.broadcast_to(0.0 * sum(parts), shape)
        if module.startswith("numpyro_homog.population"):  # our own look at a population, on the way from there
            break
    raise NotImplementedError(f"{type(law).__name__} {deed}: {_ADVICE}")
