"""Volume fractions of phases in voxels, from geometry. Pure JAX: no NumPyro here.

The phases are the lower envelope of J functions (one per seed). In a voxel each function is replaced by its tangent
plane at the voxel's centre; the envelope of planes then cuts the square voxel into J polygons, whose areas are the
fractions. The areas are exact, triple points included, for any number of planes.
"""

import abc
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
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
    """The distance |x - z|: phases nucleate at their delays and grow at one speed (Johnson and Mehl, 1939).

    Interfaces are branches of hyperbolas. Delays carry the unit of length (time times the unit speed of growth).
    """

    def value_and_slopes(self, displacement, tip):
        """|x - z|, and the unit vector that points away from the seed."""
        squared = sum(component**2 for component in displacement)
        distance = jnp.sqrt(squared + jnp.asarray(tip**2, squared.dtype))
        return distance, tuple(component / distance for component in displacement)


class SquaredDistance(AbstractDistance):
    """The squared distance |x - z|^2: the power (strictly: Laguerre) diagram, with straight interfaces.

    Delays carry the unit of length squared; they are not start times.
    """

    def value_and_slopes(self, displacement, tip):
        """|x - z|^2 and 2 (x - z)."""
        return sum(component**2 for component in displacement), tuple(2 * component for component in displacement)


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
    unit = min(grid.spacing)
    scaled = [slope * jnp.asarray(h / unit, slope.dtype) for slope, h in zip(slopes, grid.spacing, strict=True)]
    return jnp.stack(_areas(values / jnp.asarray(unit, values.dtype), *scaled), axis=-1)


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
        offset = offset - jnp.asarray(length, dtype) * jnp.round(offset / jnp.asarray(length, dtype))
        offset, factor = _fold(offset, length, h) if smooth else (offset, jnp.ones_like(offset))
        shape = offset.shape[:-1] + (1,) * axis + (n,) + (1,) * (d - 1 - axis)
        displacement.append(offset.reshape(shape))
        factors.append(factor.reshape(shape))
    full = displacement[0].shape[:-d] + grid.shape
    displacement = tuple(jnp.broadcast_to(component, full) for component in displacement)
    tip = _TIP * min(grid.spacing) if smooth else 0.0
    values, slopes = distance.value_and_slopes(displacement, tip)
    w = jnp.moveaxis(delays, -1, 0)
    values = values + w.reshape(w.shape + (1,) * d)
    return values, [slope * jnp.broadcast_to(factor, full) for slope, factor in zip(slopes, factors, strict=True)]


def _fold(offset, length, h):
    """Round the fold of the periodic distance off, where the nearest image changes, over the width of one voxel.

    |offset| as a function of position is a tent with its fold at half a period. A voxel that contains the fold sees
    two images; it gets a mean plane of the two. The quartic makes value, slope and curvature continuous.
    """
    size = jnp.abs(offset)
    t = jnp.clip((length / 2 - size) / (h / 2), 0.0, 1.0)
    excess = (h / 2) * ((3 + 6 * t**2 - t**4) / 8 - t)
    return offset - jnp.sign(offset) * excess, (3 * t - t**3) / 2


