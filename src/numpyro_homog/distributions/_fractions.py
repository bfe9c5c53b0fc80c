"""Volume fractions of phases in voxels, from geometry. Pure JAX: no NumPyro here.

The phases are the lower envelope of J functions (one per seed). In a voxel each function is replaced by its tangent
plane at the voxel's centre; the envelope of planes then cuts the voxel into J polygons or polyhedra, whose volumes are
the fractions. The volumes are exact, triple points included, for any number of planes.
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from numpyro_homog.grids import Grid

from ._envelopes import regions

# The tip of a distance cone is rounded over this part of a voxel's edge, so that derivatives exist at the seed.
_TIP = 0.1


class AbstractDistance(eqx.Module):
    """What a seed measures, as a function of the displacement from it.

    To add one, subclass it as a frozen Equinox module and return, from the components of the displacement, the value
    and its partial derivatives. Both must be finite everywhere, also at zero displacement.
    """

    @abc.abstractmethod
    def value_and_slopes(self, displacement: tuple[Array, ...], tip: float) -> tuple[Array, tuple[Array, ...]]:
        """Value and partial derivatives at `displacement` (d arrays that broadcast); cone tips rounded over `tip`."""


class EuclideanDistance(AbstractDistance):
    """The distance |x - z|: phases nucleate at their delays and grow at one speed.

    This is the model of Johnson and Mehl (1939).

    Interfaces are branches of hyperbolas. Delays carry the unit of length (time times the unit speed of growth).
    """

    def value_and_slopes(self, displacement, tip):
        """|x - z|, and the unit vector that points away from the seed."""
        squared = sum(component**2 for component in displacement)
        distance = jnp.sqrt(squared + jnp.asarray(tip**2, squared.dtype))
        return distance, tuple(component / distance for component in displacement)


class SquaredDistance(AbstractDistance):
    """The squared distance |x - z|^2: the power diagram, with straight interfaces.

    Delays carry the unit of length squared; they are not start times.
    """

    def value_and_slopes(self, displacement, tip):
        """|x - z|^2 and 2 (x - z)."""
        return sum(component**2 for component in displacement), tuple(2 * component for component in displacement)


@eqx.filter_jit
def voxel_fractions(
    seeds: Float[Array, "*batch phases d"],
    delays: Float[Array, "*batch phases"],
    grid: Grid,
    distance: AbstractDistance,
) -> Float[Array, "*batch_and_grid phases"]:
    """Volume fraction of each phase in each voxel of a periodic cell.

    Continuous, with continuous first derivatives in seeds and delays away from events of measure zero.

    Args:
        seeds: positions, one per phase, shape (*batch, J, d), in the unit of `grid.lengths`; taken modulo the period.
        delays: additive weights, shape (*batch, J), same batch and dtype as `seeds`.
        grid: the voxels, in d = 1, 2 or 3 dimensions.
        distance: what is compared between the seeds.

    Returns:
        Fractions, shape (*batch, *grid, J), >= 0, with sum one. The error is of second order in the voxel size.
        The cost grows like J^3, in three dimensions like J^4.
    """
    values, slopes = _tangent_planes(seeds, delays, grid, distance, smooth=True)
    return envelope_fractions(values, slopes, grid)


def envelope_fractions(values: Array, slopes: Sequence[Array], grid: Grid) -> Float[Array, "*batch_and_grid planes"]:
    """Part of each voxel where each of J planes is the lowest, shape (*batch, *grid, J).

    `values` at the voxel centres and the d partial derivatives, `slopes`, have shape (J, *batch, *grid).
    """
    unit = min(grid.spacing)
    scaled = [slope * jnp.asarray(h / unit, slope.dtype) for slope, h in zip(slopes, grid.spacing, strict=True)]
    return regions(values / jnp.asarray(unit, values.dtype), *scaled)


@eqx.filter_jit
def voxel_labels(
    seeds: Float[Array, "*batch phases d"],
    delays: Float[Array, "*batch phases"],
    grid: Grid,
    distance: AbstractDistance,
) -> Float[Array, "*batch_and_grid phases"]:
    """One-hot phase of each voxel's centre, shape (*batch, *grid, J); its derivatives are zero. Any dimension."""
    values, _ = _tangent_planes(seeds, delays, grid, distance, smooth=False)
    return jax.nn.one_hot(jnp.argmin(values, axis=0), values.shape[0], dtype=values.dtype)


def _tangent_planes(seeds, delays, grid, distance, smooth):
    """Values (J, *batch, *grid) of distance plus delay at the voxel centres, and their d partial derivatives."""
    dtype, d = seeds.dtype, grid.ndim
    displacement, factors = [], []
    for axis, (n, h, length) in enumerate(zip(grid.shape, grid.spacing, grid.lengths, strict=True)):
        centers = (jnp.arange(n, dtype=dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(h, dtype)
        z = jnp.moveaxis(seeds[..., axis], -1, 0)[..., None]
        offset = centers.reshape((1,) * (z.ndim - 1) + (n,)) - z
        if smooth:
            offset, factor = periodic_offset(offset, length, h)
        else:
            offset, factor = _nearest_image(offset, length), jnp.ones_like(offset)
        shape = offset.shape[:-1] + (1,) * axis + (n,) + (1,) * (d - 1 - axis)
        displacement.append(offset.reshape(shape))
        factors.append(factor.reshape(shape))
    full = displacement[0].shape[:-d] + grid.shape
    components = tuple(jnp.broadcast_to(component, full) for component in displacement)
    tip = _TIP * min(grid.spacing) if smooth else 0.0
    values, slopes = distance.value_and_slopes(components, tip)
    w = jnp.moveaxis(delays, -1, 0)
    values = values + w.reshape(w.shape + (1,) * d)
    return values, [slope * jnp.broadcast_to(factor, full) for slope, factor in zip(slopes, factors, strict=True)]


def _nearest_image(offset, length):
    length = jnp.asarray(length, offset.dtype)
    return offset - length * jnp.round(offset / length)


def periodic_offset(offset: Array, length: float, h: float) -> tuple[Array, Array]:
    """Nearest periodic image of a coordinate difference, and its derivative.

    The fold, where the nearest image changes, is rounded off over the width h of one voxel.

    |offset| as a function of position is a tent with its fold at half a period. A voxel that contains the fold sees
    two images; it gets a mean plane of the two. The quartic makes value, slope and curvature continuous.
    """
    offset = _nearest_image(offset, length)
    size = jnp.abs(offset)
    t = jnp.clip((length / 2 - size) / (h / 2), 0.0, 1.0)
    excess = (h / 2) * ((3 + 6 * t**2 - t**4) / 8 - t)
    return offset - jnp.sign(offset) * excess, (3 * t - t**3) / 2
