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

    def value_and_slopes(self, displacement: tuple[Array, ...], tip: float) -> tuple[Array, tuple[Array, ...]]:
        """|x - z|, and the unit vector that points away from the seed."""
        distance = jnp.sqrt(sum(component**2 for component in displacement) + tip**2)
        return distance, tuple(component / distance for component in displacement)


class SquaredDistance(AbstractDistance):
    """The squared distance |x - z|^2: the power diagram, with straight interfaces.

    Delays carry the unit of length squared; they are not start times.
    """

    def value_and_slopes(self, displacement: tuple[Array, ...], tip: float) -> tuple[Array, tuple[Array, ...]]:
        """|x - z|^2 and 2 (x - z)."""
        squared = jnp.asarray(sum(component**2 for component in displacement))
        return squared, tuple(2 * component for component in displacement)


@eqx.filter_jit
def voxel_fractions(
    seeds: Float[Array, "*batch phases d"],
    delays: Float[Array, "*batch phases"],
    grid: Grid,
    distance: AbstractDistance,
    *,
    sharp: bool,
) -> Float[Array, "*batch_and_grid phases"]:
    """Volume fraction of each phase in each voxel of a periodic cell, >= 0, with sum one; seeds modulo the period.

    Continuous, with continuous first derivatives in seeds and delays away from events of measure zero. The error is of
    second order in the voxel size. The cost grows like J^3, in three dimensions like J^4. If `sharp`, the one-hot phase
    of each voxel's centre; its derivatives are zero.
    """
    offsets, delays = _offsets(seeds, grid), _last_first(delays, grid.ndim)
    if not sharp:
        return cut_voxels(offsets, delays, grid, distance)
    nearest = tuple(_nearest_image(*pair) for pair in zip(offsets, grid.lengths, strict=True))
    values = distance.value_and_slopes(nearest, 0.0)[0] + delays
    return jax.nn.one_hot(jnp.argmin(values, axis=0), values.shape[0], dtype=values.dtype)


def cut_voxels(
    offsets: Sequence[Float[Array, "#seeds *#batch_and_grid"]],
    delays: Float[Array, "*#seeds_batch_and_grid"],
    grid: Grid,
    distance: AbstractDistance,
) -> Float[Array, "*batch_and_grid seeds"]:
    """Part of each voxel that is nearest to each of J seeds, shape (*batch, *grid, J).

    Given are the offsets of the voxels' centres from the seeds, one array for each axis, and the delays, in shapes that
    broadcast to (J, *batch, *grid).
    """
    unit = min(grid.spacing)
    folded = [periodic_offset(*axis) for axis in zip(offsets, grid.lengths, grid.spacing, strict=True)]
    values, slopes = distance.value_and_slopes(tuple(offset for offset, _ in folded), _TIP * unit)
    planes = [(values + delays) / unit]
    planes += [s * factor * (h / unit) for s, (_, factor), h in zip(slopes, folded, grid.spacing, strict=True)]
    return regions(*jnp.broadcast_arrays(*planes))


def _offsets(seeds: Float[Array, "*batch phases d"], grid: Grid) -> list[Array]:
    """Centres of the voxels minus seeds (*batch, J, d), for each axis, shape (J, *batch, 1, .., n, .., 1)."""
    offsets = []
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        z = _last_first(seeds[..., axis], grid.ndim)
        centers = (jnp.arange(n, dtype=z.dtype) + 0.5) * h
        offsets.append(centers.reshape([n if i == axis - grid.ndim else 1 for i in range(-z.ndim, 0)]) - z)
    return offsets


def _last_first(values: Float[Array, "*batch J"], num_axes: int) -> Float[Array, "J *batch_and_ones"]:
    """The last axis becomes the first, and axes of size one come after all."""
    return jnp.moveaxis(values, -1, 0).reshape(values.shape[-1:] + values.shape[:-1] + (1,) * num_axes)


def _nearest_image(offset: Array, length: float) -> Array:
    return offset - length * jnp.round(offset / length)


def periodic_offset(offset: Array, length: float, h: float) -> tuple[Array, Array]:
    """Nearest periodic image of a coordinate difference, and its derivative.

    |offset| as a function of position is a tent with its fold at half a period. A voxel that contains the fold sees
    two images; it gets a mean plane of the two. The fold is rounded off over its width h, by a quartic that makes
    value, slope and curvature continuous.
    """
    offset = _nearest_image(offset, length)
    size = jnp.abs(offset)
    t = jnp.clip((length / 2 - size) / (h / 2), 0.0, 1.0)
    excess = (h / 2) * ((3 + 6 * t**2 - t**4) / 8 - t)
    return offset - jnp.sign(offset) * excess, (3 * t - t**3) / 2
