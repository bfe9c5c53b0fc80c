"""The geometry of VoronoiPhases: exact cuts, symmetries, dimensions, areas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

import numpyro_homog as nh
from numpyro_homog.distributions import LaguerreTessellation, SquaredDistance, VoronoiPhases
from numpyro_homog.distributions._voronoi import num_cells

GRID = nh.Grid((8, 8))
KEY = jax.random.key(0)
FRACTIONS = jnp.array([0.5, 0.3, 0.2])


def voronoi_phases(seeds, membership, grid, *, sharp):
    """The cells of given seeds, each of a phase for certain: `membership` is one-hot."""
    return VoronoiPhases(grid, membership, seeds=seeds, sharp=sharp).transforms[0](jnp.full(seeds.shape[:-1], 0.5))


def all_planes(seeds, membership, grid):
    """By the exact areas of all K cells in every voxel."""
    delays = jnp.zeros(seeds.shape[-2], seeds.dtype)
    cells = LaguerreTessellation(grid, delays, distance=SquaredDistance()).transforms[0](seeds)
    return jnp.einsum("b...k,bkj->b...j", cells, membership)


def random_cells(num, batch=3, kind="uniform"):
    z = jax.random.uniform(jax.random.key(num), (batch, num, 2))
    z = 0.9 + 0.2 * z if kind == "clustered" else z
    return z, jax.nn.one_hot(jax.random.randint(KEY, (batch, num), 0, 3), 3, dtype=z.dtype)


@pytest.mark.parametrize("num", [1, 2, 4])
def test_few_seeds_are_cut_exactly(num):
    seeds, membership = random_cells(num)
    found = voronoi_phases(seeds, membership, GRID, sharp=False)
    np.testing.assert_allclose(found, all_planes(seeds, membership, GRID), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "num"), [(64, 45), (32, 45), (12, 12)])
def test_many_seeds_are_cut_as_by_all_planes(n, num):
    grid = nh.Grid((n, n))
    seeds, membership = random_cells(num)
    error = jnp.abs(voronoi_phases(seeds, membership, grid, sharp=False) - all_planes(seeds, membership, grid))
    assert float((error.max(-1) > 1e-4).mean()) < 0.01, "voxels with more cells than are cut are rare"
    assert float(error.mean()) < 2e-4


@pytest.mark.parametrize("kind", ["uniform", pytest.param("clustered", marks=pytest.mark.x32)])
def test_fractions_agree_with_sharp_voxels_of_a_fine_grid(kind):
    seeds, membership = random_cells(60, kind=kind)
    smooth = voronoi_phases(seeds, membership, nh.Grid((32, 32)), sharp=False)
    assert float(smooth.min()) >= 0
    np.testing.assert_allclose(smooth.sum(-1), 1, atol=1e-5)
    fine = voronoi_phases(seeds, membership, nh.Grid((512, 512)), sharp=True)
    error = np.abs(smooth - fine.reshape(-1, 32, 16, 32, 16, 3).mean((2, 4))).ravel()
    # An interface crosses about twenty of the 256 fine voxels in a coarse one. Clustered seeds crowd in some voxels.
    assert np.quantile(error, 0.99) < (0.03 if kind == "uniform" else 0.2)
    assert error.mean() < (2e-3 if kind == "uniform" else 1e-2)


@pytest.mark.parametrize("sharp", [False, True])
def test_symmetries(sharp, eps):
    grid = nh.Grid((32, 32))
    seeds, membership = random_cells(50)

    def phases(z, m=membership):
        return np.asarray(voronoi_phases(z, m, grid, sharp=sharp))

    f, close = phases(seeds), {"atol": 1e5 * eps}
    order = jax.random.permutation(KEY, 50)
    np.testing.assert_allclose(phases(seeds[:, order], membership[:, order]), f, **close)
    np.testing.assert_allclose(phases(seeds + jnp.array([3, 5]) / 32), np.roll(f, (3, 5), (1, 2)), **close)
    np.testing.assert_allclose(phases(seeds - 2.0), f, **close)
    np.testing.assert_allclose(phases(seeds[..., ::-1]), np.swapaxes(f, 1, 2), **close)


@pytest.mark.x64_only
@pytest.mark.slow
def test_derivative_in_given_seeds_agrees_with_differences():
    grid = nh.Grid((16, 16))
    seeds, _ = random_cells(50)
    weights, direction = jax.random.normal(KEY, (3, 16, 16, 3)), jax.random.normal(jax.random.key(1), seeds.shape)

    @jax.jit
    def f(z):
        law = VoronoiPhases(grid, FRACTIONS[None], seeds=z)
        return jnp.sum(weights * law.sample(KEY))

    step = 1e-6
    difference = (f(seeds + step * direction) - f(seeds - step * direction)) / (2 * step)
    assert float(jnp.sum(jax.grad(f)(seeds) * direction)) == pytest.approx(float(difference), rel=1e-5)


def test_groups_of_members_change_nothing(eps):
    grid = nh.Grid((16, 16))  # sixteen members at a time
    seeds, membership = random_cells(40, batch=37)
    together = voronoi_phases(seeds, membership, grid, sharp=True)
    np.testing.assert_array_equal(together[30:], voronoi_phases(seeds[30:], membership[30:], grid, sharp=True))


@pytest.mark.parametrize("grid", [nh.Grid((60,)), nh.Grid((6, 7, 8))])
def test_sharp_cells_exist_in_any_dimension(grid):
    sample = VoronoiPhases(grid, FRACTIONS, 50, sharp=True).sample(KEY, (3,))
    assert sample.shape == (3, *grid.shape, 3)
    assert set(np.unique(sample)) == {0.0, 1.0}


@pytest.mark.x32
@pytest.mark.parametrize("shape", [(60,), pytest.param((12, 10, 14), marks=pytest.mark.slow)])
def test_fractions_in_any_dimension(shape):
    fine = nh.Grid(tuple(4 * n for n in shape))
    smooth = VoronoiPhases(nh.Grid(shape), FRACTIONS, 20).sample(KEY, (2,))
    np.testing.assert_allclose(smooth.sum(-1), 1, atol=1e-5)
    sharp = VoronoiPhases(fine, FRACTIONS, 20, sharp=True).sample(KEY, (2,))
    coarse = np.stack([nh.coarsen(np.asarray(cell), 4) for cell in sharp])
    assert np.abs(smooth - coarse).mean() < 0.015


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "n", "num"),
    [(2, 28, 45), (2, 20, 45), (2, 14, 45), (3, 34, 30), (3, 16, 30), (3, 13, 30), (3, 9, 30)],
)
def test_one_voxel_in_a_hundred_meets_more_cells_than_are_cut(d, n, num):
    """Sizes just below each of the widths where one more cell is cut; cells are looked for at 10^d points."""
    rng = np.random.default_rng(0)
    points = (np.stack(np.meshgrid(*[np.arange(10)] * d, indexing="ij"), -1).reshape(-1, d) + 0.5) / 10 - 0.5
    missed = []
    for _ in range(60):
        tree = cKDTree(rng.random((num, d)), boxsize=1.0)
        centers = rng.random((50, d))
        cut = tree.query(centers, k=num_cells(nh.Grid((n,) * d), num))[1]
        met = tree.query(np.mod(centers[:, None] + points / n, 1.0))[1]
        missed += [not np.isin(here, nearest).all() for here, nearest in zip(met, cut, strict=True)]
    assert np.mean(missed) < 0.015  # 3000 voxels: the standard error is .002


@pytest.mark.slow
def test_areas_of_cells_have_the_known_second_moment():
    # E A^2 = 1.280 (E A)^2 for Poisson seeds (Gilbert 1962). On the torus the total is fixed, which changes it by the
    # order 1 / K. A phase with small probability p, one seed in 1 / p: var of its volume is p (1 - p) K E A^2.
    num, grid = 200, nh.Grid((128, 128))
    seeds = jax.random.uniform(KEY, (100, num, 2))
    membership = jnp.eye(num, dtype=seeds.dtype)[None]
    areas = np.concatenate(
        [np.asarray(voronoi_phases(z[None], membership, grid, sharp=True).mean((1, 2)))[0] for z in seeds]
    )
    second = ((num * areas) ** 2).reshape(100, num).mean(1)
    error = second.std() / 10
    assert error < 0.008
    assert abs(second.mean() - 1.280) < 4 * error + 0.28 / num  # false alarms: 1 in 10,000
