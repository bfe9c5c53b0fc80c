"""What every public object of a kind must do. A new object joins by one line in the table of its kind."""

import inspect
import re
import types
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import numpyro_homog as nh
from numpyro_homog.divergences import AbstractDivergence
from numpyro_homog.homogenization import AbstractCell

KEY = jax.random.key(5)
GRID = nh.Grid((6, 6))


class CellCase(NamedTuple):
    """A cell, a function from a key to a field with two members, and how a field is multiplied by a number."""

    cell: AbstractCell
    draw: Callable
    scale: Callable = lambda field, s: jax.tree.map(lambda part: s * part, field)


class DistributionCase(NamedTuple):
    """A distribution as a function of its differentiable parameters, and values of them without batch axes."""

    make: Callable
    params: tuple


def positive(*shape):
    return lambda key: jnp.exp(0.5 * jax.random.normal(key, shape))


# --- the tables ---

CELLS = {
    "LaminateCell": CellCase(
        nh.LaminateCell(),
        lambda key: (jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]), positive(2, 3)(key)),
        lambda field, s: (field[0], s * field[1]),
    ),
    "CheckerboardCell": CellCase(nh.CheckerboardCell(), positive(2, 4)),
    "CellProblem": CellCase(nh.CellProblem(GRID, nh.Conductivity(), nh.Periodic(), tolerance=1e-8), positive(2, 6, 6)),
    "Affine": CellCase(nh.CellProblem(GRID, nh.Conductivity(), nh.Affine(), tolerance=1e-8), positive(2, 6, 6)),
    "UniformFlux": CellCase(
        nh.CellProblem(GRID, nh.Conductivity(), nh.UniformFlux(), tolerance=1e-8), positive(2, 6, 6)
    ),
    "TwoGridCell": CellCase(
        nh.TwoGridCell(nh.CellProblem(GRID, nh.Conductivity(), nh.Periodic(), tolerance=1e-8)),
        lambda key: (jax.random.dirichlet(key, jnp.ones(3), (2, 6, 6)), positive(2, 3)(key)),
        lambda field, s: (field[0], s * field[1]),
    ),
    "LinearElasticity": CellCase(
        nh.CellProblem(GRID, nh.LinearElasticity(), nh.Periodic(), tolerance=1e-8),
        lambda key: (positive(2, 6, 6)(key), positive(2, 6, 6)(jax.random.fold_in(key, 1))),
    ),
}
PILOT = np.random.default_rng(3).normal(size=(400, 3))
DIVERGENCES = {
    "SlicedWasserstein": lambda: nh.SlicedWasserstein(num_projections=8),
    "WeightedDistance": lambda: nh.WeightedDistance.from_pilot(jnp.asarray(PILOT), nh.summaries.Moments()),
}
DISTRIBUTIONS = {}
if hasattr(nh, "LaguerreTessellation"):
    DISTRIBUTIONS["LaguerreTessellation"] = DistributionCase(
        lambda delays: nh.LaguerreTessellation(GRID, delays), (jnp.array([0.0, 0.05, -0.05]),)
    )

