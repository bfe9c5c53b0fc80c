"""The seeds nearest to each voxel of a periodic cell, by a local search. Pure JAX: no NumPyro here.

Voxels are grouped in tiles, which are also bins for the seeds. The voxels of a tile look at the seeds in the window of
bins around it. A seed outside of the window is farther from each of their centres than the *reach*, the width of the
bins that lie between. So the nearest seed is found if one was found within the reach. A seed z whose Voronoi cell
meets a voxel is no farther from its centre c than the nearest seed y and a diagonal D of the voxel: for a point x of
both, d(c, z) <= d(x, z) + D / 2 <= d(x, y) + D / 2 <= d(c, y) + D. Those are found if the last sum is within the reach.
Should one voxel fail the test, all seeds are examined.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from numpyro_homog.grids import Grid

_State: TypeAlias = tuple[Array, ...]  # what is kept of the seeds that were examined
_WIDTH = 5  # bins of a window along each axis
_BLOCK = 16  # seeds examined in one turn of a loop; XLA makes slower code of shorter blocks
_EXPECTED = 16.0  # uniform seeds within the reach of a point, on average: one voxel in exp(16) fails the test


def nearest_seed(seeds: Float[Array, "batch seeds d"], grid: Grid) -> Int[Array, "batch *grid"]:
    """Index of the seed (modulo the period) nearest to each voxel's centre; of seeds equally near, one."""

    def examine(state: _State, square: Array, index: Array) -> _State:
        nearer = square < state[0]
        return jnp.where(nearer, square, state[0]), jnp.where(nearer, index, state[1])

    nothing = (math.inf, seeds.dtype), (0, jnp.int32)
    return _search(seeds, grid, nothing, examine, lambda state: jnp.sqrt(state[0]), 0.0)[1]


def nearest_seeds(seeds: Float[Array, "batch seeds d"], grid: Grid, num: int) -> Int[Array, "num batch *grid"]:
    """Indices of the `num` <= K seeds nearest to each voxel's centre on the torus.

    A seed that is left out is farther than those, or its Voronoi cell does not meet the voxel. Squared distances that
    differ by less than K parts in 2^23 may be confused.
    """
    low = np.int32((1 << max(1, (seeds.shape[1] - 1).bit_length())) - 1)
    infinite = np.array(np.inf, np.float32).view(np.int32)

    # Floats >= 0, read as integers, keep their order. The index takes the place of the last bits.
    def examine(state: _State, square: Array, index: Array) -> _State:
        packed = (jax.lax.bitcast_convert_type(square.astype(jnp.float32), jnp.int32) & ~low) | index
        kept = []
        for best in state:
            kept.append(jnp.minimum(best, packed))
            packed = jnp.maximum(best, packed)
        return tuple(kept)

    def distance(state: _State) -> Array:
        square = jax.lax.bitcast_convert_type(state[0] | low, jnp.float32)
        return jnp.where(state[-1] >= infinite, jnp.inf, jnp.sqrt(square))  # infinite: less than `num` were found

    nothing = ((np.iinfo(np.int32).max, jnp.int32),) * num
    diagonal = math.hypot(*grid.spacing) / min(grid.spacing)
    return jnp.stack(_search(seeds, grid, nothing, examine, distance, diagonal)) & low


