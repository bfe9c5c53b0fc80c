"""VoronoiPhases as a NumPyro distribution, and its geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import Predictive
from numpyro.infer.reparam import TransformReparam
from numpyro.infer.util import log_density
from scipy.spatial import cKDTree

import numpyro_homog as nh
from numpyro_homog.distributions import SquaredDistance, VoronoiPhases
from numpyro_homog.distributions._fractions import voxel_fractions
from numpyro_homog.distributions._voronoi import num_cells, voronoi_phases
from numpyro_homog.distributions._voronoi_phases import labels, relaxed_labels
from numpyro_homog.population import Simulator

GRID = nh.Grid((8, 8))
KEY = jax.random.key(0)
FRACTIONS = jnp.array([0.5, 0.3, 0.2])


def model(num_specimens, temperature=None):
    alpha = numpyro.sample("alpha", dist.LogNormal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("specimens", num_specimens):
        shares = numpyro.sample("shares", dist.Dirichlet(alpha))
        phases = numpyro.sample("phases", VoronoiPhases(GRID, shares, 4, sharp=True, temperature=temperature))
        numpyro.deterministic("means", phases.mean((-3, -2)))


# --- the distribution ---


def test_shapes():
    law = VoronoiPhases(GRID, jnp.broadcast_to(FRACTIONS, (6, 3)), 4, sharp=True)
    assert law.batch_shape == (6,)
    assert law.event_shape == (8, 8, 3)
    assert law.base_dist.batch_shape == (6,)
    assert law.base_dist.event_shape == (4, 3)
    samples = law.sample(KEY, (2,))
    assert samples.shape == (2, 6, 8, 8, 3)
    assert bool(jnp.all(law.support(samples)))
    assert law.expand((5, 6)).sample(KEY).shape == (5, 6, 8, 8, 3)


def test_shapes_with_given_seeds():
    seeds = jax.random.uniform(KEY, (6, 4, 2))
    law = VoronoiPhases(GRID, jnp.broadcast_to(FRACTIONS, (4, 3)), seeds=seeds, sharp=True)
    assert law.batch_shape == (6,)
    assert law.base_dist.event_shape == (4,)
    assert law.sample(KEY, (2,)).shape == (2, 6, 8, 8, 3)
    batched = VoronoiPhases(GRID, jnp.broadcast_to(FRACTIONS, (5, 1, 1, 3)), seeds=seeds, sharp=True)
    assert batched.batch_shape == (5, 6)
    assert batched.sample(KEY).shape == (5, 6, 8, 8, 3)


@pytest.mark.x32
@pytest.mark.parametrize("options", [{}, {"sharp": True}, {"temperature": 0.1}])
def test_given_seeds_and_drawn_ones_are_one_law(options):
    law = VoronoiPhases(GRID, FRACTIONS, 3, **options)
    noise = law.base_dist.sample(KEY, (5,))
    given = VoronoiPhases(GRID, FRACTIONS[None], seeds=noise[..., :2], **options)
    np.testing.assert_allclose(given.transforms[0](noise[..., 2]), law.transforms[0](noise), atol=1e-5)


@pytest.mark.slow
def test_jit_vmap_and_pytree():
    seeds = jax.random.uniform(KEY, (4, 2))
    for law in (
        VoronoiPhases(GRID, FRACTIONS, 4, sharp=True),
        VoronoiPhases(GRID, FRACTIONS[None], seeds=seeds, sharp=True, temperature=0.1),
    ):
        leaves, structure = jax.tree.flatten(law)
        again = jax.tree.unflatten(structure, leaves)
        assert again.transforms[0] == law.transforms[0]
        assert again.reparametrized_params == law.reparametrized_params
        sample = jax.jit(lambda law, key: law.sample(key))
        np.testing.assert_array_equal(sample(law, KEY), sample(again, KEY))
    assert VoronoiPhases(GRID, FRACTIONS, 4).transforms[0] != law.transforms[0]
    batch = jax.vmap(lambda f: VoronoiPhases(GRID, f, 4, sharp=True))(jnp.broadcast_to(FRACTIONS, (4, 3)))
    keys = jax.random.split(KEY, 4)
    samples = jax.vmap(lambda law, key: law.sample(key))(batch, keys)
    np.testing.assert_array_equal(samples[2], VoronoiPhases(GRID, FRACTIONS, 4, sharp=True).sample(keys[2]))


@pytest.mark.slow
def test_predictive_and_reparam():
    draws = Predictive(model, num_samples=3)(KEY, num_specimens=4)
    assert draws["phases"].shape == (3, 4, 8, 8, 3)
    exposed = handlers.reparam(model, config={"phases": TransformReparam()})
    trace = handlers.trace(handlers.seed(exposed, KEY)).get_trace(4)
    assert trace["phases_base"]["value"].shape == (4, 4, 3)
    assert trace["phases"]["type"] == "deterministic"
    values = {name: trace[name]["value"] for name in ("alpha", "shares", "phases_base")}
    assert np.isfinite(log_density(exposed, (4,), {}, values)[0])


@pytest.mark.slow
def test_members_of_a_batch_follow_their_own_fractions():
    law = VoronoiPhases(GRID, jnp.eye(3), 4, sharp=True)
    np.testing.assert_allclose(law.sample(KEY).mean((1, 2)), jnp.eye(3), atol=1e-6)
    left = jnp.array([[0.2, 0.5], [0.7, 0.5]])
    two = VoronoiPhases(GRID, jnp.eye(2), seeds=left).sample(KEY)  # each seed has its own phase for certain
    np.testing.assert_allclose(two.mean((0, 1)), 0.5, atol=1e-6)
    assert float(two[1, 4, 0]) == pytest.approx(1)


@pytest.mark.slow
def test_a_field_evaluated_at_the_seeds():
    def graded(num):
        with numpyro.plate("specimens", num):
            seeds = numpyro.sample("seeds", dist.Uniform(0, 1).expand([200, 2]).to_event(2))
            first = 0.5 + 0.4 * jnp.cos(2 * jnp.pi * seeds[..., 0])
            shares = jnp.stack([first, 1 - first], axis=-1)
            numpyro.sample("phases", VoronoiPhases(GRID, shares, seeds=seeds, sharp=True))

    phases = handlers.trace(handlers.seed(graded, KEY)).get_trace(200)["phases"]["value"]
    found = phases[..., 0].mean((0, 2))
    wanted = 0.5 + 0.4 * np.cos(2 * np.pi * (np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(found, wanted, atol=0.04)  # bends within a cell; 4 standard errors are .03


# --- parameters without a path ---


def test_reparametrization_is_told_truthfully():
    seeds = jax.random.uniform(KEY, (4, 2))

    def told(temperature, sharp, **given):
        fractions = FRACTIONS[None] if given else FRACTIONS
        law = VoronoiPhases(GRID, fractions, **(given or {"num_seeds": 4}), temperature=temperature, sharp=sharp)
        assert law.expand((2,)).has_rsample == law.has_rsample
        if not law.has_rsample:
            with pytest.raises(NotImplementedError, match="temperature"):
                law.rsample(KEY)
        return law.reparametrized_params, law.has_rsample

    assert told(None, False) == told(None, True) == ([], False)
    assert told(0.1, False) == told(0.1, True) == (["fractions"], True)
    assert told(None, False, seeds=seeds) == (["seeds"], False)
    assert told(None, True, seeds=seeds) == ([], False)
    assert told(0.1, True, seeds=seeds) == (["fractions"], False)
    assert told(0.1, False, seeds=seeds) == (["fractions", "seeds"], True)


def test_populations_report_fractions_that_act_through_labels_only():
    assert Simulator(model, ["means"], (4,)).non_reparametrized == {"phases": ("alpha",)}
    assert Simulator(model, ["means"], (4,), {"temperature": 0.1}).non_reparametrized == {}


def of_one_share(num_specimens):
    """The fractions are a parameter: no site with a density stands between it and the labels."""
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", VoronoiPhases(GRID, share, 4))
        numpyro.deterministic("means", phases.mean((-3, -2)))


@pytest.mark.slow
def test_estimators_refuse_and_handlers_warn():
    data = {"means": np.random.default_rng(0).dirichlet(np.ones(3), 20)}
    assert Simulator(model, ["means"], (4,)).scored == {"shares": ("alpha",)}
    with pytest.raises(ValueError, match="'phases': \\['share'\\]"):
        nh.MinimumDistance(of_one_share, data, nh.SlicedWasserstein()).run(KEY, 4)
    posterior = nh.generalized_bayes(model, data, nh.SlicedWasserstein(), rng_key=KEY, loss_scale=1.0)
    with pytest.warns(UserWarning, match="without a derivative"):
        handlers.trace(handlers.seed(posterior, KEY)).get_trace(4)


# --- labels ---


def test_labels_have_their_probabilities_and_relaxed_ones_the_same_mean(x64):
    u = (jnp.arange(20000) + 0.5) / 20000
    f = jnp.array([0.05, 0.0, 0.65, 0.3])
    np.testing.assert_allclose(labels(u, f).mean(0), f, atol=1e-4)
    for temperature in (0.003, 0.1, 1.0):
        shares = relaxed_labels(u, f, jnp.asarray(temperature))
        assert float(shares.min()) >= 0
        np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(shares.mean(0), f, atol=2e-6 if x64 else 1e-4)  # the midpoint rule
    distances = [float(jnp.abs(relaxed_labels(u, f, jnp.asarray(t)) - labels(u, f)).mean()) for t in (0.1, 0.01, 0.001)]
    assert distances[0] > 5 * distances[1] > 25 * distances[2]


@pytest.mark.x64_only
def test_derivative_in_fractions_is_that_of_the_relaxed_model():
    direction = jnp.array([1.0, -0.4, -0.6])

    @jax.jit
    def volume(t):
        law = VoronoiPhases(GRID, FRACTIONS + t * direction, 20, temperature=0.1, sharp=True)
        return law.sample(KEY, (50,)).mean((0, 1, 2))

    step = 1e-6
    difference = (volume(step) - volume(-step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(volume))(0.0), difference, atol=1e-6)
    # The mean of the derivatives is the derivative of the mean, up to the noise of 1000 seeds of about 1 / sqrt(.1).
    np.testing.assert_allclose(difference, direction, atol=0.5)


@pytest.mark.x64_only
def test_hard_labels_have_no_derivative_in_fractions():
    def volume(f):
        return VoronoiPhases(GRID, f, 20, sharp=True).sample(KEY, (5,)).mean((0, 1, 2))

    np.testing.assert_array_equal(jax.jit(jax.jacfwd(volume))(FRACTIONS), 0)


# --- geometry ---


def all_planes(seeds, membership, grid):
    """By the exact areas of all K cells in every voxel."""
    cells = voxel_fractions(seeds, jnp.zeros(seeds.shape[:-1], seeds.dtype), grid, SquaredDistance())
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


@pytest.mark.x32
@pytest.mark.parametrize("kind", ["uniform", "clustered"])
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


# --- statistics ---


@pytest.mark.slow
def test_mean_volume_fractions():
    for temperature in (None, 0.3):
        law = VoronoiPhases(GRID, FRACTIONS, 20, sharp=True, temperature=temperature)
        volumes = np.asarray(law.sample(KEY, (2000,)).mean((1, 2)))
        error = volumes.std(0) / np.sqrt(len(volumes))
        assert np.all(np.abs(volumes.mean(0) - FRACTIONS) < 4 * error)  # false alarms: 6 in 10,000


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


@pytest.mark.slow
def test_volume_fractions_vary_as_the_areas_of_cells_say():
    # Labels are independent of the areas A_k: the variance is p (1 - p) sum E A_k^2 = p (1 - p) 1.28 / K.
    num = 100
    volumes = np.asarray(VoronoiPhases(nh.Grid((24, 24)), FRACTIONS, num, sharp=True).sample(KEY, (1500,)).mean((1, 2)))
    expected = np.asarray(FRACTIONS * (1 - FRACTIONS)) * 1.28 / num
    # The relative standard error of a variance of 1500 is .037; voxels of .4 spacings add less than a tenth of that.
    np.testing.assert_allclose(volumes.var(0), expected, rtol=0.15)


@pytest.mark.slow
def test_temperature_lowers_mean_and_spread_of_tensors_as_documented():
    # docs/microstructures.md: at .01 mean -0.1 %, spread .98; at .1 mean -0.6 %, spread .83 (64 x 64, 100 seeds). With
    # the same noise the standard errors here are about .2 % and .5 % of the mean, .01 and .03 of the spread.
    grid = nh.Grid((32, 32))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())

    def conductivities(temperature):
        law = VoronoiPhases(grid, FRACTIONS, 40, temperature=temperature)
        field = nh.mix(law.sample(KEY, (200,)), jnp.array([10.0, 3.0, 1.0]))
        return np.asarray(nh.effective_tensor(cell, field))[:, 0, 0]

    hard = conductivities(None)
    for temperature, lowest_mean, spreads in ((0.01, 0.99, (0.93, 1.01)), (0.1, 0.97, (0.7, 0.95))):
        soft = conductivities(temperature)
        assert lowest_mean < soft.mean() / hard.mean() < 1.005
        assert spreads[0] < soft.std() / hard.std() < spreads[1]


# --- refusals ---


def test_density_is_refused_with_advice():
    law = VoronoiPhases(GRID, FRACTIONS, 4, sharp=True)
    with pytest.raises(NotImplementedError, match="TransformReparam"):
        law.log_prob(law.sample(KEY))
    with pytest.raises(NotImplementedError, match="inverted"):
        law.transforms[0].inv(law.sample(KEY))


SEEDS = jnp.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fractions": FRACTIONS}, "none of them"),
        ({"fractions": FRACTIONS, "num_seeds": 4, "seeds": SEEDS}, "both"),
        ({"fractions": FRACTIONS, "num_seeds": True}, "whole number"),
        ({"fractions": FRACTIONS, "num_seeds": 0}, ">= 1"),
        ({"fractions": jnp.zeros(()), "num_seeds": 3}, "last axis"),
        ({"fractions": FRACTIONS, "seeds": SEEDS}, r"fractions\[..., None, :\]"),
        ({"fractions": jnp.ones((5, 2)) / 2, "seeds": SEEDS}, "one row for each seed"),
        ({"fractions": FRACTIONS[None], "seeds": jnp.zeros((4, 3))}, r"\(\*batch, K, 2\)"),
        ({"fractions": FRACTIONS[None], "seeds": jnp.full((4, 2), jnp.nan)}, "finite"),
        ({"fractions": jnp.ones((2, 1, 1)), "seeds": jnp.zeros((3, 4, 2))}, "do not broadcast"),
        ({"fractions": FRACTIONS, "num_seeds": 3, "temperature": 0.0}, "temperature"),
        ({"fractions": FRACTIONS, "num_seeds": 3, "temperature": 1.5}, "temperature"),
        ({"fractions": 2 * FRACTIONS, "num_seeds": 3, "validate_args": True}, "fractions"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VoronoiPhases(GRID, **arguments)


def test_dtype_follows_the_parameters(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert VoronoiPhases(GRID, FRACTIONS.astype(dtype), 4, sharp=True).sample(KEY).dtype == dtype
    assert VoronoiPhases(GRID, jnp.array([0, 1]), 4, sharp=True).sample(KEY).dtype == jnp.result_type(float)