DISTRIBUTIONS["GaussianField"] = DistributionCase(
    lambda tau, s: nh.GaussianField(GRID, nh.NeumannMatern(GRID.lengths, tau, s, num_modes=4)),
    (jnp.array(6.0), jnp.array(2.5)),
)
DISTRIBUTIONS["GaussianCopulaField"] = DistributionCase(
    lambda mean, scale: nh.GaussianCopulaField(
        dist.LogNormal(mean, 0.5),
        nh.GaussianField(GRID, nh.PeriodicMatern(GRID.lengths, scale, 1.5, num_modes=3)),
    ),
    (jnp.array(0.3), jnp.array(0.2)),
)
DISTRIBUTIONS["DirichletCopulaField"] = DistributionCase(
    lambda alpha, scale: nh.DirichletCopulaField(
        alpha, nh.GaussianField(GRID, nh.PeriodicSquaredExponential(GRID.lengths, scale, num_modes=3))
    ),
    (jnp.array([0.3, 1.0, 4.0]), jnp.array(0.2)),
)
DISTRIBUTIONS["ThresholdedGaussianField"] = DistributionCase(
    lambda logits, temperature: nh.ThresholdedGaussianField(
        GRID,
        nh.PeriodicMatern(GRID.lengths, 0.2, 1.5, num_modes=3),
        jax.nn.softmax(logits),
        temperature=temperature,
    ),
    (jnp.array([0.0, 1.0, 0.5]), jnp.array(0.2)),
)
DISTRIBUTIONS["VoronoiPhases"] = DistributionCase(
    lambda fractions: nh.VoronoiPhases(GRID, fractions, 4, temperature=0.2, sharp=True),
    (jnp.array([0.5, 0.3, 0.2]),),
)
DISTRIBUTIONS["Pushforward"] = DistributionCase(
    lambda sharpness: nh.distributions.Pushforward(
        dist.Normal(0.0, 1.0).expand([2]).to_event(1),
        lambda noise, sharpness: jax.nn.softmax(sharpness * jnp.outer(noise, jnp.arange(6.0)), axis=0).T,
        sharpness,
        batch_ndims=sharpness.ndim,
    ),
    (jnp.array(0.3),),
)
DISTRIBUTIONS["UniformSimplex"] = DistributionCase(nh.UniformSimplex, (jnp.array(0.1), jnp.array([0.3, 0.5])))


# --- the public surface ---


def public_objects():
    """Every name of the package and of its public namespaces, once: (qualified name, object)."""
    found = {}
    spaces = [("nh", nh)] + [
        (f"nh.{name}", space)
        for name, space in vars(nh).items()
        if isinstance(space, types.ModuleType)
        and not name.startswith("_")
        and space.__name__.startswith("numpyro_homog")
    ]
    for prefix, space in spaces:
        for name, value in vars(space).items():
            ours = getattr(value, "__module__", "").startswith("numpyro_homog")
            if not name.startswith("_") and ours and (inspect.isclass(value) or inspect.isfunction(value)):
                found.setdefault(id(value), (f"{prefix}.{name}", value))
    return dict(sorted(found.values()))


PUBLIC = public_objects()
NO_ARGS = {"self", "args", "kwargs"}


def kinds(base):
    return {
        value.__name__
        for value in PUBLIC.values()
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
    }


def test_every_public_object_of_a_kind_is_in_its_table():
    assert kinds(AbstractCell) == {type(case.cell).__name__ for case in CELLS.values()}
    assert kinds(AbstractDivergence) == set(DIVERGENCES)
    assert kinds(dist.Distribution) == set(DISTRIBUTIONS)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_says_what_it_is_and_names_every_argument(name):
    value = PUBLIC[name]
    text = inspect.getdoc(value) or ""
    summary = text.split("\n")[0]
    assert summary.endswith("."), "the first line is a sentence"
    assert len(summary) <= 120
    if inspect.isclass(value) and (issubclass(value, Exception) or eqx.is_inexact_array(value)):
        return
    own_init = inspect.isclass(value) and "__init__" in vars(value)
    is_enumeration = inspect.isclass(value) and issubclass(value, eqx.Enumeration)
    if is_enumeration or (inspect.isclass(value) and (inspect.isabstract(value) or not own_init)):
        return
    try:
        parameters = set(inspect.signature(value).parameters) - NO_ARGS
        parameters = {p for p in parameters if not p.startswith("_")}
    except ValueError:
        return
    missing = {p for p in parameters if not re.search(rf"\b{re.escape(p)}\b", text)}
    assert not missing, f"the docstring does not mention {sorted(missing)}"