def _sides(values, slopes_x, slopes_y):
    """For each pair j < k: the edge that j and k share within the voxel, and the linear function that is >= 0 on j."""
    num, dtype = values.shape[0], values.dtype
    tiny = 4 * jnp.finfo(dtype).eps
    half = jnp.asarray(0.5, dtype)
    linear, pairs = {}, list(itertools.combinations(range(num), 2))
    for j, k in pairs:
        linear[j, k] = tuple(plane[k] - plane[j] for plane in (values, slopes_x, slopes_y))
        linear[k, j] = tuple(-coefficient for coefficient in linear[j, k])

    def reciprocal(x):
        return 1 / jnp.where(jnp.abs(x) < tiny, jnp.where(x < 0, -tiny, tiny), x)

    sides = {}
    for j, k in pairs:
        c, a, b = linear[j, k]
        q = a**2 + b**2
        scale = -c / jnp.maximum(q, tiny**2)
        x0, y0 = scale * a, scale * b
        inv_a, inv_b = reciprocal(a), reciprocal(b)
        # Points of the line are (x0 - b t, y0 + a t); both coordinates stay within [-1/2, 1/2].
        low = jnp.maximum(x0 * inv_b - half * jnp.abs(inv_b), -y0 * inv_a - half * jnp.abs(inv_a))
        high = jnp.minimum(x0 * inv_b + half * jnp.abs(inv_b), -y0 * inv_a + half * jnp.abs(inv_a))
        for other in range(num):
            if other in (j, k):
                continue
            c2, a2, b2 = linear[j, other]
            rate = b2 * a - a2 * b
            bound = -(c2 + a2 * x0 + b2 * y0) * reciprocal(rate)
            low = jnp.where(rate < 0, low, jnp.maximum(low, bound))
            high = jnp.where(rate < 0, jnp.minimum(high, bound), high)
        extent = jnp.where(q > tiny**2, jnp.maximum(high - low, 0), jnp.zeros_like(q))
        middle = (low + high) / 2
        sides[j, k] = (linear[j, k], inv_b, extent, (x0 - b * middle, y0 + a * middle))
    return sides


@jax.custom_jvp
def _areas(values, slopes_x, slopes_y):
    """Areas of the regions of the unit square about 0 in which each of J planes is the lowest; a list of J arrays.

    Divergence theorem with the field (x + 1/2, 0), whose flux leaves through the interfaces and the right edge only.
    """
    num, half = values.shape[0], jnp.asarray(0.5, values.dtype)
    sides = _sides(values, slopes_x, slopes_y)
    low, high = [jnp.full_like(values[0], -0.5)] * num, [jnp.full_like(values[0], 0.5)] * num
    flux = [jnp.zeros_like(values[0])] * num
    for (j, k), ((c, a, _), inv_b, extent, (x, _)) in sides.items():
        bound = -(c + half * a) * inv_b
        below = inv_b < 0  # on the right edge j lies below the bound and k above; or the other way round
        high[j] = jnp.where(below, jnp.minimum(high[j], bound), high[j])
        low[k] = jnp.where(below, jnp.maximum(low[k], bound), low[k])
        low[j] = jnp.where(below, low[j], jnp.maximum(low[j], bound))
        high[k] = jnp.where(below, high[k], jnp.minimum(high[k], bound))
        through = (x + half) * a * extent
        flux[j], flux[k] = flux[j] - through, flux[k] + through
    lengths = [jnp.maximum(upper - lower, 0) for lower, upper in zip(low, high, strict=True)]
    areas = [jnp.maximum(length + leaving, 0) for length, leaving in zip(lengths, flux, strict=True)]
    total = sum(areas[1:], areas[0])
    return [area / total for area in areas]


def _areas_jvp(primals, tangents):
    """An area changes by the integral, over its edges, of the change of the linear function that bounds it."""
    sides = _sides(*primals)
    areas = _areas(*primals)
    changes: list[Array | None] = [None] * primals[0].shape[0]
    for (j, k), (_, _, extent, middle) in sides.items():
        moments = (None, *middle)
        change = None
        for tangent, moment in zip(tangents, moments, strict=True):
            if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
                continue
            term = tangent[k] - tangent[j] if moment is None else (tangent[k] - tangent[j]) * moment
            change = term if change is None else change + term
        if change is not None:
            changes[j] = change * extent if changes[j] is None else changes[j] + change * extent
            changes[k] = -change * extent if changes[k] is None else changes[k] - change * extent
    return areas, [jnp.zeros_like(primals[0][0]) if change is None else change for change in changes]


_areas.defjvp(_areas_jvp, symbolic_zeros=True)
