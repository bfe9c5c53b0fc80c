"""Random polycrystal: many Voronoi cells on the torus, each of a random phase."""

import operator
from typing import Any, ClassVar, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import broadcast_batches, float_arrays, require, require_phases
from ._pushforward import AbstractPushforward, parameter, uniform
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
    cuts = jnp.concatenate([jnp.zeros_like(fractions[..., :1]), sums, jnp.ones_like(fractions[..., :1])], axis=-1)
    steps = [jnp.clip((1 + (uniforms[..., None] - cuts + k) / temperature) / 2, 0, 1) for k in (-1, 0, 1)]
    above = sum((s**2 * (3 - 2 * s) for s in steps), jnp.zeros_like(cuts))
    shares = above[..., :-1] - above[..., 1:]
    return jnp.where(shares < 0, 0, shares)  # by rounding


def _phases_of(
    noise: Array, fractions: Array, seeds: Array | None, temperature: Array | None, *, grid: Grid, sharp: bool
) -> Float[Array, "*batch_and_grid phases"]:
    """Volume fractions of the phases (*batch, *grid, J), of seeds and one uniform number for the phase of each.

    The noise is both, shape (*batch, K, d + 1); or, if the seeds are given, the numbers alone, (*batch, K).
    """
    noise = noise.astype(fractions.dtype)
    if seeds is None:
        seeds, noise, fractions = noise[..., :-1], noise[..., -1], fractions[..., None, :]
    membership = labels(noise, fractions) if temperature is None else relaxed_labels(noise, fractions, temperature)
    return voronoi_phases(seeds, membership, grid, sharp=sharp)


class VoronoiPhases(AbstractPushforward):
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
    no_path = (
        "phases of cells, and sharp voxels, are discrete. Give a `temperature`, and with `seeds` also `sharp=False`."
    )
    fractions = parameter("fractions", "Probabilities of the phases, (*batch, J), or (*batch, K, J) for given seeds.")
    seeds = parameter("seeds", "The given positions, shape (*batch, K, d), or None if they are drawn.")

    def __init__(
        self,
        grid: Grid,
        fractions: ArrayLike,
        num_seeds: SupportsIndex | None = None,
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
            noise = uniform((*grid.lengths, 1.0), (_checked_number(num_seeds), grid.ndim + 1), fractions.dtype)
            batch_shape, paths = fractions.shape[:-1], {}
        else:
            fractions, seeds = float_arrays(fractions, seeds)
            if seeds.ndim < 2 or seeds.shape[-1] != grid.ndim or seeds.shape[-2] < 1:
                raise ValueError(
                    f"seeds has shape {seeds.shape}; positions of K >= 1 seeds, (*batch, K, {grid.ndim}), are expected "
                    f"on a grid of shape {grid.shape}."
                )
            require(np.isfinite, "seeds", seeds, "finite")
            num = seeds.shape[-2]
            if fractions.ndim < 2 or fractions.shape[-2] not in (1, num):
                raise ValueError(
                    f"fractions has shape {fractions.shape}; with {num} seeds, (*batch, {num}, J) is expected, one row "
                    "for each seed. If all have the same, pass `fractions[..., None, :]`."
                )
            noise = uniform(1.0, (num,), fractions.dtype)
            batch_shape = broadcast_batches(fractions=fractions.shape[:-2], seeds=seeds.shape[:-2])
            paths = {"seeds": not sharp}
        require_phases("fractions", fractions, "one for each phase", 1)
        if temperature is not None:
            temperature = jnp.asarray(temperature, fractions.dtype)
            require(lambda t: (t > 0) & (t <= 1) & (np.ndim(t) == 0), "temperature", temperature, "a number in (0, 1]")
        super().__init__(
            noise,
            _phases_of,
            {"fractions": fractions, "seeds": seeds, "temperature": temperature},
            options={"grid": grid, "sharp": sharp},
            batch_shape=batch_shape,
            event_shape=(*grid.shape, fractions.shape[-1]),
            paths={"fractions": temperature is not None, **paths},
            validate_args=validate_args,
        )


def _checked_number(num_seeds: Any) -> int:
    try:
        number = 0 if isinstance(num_seeds, bool) else operator.index(num_seeds)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"num_seeds must be a whole number >= 1; got {num_seeds!r}. Pass positions as `seeds=`.")
    return number