@pytest.mark.parametrize("name", PUBLIC)
def test_options_are_keyword_only_and_keys_have_no_default(name):
    value = PUBLIC[name]
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return
    for parameter in parameters:
        if parameter.name in ("rng_key", "key"):
            assert parameter.default is inspect.Parameter.empty, "keys are explicit"
        if isinstance(parameter.default, bool):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{parameter.name} is a switch: keyword-only"


# --- cells ---


SLOW_CELLS = {"TwoGridCell"}


@pytest.fixture(params=[pytest.param(k, marks=pytest.mark.slow) if k in SLOW_CELLS else k for k in CELLS])
def cell_case(request):
    return CELLS[request.param]


def test_cells_are_static_and_round_trip(cell_case):
    cell, _, _ = cell_case
    assert hash(cell) == hash(cell)
    leaves, structure = jax.tree.flatten(cell)
    assert jax.tree.unflatten(structure, leaves) == cell
    assert not jax.tree.leaves(eqx.filter(cell, eqx.is_array)), "a cell may be closed over or hashed: no arrays"


def test_cells_give_symmetric_positive_tensors_member_by_member(cell_case, x64):
    cell, draw, _ = cell_case
    field = draw(KEY)
    tensors = jax.jit(lambda f: nh.effective_tensor(cell, f))(field)
    assert tensors.shape[0] == 2
    assert tensors.shape[-1] == tensors.shape[-2]
    np.testing.assert_allclose(tensors, jnp.swapaxes(tensors, -1, -2), rtol=1e-6 if x64 else 1e-4, atol=1e-6)
    assert (np.linalg.eigvalsh(tensors) > 0).all()
    single = jnp.stack([nh.effective_tensor(cell, jax.tree.map(lambda x, i=i: x[i], field)) for i in range(2)])
    np.testing.assert_allclose(tensors, single, rtol=1e-6 if x64 else 1e-4, atol=1e-6)


def test_cells_scale_with_their_coefficients_and_so_do_their_derivatives(cell_case, x64):
    """K[s k] = s K[k]; along k itself the derivative is K: both modes, under jit."""
    cell, draw, scale = cell_case
    field = draw(KEY)

    def scaled(s):
        return nh.effective_tensor(cell, scale(field, s))

    tensors = scaled(1.0)
    tolerance = 1e-6 if x64 else 1e-3
    np.testing.assert_allclose(scaled(3.0), 3 * tensors, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(scaled))(1.0), tensors, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(jax.jit(jax.jacrev(scaled))(1.0), tensors, rtol=tolerance, atol=tolerance)


def test_cells_return_nan_for_a_bad_member_only_and_raise_if_asked(cell_case):
    cell, draw, _ = cell_case
    field = draw(KEY)
    bad = jax.tree.map(lambda x: x.at[0].set(-1.0), field)
    tensors = nh.effective_tensor(cell, bad, throw=False)
    assert jnp.isnan(tensors[0]).all()
    assert jnp.isfinite(tensors[1]).all()
    with pytest.raises(RuntimeError):
        jax.block_until_ready(nh.effective_tensor(cell, bad))


# --- divergences ---


@pytest.fixture(scope="module", params=DIVERGENCES)
def divergence(request):
    return DIVERGENCES[request.param]()


def clouds():
    x, y = jax.random.split(KEY)
    return jax.random.normal(x, (30, 3)), 0.5 + 1.5 * jax.random.normal(y, (30, 3))


def test_divergences_are_positive_symmetric_and_zero_at_equality(divergence):
    x, y = clouds()
    value = divergence(x, y, rng_key=KEY)
    assert value.shape == ()
    assert value > 0
    np.testing.assert_allclose(divergence(y, x, rng_key=KEY), value, rtol=1e-5)
    np.testing.assert_allclose(divergence(x, x, rng_key=KEY), 0, atol=1e-6)
    np.testing.assert_allclose(divergence(x[::-1], x, rng_key=KEY), 0, atol=1e-6)
    assert divergence(x[:20], y, rng_key=KEY) > 0  # unequal sizes


