"""Random polycrystal: many Voronoi cells on the torus, each of a random phase."""

import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import float_arrays, require
from ._pushforward import PushforwardTransform, without_density
from ._voronoi import voronoi_phases


def labels(uniforms: Array, fractions: Array) -> Float[Array, "*seeds phases"]:
    """One-hot phases of seeds, by inverse CDF."""
    label = jnp.sum(uniforms[..., None] >= jnp.cumsum(fractions, axis=-1)[..., :-1], axis=-1)
    return jax.nn.one_hot(label, fractions.shape[-1], dtype=fractions.dtype)


def relaxed_labels(uniforms: Array, fractions: Array, temperature: Array) -> Float[Array, "*seeds phases"]:
    """Shares of the phases in the cells of seeds: `labels` averaged over u' about u, with a bump of that half-width.

    The bump, 3 (1 - t^2) / 4 with t = (u' - u) / temperature, is periodic in u; so shares have the mean of the labels.
    """
    sums = jnp.cumsum(fractions, axis=-1)[..., :-1]
    ends = jnp.zeros((*sums.shape[:-1], 1), sums.dtype)
    cuts = jnp.concatenate([ends, sums, ends + 1], axis=-1)
    above = jnp.zeros(jnp.broadcast_shapes(uniforms.shape, cuts.shape[:-1]) + cuts.shape[-1:], cuts.dtype)
    for period in (-1, 0, 1):
        s = jnp.clip((1 + (uniforms[..., None] - cuts + period) / temperature) / 2, 0, 1)
        above = above + s**2 * (3 - 2 * s)
    shares = above[..., :-1] - above[..., 1:]
    return jnp.where(shares < 0, 0, shares)  # by rounding


class VoronoiTransform(PushforwardTransform):
    """Noise -> volume fractions of the phases, shape (*batch, *grid, J).

    The noise is (*batch, K, d + 1), the positions of the seeds and one uniform number for the phase of each; or, if the
    seeds are given, (*batch, K), the uniform numbers alone.
    """

    def __init__(self, grid: Grid, num_seeds: int, sharp: bool, fractions, seeds, temperature):
        self.static = (grid, num_seeds, sharp)
        self.fractions, self.seeds, self.temperature = fractions, seeds, temperature

    def __call__(self, x):
        """Rasterise; computed in the dtype of the parameters."""
        grid, num_seeds, sharp = self.static
        x = jnp.asarray(x).astype(self.fractions.dtype)
        if self.seeds is None:
            seeds, uniforms, fractions = x[..., :-1], x[..., -1], self.fractions[..., None, :]
        else:
            seeds, uniforms, fractions = self.seeds, x, self.fractions
        if self.temperature is None:
            membership = labels(uniforms, fractions)
        else:
            membership = relaxed_labels(uniforms, fractions, self.temperature)
        batch = jnp.broadcast_shapes(seeds.shape[:-2], membership.shape[:-2])
        seeds, membership = (
            jnp.broadcast_to(part, (*batch, num_seeds, part.shape[-1])).reshape(-1, num_seeds, part.shape[-1])
            for part in (seeds, membership)
        )
        phases = voronoi_phases(seeds, membership, grid, sharp=sharp)
        return phases.reshape(*batch, *phases.shape[1:])

    @property
    def domain(self):
        """Positions in the box of the cell and numbers in the unit interval."""
        if self.seeds is not None:
            return constraints.independent(constraints.unit_interval, 1)
        return constraints.independent(constraints.interval(0.0, upper_ends(self.static[0], self.fractions.dtype)), 2)

    @property
    def codomain(self):
        """Points of the simplex, one per voxel."""
        return constraints.independent(constraints.simplex, self.static[0].ndim)

    def _batch(self, batch):
        parameters = self.fractions.shape[:-1]
        if self.seeds is not None:
            parameters = jnp.broadcast_shapes(self.fractions.shape[:-2], self.seeds.shape[:-2])
        return jnp.broadcast_shapes(batch, parameters)

    def forward_shape(self, shape):
        """Shape of the noise -> (*batch, *grid, J), broadcast against the batch of the parameters."""
        batch = shape[: -self.domain.event_dim]
        return (*self._batch(batch), *self.static[0].shape, self.fractions.shape[-1])

    def inverse_shape(self, shape):
        """(*batch, *grid, J) -> shape of the noise, broadcast against the batch of the parameters."""
        grid, num_seeds, _ = self.static
        event = (num_seeds, grid.ndim + 1) if self.seeds is None else (num_seeds,)
        return (*self._batch(shape[: -1 - grid.ndim]), *event)

    def tree_flatten(self):
        """Fractions, seeds and temperature are data; grid, number of seeds and sharpness are static."""
        return (self.fractions, self.seeds, self.temperature), self.static

    @classmethod
    def tree_unflatten(cls, aux_data, params):
        """Inverse of `tree_flatten`; checks nothing, because JAX passes placeholders."""
        return cls(*aux_data, *params)

    def eq(self, other, static=False):
        """Equality of type, static parts and data."""
        if not isinstance(other, VoronoiTransform):
            return False
        mine, theirs = ([t.fractions, t.seeds, t.temperature] for t in (self, other))
        if self.static != other.static or [a is None for a in mine] != [b is None for b in theirs]:
            return False
        equal = jnp.all(jnp.array([jnp.array_equal(a, b) for a, b in zip(mine, theirs, strict=True) if a is not None]))
        return bool(equal) if static and not isinstance(equal, jax.core.Tracer) else equal


