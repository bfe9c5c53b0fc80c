"""How the lower envelope of planes divides a voxel. Pure JAX: no NumPyro here.

In the unit cube about 0, in d dimensions, region j is where plane j of J is the lowest. Its volume follows from the
divergence theorem with the field (x + 1/2, 0, ...), whose flux leaves through the interfaces and the end x = 1/2 only;
the end is divided as an envelope of one dimension less. Volumes are exact, however many planes meet.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

HALF = 0.5  # of an edge
Voxels: TypeAlias = Float[Array, "*voxels"]
Planes: TypeAlias = Float[Array, "J *voxels"]
Function: TypeAlias = tuple[Voxels, ...]  # linear: its value at 0 and its partial derivatives


@jax.custom_jvp
def regions(values: Planes, *slopes: Planes) -> Float[Array, "*voxels J"]:
    """Volumes of the regions, >= 0, with sum one, from the values of the planes at 0 and their d partial derivatives.

    The cost grows like J^3 in the plane and J^4 in space.
    """
    volumes = _regions(values, slopes)
    return jnp.moveaxis(volumes / jnp.sum(volumes, axis=0, keepdims=True), 0, -1)  # the sum is one, but for rounding


def _regions_jvp(
    primals: tuple[Planes, ...], tangents: tuple
) -> tuple[Float[Array, "*voxels J"], Float[Array, "*voxels J"]]:
    """A volume changes by the integral, over its interfaces, of the change of the linear function that bounds it."""
    volumes = regions(*primals)
    num = volumes.shape[-1]
    if num == 1:
        return volumes, jnp.zeros_like(volumes)
    moments = _interfaces(primals[0], primals[1:])
    changes = [jnp.zeros_like(volumes[..., 0])] * num
    for i, (j, k) in enumerate(_pairs(num)):
        for tangent, moment in zip(tangents, moments, strict=True):
            if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
                continue
            gain = moment[i] * (tangent[k] - tangent[j])
            changes[j], changes[k] = changes[j] + gain, changes[k] - gain
    return volumes, jnp.stack(changes, axis=-1)


regions.defjvp(_regions_jvp, symbolic_zeros=True)


def _regions(values: Planes, slopes: Sequence[Planes]) -> Planes:
    """Volumes (J, *voxels). Loops over the regions, and not one expression, as in `_interfaces`."""
    num = values.shape[0]
    if num == 1:
        return jnp.ones_like(values)
    each = np.arange(num, dtype=np.int32)
    others = np.array([[k for k in each if k != j] for j in each], np.int32)

    if len(slopes) == 1:

        def interval(indices: tuple[Array, Array]) -> Voxels:
            j, rest = indices
            return _interval([(values[k] - values[j], slopes[0][k] - slopes[0][j]) for k in rest])

        return jax.lax.map(interval, (each, others))
    ends = _regions(values + HALF * slopes[0], slopes[1:])
    size, first, *_ = _interfaces(values, slopes)
    which = {pair: i for i, pair in enumerate(map(tuple, _pairs(num)))}
    shared = np.array([[which[min(j, k), max(j, k)] for k in row] for j, row in enumerate(others)], np.int32)

    def region(indices: tuple[Array, Array, Array]) -> Voxels:
        j, rest, between = indices
        flux = ends[j]
        for i in range(num - 1):
            flux = flux - (slopes[0][rest[i]] - slopes[0][j]) * (first[between[i]] + HALF * size[between[i]])
        return jnp.maximum(flux, 0)

    return jax.lax.map(region, (each, others, shared))


def _interfaces(values: Planes, slopes: Sequence[Planes]) -> tuple[Float[Array, "pairs *voxels"], ...]:
    """Moments of the interface of each pair j < k: of 1, x, ... over it, divided by the length of the gradient.

    Arrays of shape (pairs, *voxels). The linear function whose gradient it is, plane k minus plane j, is positive on
    the side of j. A loop over the pairs, and not one expression: XLA would fuse that one with its consumers and repeat
    it in each of them.
    """
    num = values.shape[0]
    pairs = _pairs(num)
    others = np.array([[i for i in range(num) if i not in pair] for pair in pairs], np.int32)
    moments = (_point_moments, _edge_moments, _facet_moments)[len(slopes) - 1]

    def interface(indices: tuple[Array, Array, Array]) -> Function:
        j, k, rest = indices

        def minus_j(i: Array) -> Function:
            return tuple(plane[i] - plane[j] for plane in (values, *slopes))

        return moments(minus_j(k), [minus_j(rest[i]) for i in range(num - 2)])

    return jax.lax.map(interface, (pairs[:, 0], pairs[:, 1], others))


def _point_moments(line: Function, others: list[Function]) -> Function:
    c, a = line
    tiny = 4 * jnp.finfo(c.dtype).eps
    x = -c * _reciprocal(a)
    inside = (jnp.abs(x) <= HALF) & (jnp.abs(a) > tiny)
    for c2, a2 in others:
        inside &= c2 + a2 * x >= 0
    size = jnp.where(inside, jnp.abs(_reciprocal(a)), jnp.zeros_like(c))
    return size, size * x


def _edge_moments(line: Function, others: list[Function]) -> Function:
    extent, x, y = _chord(line, others)
    return extent, extent * x, extent * y


def _chord(line: Function, others: list[Function]) -> Function:
    """The part in the unit square of the line c + a x + b y = 0 where no function of `others` is negative.

    Its length divided by |(a, b)|, and the coordinates of its middle.
    """
    c, a, b = line
    tiny = 4 * jnp.finfo(c.dtype).eps
    q = a**2 + b**2
    scale = -c / jnp.maximum(q, tiny**2)
    x0, y0 = scale * a, scale * b
    inv_a, inv_b = _reciprocal(a), _reciprocal(b)
    # Points of the line are (x0 - b t, y0 + a t); both coordinates stay within [-1/2, 1/2].
    low = jnp.maximum(x0 * inv_b - HALF * jnp.abs(inv_b), -y0 * inv_a - HALF * jnp.abs(inv_a))
    high = jnp.minimum(x0 * inv_b + HALF * jnp.abs(inv_b), -y0 * inv_a + HALF * jnp.abs(inv_a))
    for c2, a2, b2 in others:
        low, high = _cut(low, high, c2 + a2 * x0 + b2 * y0, b2 * a - a2 * b)
    extent = jnp.where(q > tiny**2, jnp.maximum(high - low, 0), jnp.zeros_like(q))
    middle = (low + high) / 2
    return extent, x0 - b * middle, y0 + a * middle


def _interval(lines: list[Function]) -> Voxels:
    """Length of the part of [-1/2, 1/2] where none of some linear functions, (value, rate), is negative."""
    low, high = jnp.full_like(lines[0][0], -HALF), jnp.full_like(lines[0][0], HALF)
    for line in lines:
        low, high = _cut(low, high, *line)
    return jnp.maximum(high - low, 0)


def _cut(low: Voxels, high: Voxels, value: Voxels, rate: Voxels) -> tuple[Voxels, Voxels]:
    """The part of an interval where value + rate t is not negative."""
    bound = -value * _reciprocal(rate)
    return jnp.where(rate < 0, low, jnp.maximum(low, bound)), jnp.where(rate < 0, jnp.minimum(high, bound), high)


def _facet_moments(plane: Function, others: list[Function]) -> Function:
    """A facet seen along the axis nearest to its normal: a polygon, cut from the unit square."""
    c, *gradient = plane
    tiny = 4 * jnp.finfo(c.dtype).eps
    x, y, z = (jnp.abs(component) for component in gradient)
    along_x = (x >= y) & (x >= z)
    along_y = ~along_x & (y >= z)

    def turned(x: Voxels, y: Voxels, z: Voxels) -> Function:
        """Cyclically, the axis of sight first."""
        return tuple(jnp.where(along_x, p, jnp.where(along_y, q, r)) for p, q, r in ((x, y, z), (y, z, x), (z, x, y)))

    first, second, third = turned(*gradient)
    inverse = _reciprocal(first)
    depth = tuple(-part * inverse for part in (c, second, third))  # on the plane, a linear function of the other two
    cuts = [(HALF + depth[0], *depth[1:]), (HALF - depth[0], -depth[1], -depth[2])]
    for value, *slopes in others:
        a, *rest = turned(*slopes)
        cuts.append(tuple(part + a * deep for part, deep in zip((value, *rest), depth, strict=True)))
    area, mean_second, mean_third = _polygon_moments(cuts)
    scale = jnp.where(jnp.abs(first) > tiny, jnp.abs(inverse), jnp.zeros_like(c))
    mean_first = depth[0] * area + depth[1] * mean_second + depth[2] * mean_third
    p, q, r = (scale * part for part in (mean_first, mean_second, mean_third))
    back = (jnp.where(along_x, i, jnp.where(along_y, j, k)) for i, j, k in ((p, r, q), (q, p, r), (r, q, p)))
    return scale * area, *back


def _polygon_moments(cuts: list[Function]) -> Function:
    """Area and first moments of the part of the unit square where no linear function of `cuts` is negative."""
    area = _interval([(c + HALF * a, b) for c, a, b in cuts])
    in_x, in_y = jnp.zeros_like(area), jnp.zeros_like(area)
    for i, (c, a, b) in enumerate(cuts):
        extent, x, y = _chord((c, a, b), cuts[:i] + cuts[i + 1 :])
        area = area - a * extent * (x + HALF)
        # The fields ((x^2 - 1/4) / 2, 0) and (0, (y^2 - 1/4) / 2) have no flux through the square's own edges.
        in_x = in_x - a * extent * (x**2 + (b * extent) ** 2 / 12 - HALF**2) / 2
        in_y = in_y - b * extent * (y**2 + (a * extent) ** 2 / 12 - HALF**2) / 2
    return area, in_x, in_y


def _pairs(num: int) -> Int[np.ndarray, "pairs 2"]:
    return np.stack(np.triu_indices(num, 1), axis=-1).astype(np.int32)


def _reciprocal(x: Voxels) -> Voxels:
    tiny = 4 * jnp.finfo(x.dtype).eps
    return 1 / jnp.where(jnp.abs(x) < tiny, jnp.where(x < 0, -tiny, tiny), x)