def test_divergences_are_static_and_round_trip(divergence):
    leaves, structure = jax.tree.flatten(divergence)
    assert eqx.tree_equal(jax.tree.unflatten(structure, leaves), divergence)
    assert hash(structure) == hash(structure)


def test_divergences_differentiate_in_both_modes(divergence, x64):
    x, y = clouds()

    def of(shift):
        return divergence(x + shift, y, rng_key=KEY)

    forward = jax.jit(jax.jacfwd(of))(jnp.zeros(3))
    np.testing.assert_allclose(forward, jax.jit(jax.grad(of))(jnp.zeros(3)), rtol=1e-5, atol=1e-6)
    step = 1e-5 if x64 else 1e-2
    for i, direction in enumerate(jnp.eye(3)):
        difference = (of(step * direction) - of(-step * direction)) / (2 * step)
        np.testing.assert_allclose(forward[i], difference, rtol=1e-5 if x64 else 2e-2, atol=1e-6 if x64 else 1e-3)


# --- distributions ---


@pytest.fixture(params=DISTRIBUTIONS)
def distribution_case(request):
    return DISTRIBUTIONS[request.param]


def test_distributions_have_the_shapes_they_announce(distribution_case):
    make, params = distribution_case
    fn = make(*params)

    def shape_of(draw):
        return jax.eval_shape(draw, KEY).shape

    def in_a_plate(key):
        with numpyro.handlers.seed(rng_seed=key), numpyro.plate("n", 4):
            return numpyro.sample("x", fn)

    assert shape_of(fn.sample) == fn.batch_shape + fn.event_shape
    assert shape_of(lambda key: fn.sample(key, (3,))) == (3, *fn.batch_shape, *fn.event_shape)
    assert shape_of(fn.expand([5]).sample) == (5, *fn.event_shape)
    batched = make(*(jnp.stack([p, p]) for p in params))
    assert batched.batch_shape == (2,)
    assert shape_of(batched.sample) == (2, *fn.event_shape)
    assert shape_of(in_a_plate) == (4, *fn.event_shape)


def test_distributions_round_trip_and_compose_with_jit_and_vmap(distribution_case):
    make, params = distribution_case
    fn = make(*params)
    leaves, structure = jax.tree.flatten(fn)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.sample(KEY), fn.sample(KEY))
    np.testing.assert_allclose(jax.jit(lambda f: f.sample(KEY))(fn), fn.sample(KEY), rtol=1e-5, atol=1e-6)
    keys = jax.random.split(KEY, 3)
    assert jax.vmap(lambda k: make(*params).sample(k))(keys).shape == (3, *fn.event_shape)


def test_the_path_derivative_of_a_distribution_is_the_difference(distribution_case, x64):
    if not x64:
        pytest.skip("differences of sums of voxels drown in 32 bits")
    make, params = distribution_case
    if not make(*params).has_rsample:
        pytest.skip("no differentiable path is claimed")
    weights = jax.random.normal(jax.random.key(1), make(*params).event_shape)

    @jax.jit
    def of(*values):
        return jnp.sum(weights * make(*values).sample(KEY))

    gradients = jax.grad(of, argnums=tuple(range(len(params))))(*params)
    for index, value in enumerate(params):
        direction = jax.random.normal(jax.random.key(2), value.shape)
        up, down = (of(*(v + s * 1e-6 * direction if i == index else v for i, v in enumerate(params))) for s in (1, -1))
        np.testing.assert_allclose((up - down) / 2e-6, jnp.sum(gradients[index] * direction), rtol=1e-4, atol=1e-6)


def test_distributions_have_a_finite_density_or_a_refusal_with_advice(distribution_case):
    make, params = distribution_case
    fn = make(*params)
    value = fn.sample(KEY)
    refusal = ""
    try:
        assert jnp.isfinite(fn.log_prob(value)).all()
    except NotImplementedError as error:
        refusal = str(error)
    assert not refusal or len(refusal) > 40