def upper_ends(grid: Grid, dtype) -> Array:
    """The greatest values of the noise of a seed: the lengths of the cell, and one."""
    return jnp.asarray((*grid.lengths, 1.0), dtype)


class VoronoiPhases(dist.TransformedDistribution):
    """Voronoi cells of many seeds on the torus, their phases drawn from volume fractions.

    K seeds z_k are uniform on the periodic cell and independent; a point belongs to the seed nearest to it on the
    torus, and has its phase m_k, which is j with probability f_j (`fractions`). The mean volume fractions are f.
    Fractions that vary in space: draw the seeds in the model, evaluate the fractions there, and pass both.

    A sample is the volume fraction of each phase in each voxel: interfaces are straight, and cut the voxels exactly.
    At most 4 cells share a voxel (5, 6, 8 if a voxel is wider than .25, .35, .5 spacings of the seeds, in space than
    .1, .2, .25), those of the seeds nearest to its centre; uniform seeds seldom ask for more.

    It is a pushforward: there is no density, `log_prob` raises. The noise is uniform, K seeds and a number u_k for the
    phase of each, by inverse CDF; `TransformReparam` exposes it, and holding the key holds it. A phase is a discrete
    draw: samples are piecewise constant in `fractions`, without a path derivative, and `reparametrized_params` says so
    (`generalized_bayes` warns). `MinimumDistance` needs none if the fractions are drawn from a density, of Dirichlet
    say, and refuses otherwise. Other ways out: a `temperature`; a handler that replaces the cell by a smooth map of
    the fractions; a sampler without gradients. Derivatives with respect to given seeds are right unless `sharp`.

    Args:
        grid: the voxels.
        fractions: probabilities f of the phases, in [0, 1] with sum one. Shape (*batch, J) with `num_seeds`; with
            `seeds` (*batch, K, J), or (*batch, 1, J) if all seeds have the same.
        num_seeds: number K >= 1 of seeds, drawn uniformly. Give this or `seeds`.
        seeds: positions, shape (*batch, K, d), finite, in the unit of `grid.lengths`, taken modulo the period.
        temperature: softness of the phases, in (0, 1], a scalar; default: none. The cell of a seed then holds a
            mixture: the labels averaged over numbers within `temperature` of u_k (modulo one). The mean volume
            fractions are still f, exactly; but 2 J temperature of the seeds are mixed, which biases effective tensors
            (docs/microstructures.md measures it). The derivative in `fractions` is right for this model.
        sharp: a voxel belongs to the seed nearest to its centre: one-hot samples, but for a `temperature`.
        validate_args: check `fractions` when they are concrete (NumPyro's convention).

    Raises:
        ValueError: at construction, if both or none of `num_seeds` and `seeds` are given, if shapes do not fit, if
            `seeds` or `temperature` are concrete and out of range; with `validate_args`, if `fractions` are.

    Costs about .15 us per voxel on one core (float32; `sharp`: .04 us), less than the solve of the cell, for any number
    of seeds that are few to a voxel; in space .7 us, about the solve (docs/microstructures.md). Crowded seeds are found
    by a slower search.

    References:
        Okabe, Boots, Sugihara, Chiu, Spatial Tessellations (2000), chapter 5.

    Example:
        >>> grid = nh.Grid((64, 64))
        >>> law = nh.VoronoiPhases(grid, jnp.array([0.5, 0.3, 0.2]), 100)
        >>> law.sample(jax.random.key(0), (4,)).shape
        (4, 64, 64, 3)
        >>> seeds = jax.random.uniform(jax.random.key(1), (100, 2))
        >>> share = seeds[:, :1]
        >>> graded = nh.VoronoiPhases(grid, jnp.concatenate([share, 1 - share], axis=-1), seeds=seeds)
    """

    arg_constraints: ClassVar = {
        "fractions": constraints.simplex,
        "seeds": constraints.dependent(is_discrete=False, event_dim=2),
    }
    pytree_data_fields = ()

    def __init__(
        self,
        grid: Grid,
        fractions: ArrayLike,
        num_seeds: int | None = None,
        *,
        seeds: ArrayLike | None = None,
        temperature: ArrayLike | None = None,
        sharp: bool = False,
        validate_args: bool | None = None,
    ):
        if (num_seeds is None) == (seeds is None):
            raise ValueError(
                "Give either the number of seeds, `num_seeds`, or their positions, `seeds`; got "
                + ("none of them." if seeds is None else "both.")
            )
        if seeds is None:
            (fractions,) = float_arrays(fractions)
            num_seeds = _checked_number(num_seeds)
            noise = dist.Uniform(jnp.zeros(grid.ndim + 1, fractions.dtype), upper_ends(grid, fractions.dtype))
            noise = noise.expand((num_seeds, grid.ndim + 1)).to_event(2)
        else:
            fractions, seeds = float_arrays(fractions, seeds)
            num_seeds = _checked_seeds(seeds, grid)
            ends = jnp.zeros((), fractions.dtype), jnp.ones((), fractions.dtype)
            noise = dist.Uniform(*ends).expand((num_seeds,)).to_event(1)
        _check_fractions(fractions, seeds)
        if temperature is not None:
            temperature = jnp.asarray(temperature, fractions.dtype)
            require(lambda t: (t > 0) & (t <= 1) & (np.ndim(t) == 0), "temperature", temperature, "a number in (0, 1]")
        transform = VoronoiTransform(grid, num_seeds, sharp, fractions, seeds, temperature)
        super().__init__(noise, [transform], validate_args=validate_args)

    @property
    def fractions(self) -> Float[Array, "*batch phases"]:
        """Probabilities of the phases, shape (*batch, J), or (*batch, K, J) for given seeds."""
        return self.transforms[0].fractions

    @property
    def seeds(self) -> Float[Array, "*batch seeds d"] | None:
        """The given positions, shape (*batch, K, d), or None if they are drawn."""
        return self.transforms[0].seeds

    @property
    def reparametrized_params(self) -> list[str]:
        """Parameters with a path derivative: fractions with a `temperature`, given seeds unless `sharp`."""
        _, _, sharp = self.transforms[0].static
        fractions = [] if self.transforms[0].temperature is None else ["fractions"]
        return fractions if self.seeds is None or sharp else [*fractions, "seeds"]

    @property
    def has_rsample(self) -> bool:
        """Whether samples can be differentiated with respect to all parameters that there are."""
        parameters = ["fractions"] if self.seeds is None else ["fractions", "seeds"]
        return self.reparametrized_params == parameters

    def rsample(self, key, sample_shape=()):
        """Sample with path derivatives.

        Raises:
            NotImplementedError: if a parameter has none.
        """
        if not self.has_rsample:
            raise NotImplementedError(
                "phases of cells, and sharp voxels, are discrete and have no path derivative: give a `temperature`, "
                "and with `seeds` also `sharp=False`."
            )
        return self.sample(key, sample_shape)

    def log_prob(self, value, intermediates=None):
        """Raise: the law has no density."""
        return without_density(self, value, self.event_dim)


