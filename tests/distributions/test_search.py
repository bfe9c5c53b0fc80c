"""The local search for the nearest seeds, against all distances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.distributions import _search
from numpyro_homog.distributions._search import nearest_seed, nearest_seeds

CASES = {
    "square": (nh.Grid((24, 24)), 80),
    "tiles do not fit": (nh.Grid((37, 26)), 90),
    "rectangular voxels in small units": (nh.Grid((30, 24), lengths=(1e-6, 2e-6)), 120),
    "a strip": (nh.Grid((48, 6), lengths=(1.0, 0.1)), 60),
    "more seeds than voxels": (nh.Grid((8, 8)), 100),
    "few seeds": (nh.Grid((9, 8)), 3),
    "one dimension": (nh.Grid((200,)), 50),
    "three dimensions": (nh.Grid((14, 12, 13)), 120),
}


@functools.cache
def centers(grid):
    return np.asarray(grid.centers())


def squares(seeds, grid):
    """All squared distances on the torus, shape (batch, *grid, seeds)."""
    lengths = np.array(grid.lengths)
    gap = np.abs(centers(grid)[None, ..., None, :] - np.asarray(seeds)[:, *[None] * grid.ndim] % lengths)
    return (np.minimum(gap, lengths - gap) ** 2).sum(-1)


def scattered(grid, num, kind):
    z = np.random.default_rng(num).uniform(size=(2, num, grid.ndim))
    if kind == "clustered":
        z = 0.95 + 0.1 * z  # around a corner: most windows are empty
    if kind == "coincident":
        z = np.repeat(z[:, : -(-num // 3)], 3, axis=1)[:, :num]
    return jnp.asarray(z * np.array(grid.lengths))


def names(*chosen):
    """Two of the cases in 32 bits too."""
    both = ("rectangular voxels in small units", "three dimensions")
    return [pytest.param(name, marks=pytest.mark.x32) if name in both else name for name in chosen]


@pytest.mark.parametrize("kind", ["uniform", "clustered", "coincident"])
@pytest.mark.parametrize("name", names(*CASES))
def test_nearest_seed_is_that_of_all_distances(name, kind, eps):
    grid, num = CASES[name]
    seeds = scattered(grid, num, kind)
    found = np.asarray(jax.jit(nearest_seed, static_argnums=1)(seeds, grid))
    square = squares(seeds, grid)
    chosen = np.take_along_axis(square, found[..., None], -1)[..., 0]
    np.testing.assert_allclose(chosen, square.min(-1), rtol=1e3 * eps, atol=1e3 * eps * min(grid.spacing) ** 2)
    if eps < 1e-10 and kind != "coincident":  # otherwise near ties are decided by rounding
        np.testing.assert_array_equal(found, square.argmin(-1))


@pytest.mark.parametrize("kind", ["uniform", "clustered"])
@pytest.mark.parametrize(
    "name", names("tiles do not fit", "rectangular voxels in small units", "more seeds than voxels", "three dimensions")
)
def test_a_seed_that_is_left_out_does_not_matter(name, kind):
    grid, num = CASES[name]
    seeds = scattered(grid, num, kind)
    found = np.moveaxis(np.asarray(jax.jit(nearest_seeds, static_argnums=(1, 2))(seeds, grid, 4)), 0, -1)
    assert all(len(set(row)) == 4 for row in found.reshape(-1, 4))
    square = squares(seeds, grid)
    chosen = np.sqrt(np.take_along_axis(square, found, -1))
    best = np.sqrt(np.sort(square, -1)[..., :4])
    near = best < best[..., :1] + np.hypot.reduce(grid.spacing)
    np.testing.assert_allclose(np.sort(chosen, -1)[near], best[near], rtol=2e-4)  # seven bits hold the index


@pytest.mark.slow
def test_uniform_seeds_seldom_need_a_second_search():
    grid, num = nh.Grid((32, 32)), 200
    _, _, reach = _search._plan(grid, num, 2**0.5)
    seeds = jax.random.uniform(jax.random.key(1), (100, num, 2))
    nearest = np.concatenate([squares(z[None], grid).min(-1) for z in seeds])
    assert (32 * np.sqrt(nearest.max((1, 2))) + 2**0.5 > reach).mean() < 0.02


def test_search_under_vmap():
    grid, num = CASES["square"]
    seeds = jnp.concatenate([scattered(grid, num, kind) for kind in ("uniform", "clustered")])
    each = jax.jit(jax.vmap(lambda z: nearest_seed(z[None], grid)[0]))(seeds)
    np.testing.assert_array_equal(each, squares(seeds, grid).argmin(-1))