def _plan(grid: Grid, num_seeds: int, margin: float) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """The narrowest tiles whose windows reach far enough for uniform seeds; the last one of an axis may be narrower.

    For each axis their edge, in voxels, and number; and the reach, in voxel edges, infinite if a window is the cell.
    """
    d, unit = grid.ndim, min(grid.spacing)
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    wanted = (_EXPECTED * math.prod(grid.lengths) / num_seeds / ball) ** (1 / d) / unit + margin
    axes = []
    for n, h in zip(grid.shape, grid.spacing, strict=True):
        for edge in range(1, n + 1):
            bins = -(-n // edge)
            last = n - (bins - 1) * edge
            reach = math.inf if bins <= _WIDTH else ((_WIDTH // 2 - 1) * edge + last) * h / unit
            if reach >= wanted:
                break
        axes.append((edge, bins, reach))
    edges, counts, reaches = zip(*axes, strict=True)
    reach = 0.999 * min(reaches)  # a little less, for the rounding of distances
    return (grid.shape, (1,) * d, reach) if math.isinf(reach) else (edges, counts, reach)


def _search(
    seeds: Float[Array, "batch seeds d"],
    grid: Grid,
    nothing: Sequence[tuple],
    examine: Callable[[_State, Array, Array], _State],
    distance: Callable[[_State], Array],
    margin: float,
) -> tuple[Shaped[Array, "batch *grid"], ...]:
    """What is kept of all seeds of interest to each voxel, parts of shape (batch, *grid); lengths in voxel edges.

    `nothing` is the value and dtype of each part before the first seed; `examine` changes the parts, given the squared
    distance and the index of one more; `distance` tells from them how far, with the `margin`, the reach must be.
    """
    batch, num_seeds, d = seeds.shape
    dtype, unit = seeds.dtype, min(grid.spacing)
    scale, lengths = np.array(grid.spacing) / unit, jnp.asarray(np.array(grid.lengths) / unit, dtype)
    positions = jnp.mod(seeds / unit, lengths)
    edge, bins, reach = _plan(grid, num_seeds, margin)

    # Layout: (places within a tile, members and their tiles). Seeds vary along the last axis only.
    tiles, places = _points(bins), _points(edge)
    voxels = tiles * np.array(edge) + places[:, None]
    centers = [jnp.tile(jnp.asarray(x, dtype), (1, batch)) for x in np.moveaxis((voxels + 0.5) * scale, -1, 0)]
    start = tuple(jnp.full(centers[0].shape, value, kind) for value, kind in nothing)

    def examine_block(state: _State, seen: tuple, wrap: Sequence[bool]) -> _State:
        coordinates, index = seen
        for i in range(index.shape[0]):
            square = jnp.zeros_like(centers[0])
            for center, coordinate, length, turns in zip(centers, coordinates, lengths, wrap, strict=True):
                gap = jnp.abs(center - coordinate[i])
                square = square + (jnp.minimum(gap, length - gap) if turns else gap) ** 2
            state = examine(state, square, index[i])
        return state

    def examine_all() -> _State:
        size = min(_BLOCK, num_seeds)

        def block(i: Array, state: _State) -> _State:
            index = i * size + jnp.arange(size, dtype=jnp.int32)
            part = jnp.where((index < num_seeds)[:, None], jnp.take(positions, index, axis=1, mode="clip"), jnp.inf)
            part = jnp.repeat(part, len(tiles), axis=0).T
            return examine_block(state, (part, jnp.broadcast_to(index[:, None], part.shape[1:])), (True,) * d)

        return jax.lax.fori_loop(0, -(-num_seeds // size), block, start)

    if math.isinf(reach):
        state = examine_all()
    else:
        longest, block = _windows(positions, lengths, np.array(edge) * scale, bins)
        # Of a seed in the window the image next to the tile is the nearest, or beyond the reach like all others, if
        # the window is not the whole period.
        wrap = [n <= _WIDTH for n in bins]
        num_blocks = (longest + (_BLOCK - 1)) // _BLOCK
        state = jax.lax.fori_loop(0, num_blocks, lambda i, state: examine_block(state, block(i), wrap), start)
        inside = np.all(voxels < np.array(grid.shape), axis=-1)
        missed = (distance(state) + margin > reach) & np.tile(inside, (1, batch))
        # At most one turn. A condition would do the same, but under `vmap` it would always examine all.
        _, state = jax.lax.while_loop(
            lambda carry: carry[0], lambda carry: (jnp.zeros_like(carry[0]), examine_all()), (jnp.any(missed), state)
        )

    order = (d, *itertools.chain(*((d + 1 + axis, axis) for axis in range(d))))
    padded = (batch, *(b * e for b, e in zip(bins, edge, strict=True)))
    cut = (slice(None), *map(slice, grid.shape))
    return tuple(part.reshape(*edge, batch, *bins).transpose(order).reshape(padded)[cut] for part in state)


def _points(shape: Sequence[int]) -> Int[np.ndarray, "size d"]:
    """Multi-indices of an array of this shape."""
    return np.array(list(np.ndindex(*shape)), int).reshape(math.prod(shape), len(shape))


def _windows(
    positions: Float[Array, "batch seeds d"], lengths: Float[Array, " d"], edge: np.ndarray, bins: tuple[int, ...]
) -> tuple[Int[Array, ""], Callable[[Array], tuple[list[Array], Array]]]:
    """The seeds in the window of each tile of each member, as if in one list each.

    Seeds are sorted by bin, the last axis fastest. So the seeds in one row of a window lie side by side, but for the
    period: from `begin` on, and after `end` from `end - turn` on.

    The length of the longest list, and a function of i: coordinates, next to the tile and not beyond the period, and
    indices of the seeds in block i of each list. Shapes (_BLOCK, members and tiles); infinite after the end of a list.
    """
    batch, num_seeds, d = positions.shape
    shape, tiles = np.array(bins, np.int32), _points(bins)
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1).astype(np.int32)
    bin_of = jnp.minimum((positions / jnp.asarray(edge, positions.dtype)).astype(jnp.int32), shape - 1)
    bin_of = jnp.sum(bin_of * strides, axis=-1, dtype=jnp.int32)
    order = jnp.argsort(bin_of, axis=-1)
    every = jnp.arange(math.prod(bins) + 1, dtype=jnp.int32)
    first = jax.vmap(lambda row: jnp.searchsorted(row, every))(jnp.take_along_axis(bin_of, order, axis=-1))

    back = np.where(shape >= _WIDTH, _WIDTH // 2, 0)
    rows = _points(np.minimum(shape[:-1], _WIDTH).tolist())[:, None]
    row = np.sum((tiles[:, :-1] - back[:-1] + rows) % shape[:-1] * strides[:-1], axis=-1)  # (rows, tiles)
    column = np.broadcast_to((tiles[:, -1] - back[-1]) % shape[-1], row.shape)
    stop = column + min(shape[-1], _WIDTH)
    wraps = stop > shape[-1]

    def at(index: np.ndarray) -> Int[Array, "rows tiles"]:
        return jnp.moveaxis(first[:, index], 1, 0).reshape(len(rows), -1).astype(jnp.int32)

    begin, end = at(row + column), at(row + shape[-1])
    turn = end - at(row)
    counts = at(row + stop - np.where(wraps, shape[-1], 0)) - begin
    counts = counts + jnp.where(np.tile(wraps, (1, batch)), turn, 0)
    before = jnp.cumsum(counts, axis=0, dtype=jnp.int32) - counts
    in_list = jnp.sum(counts, axis=0, dtype=jnp.int32)

    indices = order.astype(jnp.int32).ravel()
    coordinates = [jnp.take_along_axis(positions[..., axis], order, axis=-1).ravel() for axis in range(d)]
    member = np.repeat(np.arange(batch, dtype=np.int32) * num_seeds, len(tiles))
    middles = jnp.asarray(np.tile((tiles + 0.5) * edge, (batch, 1)).T, positions.dtype)

    def block(i: Array) -> tuple[list[Array], Array]:
        slot = i * _BLOCK + jnp.arange(_BLOCK, dtype=jnp.int32)[:, None]
        place = jnp.zeros((_BLOCK, in_list.shape[0]), jnp.int32)
        for row_begin, row_end, row_turn, row_before in zip(begin, end, turn, before, strict=True):
            in_row = row_begin + slot - row_before
            in_row = jnp.where(in_row >= row_end, in_row - row_turn, in_row)
            place = jnp.where(slot >= row_before, in_row, place)
        place = jnp.clip(place, 0, num_seeds - 1) + member
        seen = []
        for values, middle, length in zip(coordinates, middles, lengths, strict=True):
            near = values[place]
            near = near - length * jnp.round((near - middle) / length)
            seen.append(jnp.where(slot < in_list, near, jnp.inf))
        return seen, indices[place]

    return jnp.max(in_list), block
