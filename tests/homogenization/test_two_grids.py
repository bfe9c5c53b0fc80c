"""TwoGridCell: what it computes, its order, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import numpyro_homog as nh

KEY = jax.random.key(4)
KAPPA = jnp.array([1.0, 5.0, 10.0])


def cell_of(n, law=None, dimension=2, **options):
    options = {"tolerance": 1e-9} | options
    return nh.CellProblem(nh.Grid((n,) * dimension), law or nh.Conductivity(), nh.Periodic(), **options)


@pytest.mark.x64_only
@pytest.mark.parametrize("rule", [pytest.param("LaminateMixing", marks=pytest.mark.slow), "GeometricMixing"])
@pytest.mark.parametrize(
    ("physics", "dimension"),
    [
        ("conduction", 2),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("conduction", 3), ("elasticity", 2))),
    ],
)
def test_it_is_the_extrapolation_of_two_cells_with_block_means_of_the_fractions(physics, dimension, rule):
    rule = getattr(nh.homogenization, rule)()
    law, kappa = nh.Conductivity(), KAPPA
    if physics == "elasticity":
        law, kappa = nh.LinearElasticity(), nh.lame_from_young(KAPPA, jnp.array([0.3, 0.2, 0.4]))
    cell, coarse = (cell_of(n, law, dimension) for n in (8, 4))
    phases = jax.random.dirichlet(KEY, jnp.ones(3), (2, *cell.grid.shape))
    blocks = jnp.stack([jnp.asarray(nh.coarsen(np.asarray(member), 2)) for member in phases])
    fine, rough = (
        nh.effective_tensor(problem, nh.mix(fractions, kappa, rule, grid=problem.grid))
        for problem, fractions in ((cell, phases), (coarse, blocks))
    )
    found = nh.effective_tensor(nh.TwoGridCell(cell, rule), (phases, kappa))
    np.testing.assert_allclose(found, (4 * fine - rough) / 3, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.x64_only
def test_smooth_coefficients_gain_two_orders():
    """Fractions that vary as a cosine, block means of a fine image: errors fall as h^2 without, as h^4 with it."""
    size = 256
    x, y = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
    share = 0.5 + 0.4 * np.cos(2 * np.pi * x) * np.sin(2 * np.pi * y) + 0.05 * np.cos(2 * np.pi * (x + y))
    image = np.stack([share, 1 - share], axis=-1)
    kappa, rule = jnp.array([1.0, 4.0]), nh.homogenization.ArithmeticMixing()

    def error(cell_of_size, n):
        tensor = cell_of_size(jnp.asarray(nh.coarsen(image, size // n)), cell_of(n))
        return np.abs(np.asarray(tensor - exact)).max()

    def plain(phases, cell):
        return nh.effective_tensor(cell, nh.mix(phases, kappa, rule))

    def extrapolated(phases, cell):
        return nh.effective_tensor(nh.TwoGridCell(cell, rule), (phases, kappa))

    exact = extrapolated(jnp.asarray(image), cell_of(size))
    orders = {
        name: np.log2(error(solve, 16) / error(solve, 32))
        for name, solve in (("plain", plain), ("extrapolated", extrapolated))
    }
    assert 1.9 < orders["plain"] < 2.1
    assert 3.5 < orders["extrapolated"] < 4.5


@pytest.mark.slow
@pytest.mark.x64_only
def test_laminate_voxels_with_the_primal_dual_mean_lose_half_of_their_bias():
    """Against sharp cells at n = 256: the mean trace of 60 cells. Their scatter grows by less than a half."""
    seeds = jax.random.uniform(KEY, (60, 3, 2))

    def phases(n, sharp):
        return nh.LaguerreTessellation(nh.Grid((n, n)), jnp.array([0.0, 0.1, 0.05]), sharp=sharp).transforms[0](seeds)

    exact = nh.effective_tensor(cell_of(256, tolerance=1e-7), phases(256, True) @ KAPPA)
    cell = cell_of(32, tolerance=1e-7, discretization=nh.PrimalDual())
    errors = [
        jnp.trace(found - exact, axis1=-2, axis2=-1) / jnp.trace(exact, axis1=-2, axis2=-1)
        for found in (
            nh.effective_tensor(cell, nh.mix(phases(32, False), KAPPA)),
            nh.effective_tensor(nh.TwoGridCell(cell), (phases(32, False), KAPPA)),
        )
    ]
    assert abs(errors[1].mean()) < 0.5 * abs(errors[0].mean())
    assert jnp.abs(errors[1]).mean() < 1.5 * jnp.abs(errors[0]).mean()


@pytest.mark.slow
def test_it_is_a_site_of_a_model():
    cell = nh.TwoGridCell(cell_of(6, tolerance=1e-4))

    def model(num_specimens):
        kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 0.5).expand([3]).to_event(1))
        with numpyro.plate("specimens", num_specimens):
            phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.cell.grid, jnp.zeros(3)))
            nh.homogenize("K_eff", cell, (phases, kappa))

    population = nh.population.Simulator(model, ["K_eff"], (5,))
    assert population.derivatives == {"kappa": ("path",)}
    assert population.simulate({"kappa": KAPPA}, KEY)["K_eff"].shape == (5, 2, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nh.TwoGridCell(nh.LaminateCell()), TypeError, "CellProblem on a Grid"),
        (lambda: nh.TwoGridCell(cell_of(5)), ValueError, r"even along each axis; got \(5, 5\)"),
        (lambda: nh.TwoGridCell(cell_of(4), rule="laminate"), TypeError, "LaminateMixing"),
        (
            lambda: nh.effective_tensor(nh.TwoGridCell(cell_of(4)), jnp.ones((4, 4))),
            ValueError,
            r"pair \(phases, kappa",
        ),
        (lambda: nh.effective_tensor(nh.TwoGridCell(cell_of(4)), (jnp.ones((2, 2, 3)), KAPPA)), ValueError, "grid"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_grid_that_is_too_coarse_is_said_and_no_number_is_given():
    """Layers of single voxels at contrast 1000: the blocks are an arithmetic mean, a hundred times too conductive."""
    image = np.indices((4, 4))[0] % 2
    phases = jnp.asarray(np.stack([image, 1 - image], -1), float)
    cell = nh.TwoGridCell(cell_of(4, tolerance=1e-3), nh.homogenization.ArithmeticMixing())
    field = (phases, jnp.array([1.0, 1e3]))
    thin = nh.effective_tensor(cell, field, throw=False)
    with pytest.raises(RuntimeError, match="too coarse"):
        jax.block_until_ready(nh.effective_tensor(cell, field))
    assert np.isnan(np.asarray(thin)).all()