def _checked_number(num_seeds):
    try:
        number = 0 if isinstance(num_seeds, bool) else operator.index(num_seeds)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"num_seeds must be a whole number >= 1; got {num_seeds!r}. Pass positions as `seeds=`.")
    return number


def _checked_seeds(seeds, grid):
    if seeds.ndim < 2 or seeds.shape[-1] != grid.ndim or seeds.shape[-2] < 1:
        raise ValueError(
            f"seeds has shape {seeds.shape}; positions of K >= 1 seeds, (*batch, K, {grid.ndim}), are expected on a "
            f"grid of shape {grid.shape}."
        )
    require(np.isfinite, "seeds", seeds, "finite")
    return seeds.shape[-2]


def _check_fractions(fractions, seeds):
    if fractions.ndim < 1 or fractions.shape[-1] < 1:
        raise ValueError(f"fractions has shape {fractions.shape}; one for each phase is expected on the last axis.")
    if seeds is None:
        return
    num = seeds.shape[-2]
    if fractions.ndim < 2 or fractions.shape[-2] not in (1, num):
        raise ValueError(
            f"fractions has shape {fractions.shape}; with {num} seeds, (*batch, {num}, J) is expected, one row for "
            "each seed. If all have the same, pass `fractions[..., None, :]`."
        )
    try:
        np.broadcast_shapes(fractions.shape[:-2], seeds.shape[:-2])
    except ValueError:
        message = f"fractions has shape {fractions.shape} and seeds {seeds.shape}; their batch shapes do not broadcast."
        raise ValueError(message) from None
