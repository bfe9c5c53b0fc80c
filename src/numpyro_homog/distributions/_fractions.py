"""Volume fractions of phases in voxels, from geometry. Pure JAX: no NumPyro here.

The phases are the lower envelope of J functions (one per seed). In a voxel each function is replaced by its tangent
plane at the voxel's centre; the envelope of planes then cuts the square voxel into J polygons, whose areas are the
fractions. The areas are exact, triple points included, for any number of planes.
"""

import abc
import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from numpyro_homog.grids import Grid

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
        seeds: positions, one per phase, shape (*batch, J, 2), in the unit of `grid.lengths`; taken modulo the period.
        delays: additive weights, shape (*batch, J), same batch and dtype as `seeds`.
        grid: the voxels, two-dimensional.
        distance: what is compared between the seeds.

    Returns:
        Fractions, shape (*batch, *grid, J), >= 0, with sum one. The error is of second order in the voxel size.
        The cost grows like J^3.
    """
    values, slopes = _tangent_planes(seeds, delays, grid, distance, smooth=True)
    return envelope_fractions(values, slopes, grid)


def envelope_fractions(values: Array, slopes: Sequence[Array], grid: Grid) -> Float[Array, "*batch_and_grid planes"]:
    """Part of each voxel where each of J planes is the lowest, shape (*batch, *grid, J).

    `values` at the voxel centres and the two partial derivatives, `slopes`, have shape (J, *batch, *grid).
    """
    unit = min(grid.spacing)
    scaled = [slope * jnp.asarray(h / unit, slope.dtype) for slope, h in zip(slopes, grid.spacing, strict=True)]
    return _areas(values / jnp.asarray(unit, values.dtype), *scaled)


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


def _pairs(num):
    return np.array(list(itertools.combinations(range(num), 2)), dtype=np.int32).reshape(-1, 2)


def _reciprocal(x):
    tiny = 4 * jnp.finfo(x.dtype).eps
    return 1 / jnp.where(jnp.abs(x) < tiny, jnp.where(x < 0, -tiny, tiny), x)


def _edges(values, slopes_x, slopes_y):
    """For each pair of planes j < k: the edge that their regions share within the unit square about 0.

    Three arrays of shape (pairs, *voxels): the length of the edge divided by |(a, b)|, and the coordinates of its
    middle. There c + a x + b y, plane k minus plane j, is positive on the side of j. A loop over the pairs, and not one
    expression: XLA would fuse that one with its consumers and repeat it in each of them.
    """
    num, half = values.shape[0], jnp.asarray(0.5, values.dtype)
    tiny = 4 * jnp.finfo(values.dtype).eps
    pairs = _pairs(num)
    others = np.array([[i for i in range(num) if i not in pair] for pair in pairs], np.int32)

    def edge(indices):
        j, k, rest = indices

        def minus_j(i):
            return tuple(p[i] - p[j] for p in (values, slopes_x, slopes_y))

        c, a, b = minus_j(k)
        q = a**2 + b**2
        scale = -c / jnp.maximum(q, tiny**2)
        x0, y0 = scale * a, scale * b
        inv_a, inv_b = _reciprocal(a), _reciprocal(b)
        # Points of the line are (x0 - b t, y0 + a t); both coordinates stay within [-1/2, 1/2].
        low = jnp.maximum(x0 * inv_b - half * jnp.abs(inv_b), -y0 * inv_a - half * jnp.abs(inv_a))
        high = jnp.minimum(x0 * inv_b + half * jnp.abs(inv_b), -y0 * inv_a + half * jnp.abs(inv_a))
        for i in range(num - 2):
            c2, a2, b2 = minus_j(rest[i])
            rate = b2 * a - a2 * b
            bound = -(c2 + a2 * x0 + b2 * y0) * _reciprocal(rate)
            low = jnp.where(rate < 0, low, jnp.maximum(low, bound))
            high = jnp.where(rate < 0, jnp.minimum(high, bound), high)
        extent = jnp.where(q > tiny**2, jnp.maximum(high - low, 0), jnp.zeros_like(q))
        middle = (low + high) / 2
        return extent, x0 - b * middle, y0 + a * middle

    return jax.lax.map(edge, (pairs[:, 0], pairs[:, 1], others))


@jax.custom_jvp
def _areas(values, slopes_x, slopes_y):
    """Areas, shape (*voxels, J), of the regions of the unit square about 0 in which each of J planes is the lowest.

    Divergence theorem with the field (x + 1/2, 0), whose flux leaves through the interfaces and the right edge only.
    """
    num, half = values.shape[0], jnp.asarray(0.5, values.dtype)
    if num == 1:
        return jnp.ones_like(values[0])[..., None]
    extent, x, _ = _edges(values, slopes_x, slopes_y)
    others = np.array([[k for k in range(num) if k != j] for j in range(num)], np.int32)
    which = {pair: i for i, pair in enumerate(map(tuple, _pairs(num)))}
    shared = np.array([[which[min(j, k), max(j, k)] for k in row] for j, row in enumerate(others)], np.int32)

    def region(indices):
        j, rest, edges = indices
        low, high, flux = jnp.full_like(values[0], -half), jnp.full_like(values[0], half), jnp.zeros_like(values[0])
        for i in range(num - 1):
            c, a, b = (p[rest[i]] - p[j] for p in (values, slopes_x, slopes_y))
            bound = -(c + half * a) * _reciprocal(b)  # the part of the right edge on j's side of the line
            low = jnp.where(b < 0, low, jnp.maximum(low, bound))
            high = jnp.where(b < 0, jnp.minimum(high, bound), high)
            flux = flux - (x[edges[i]] + half) * a * extent[edges[i]]
        return jnp.maximum(jnp.maximum(high - low, 0) + flux, 0)

    areas = jax.lax.map(region, (np.arange(num, dtype=np.int32), others, shared))
    return jnp.moveaxis(areas / jnp.sum(areas, axis=0, keepdims=True), 0, -1)  # the sum is one, but for rounding


def _areas_jvp(primals, tangents):
    """An area changes by the integral, over its edges, of the change of the linear function that bounds it."""
    areas = _areas(*primals)
    num = areas.shape[-1]
    if num == 1:
        return areas, jnp.zeros_like(areas)
    extent, x, y = _edges(*primals)
    changes = [jnp.zeros_like(areas[..., 0])] * num
    for i, (j, k) in enumerate(_pairs(num)):
        for tangent, moment in zip(tangents, (None, x, y), strict=True):
            if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
                continue
            gain = extent[i] * (tangent[k] - tangent[j])
            gain = gain if moment is None else gain * moment[i]
            changes[j], changes[k] = changes[j] + gain, changes[k] - gain
    return areas, jnp.stack(changes, axis=-1)


_areas.defjvp(_areas_jvp, symbolic_zeros=True)
