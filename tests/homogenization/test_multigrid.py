"""The cycle of grids: symmetric and positive, the same tensors, few iterations whatever the contrast."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operators import as_matrix, space_of
from random_cells import random_spd, voronoi_field

import numpyro_homog as nh
from numpyro_homog._platform import num_workers
from numpyro_homog.homogenization._conjugate_gradients import ReferenceBound
from numpyro_homog.homogenization._tensor_fields import complementary_values

LAWS = {"conduction": nh.Conductivity(), "elasticity": nh.LinearElasticity()}
each_law = pytest.mark.parametrize("law", ["conduction", pytest.param("elasticity", marks=pytest.mark.slow)])


def make(shape, law="conduction", preconditioner=None, **options):
    preconditioner = preconditioner or nh.Multigrid(contrast=1.0)
    return nh.CellProblem(nh.Grid(shape), LAWS[law], nh.Periodic(), preconditioner=preconditioner, **options)


def field_of(law, k):
    return k if law == "conduction" else (0.6 * k, 0.4 * k)


def random_field(law, shape, contrast, batch=(2,)):
    return field_of(law, voronoi_field(4, shape, np.geomspace(1, contrast, 4), batch))


def inverse_matrix(law, grid, field):
    """The preconditioner as a matrix, and the stiffness."""
    cell = nh.CellProblem(grid, law, nh.Periodic(), preconditioner=nh.Multigrid())
    space, coefficients = space_of(cell, field)
    prepared, cycle = space.prepare(coefficients.values), space.cycle(coefficients.values)

    def of_mean_zero(apply):
        def centered(unknown):
            return apply(unknown - unknown.mean(axis=tuple(range(3, unknown.ndim)), keepdims=True))

        return as_matrix(centered, space.num_components, grid.shape)

    return of_mean_zero(cycle), of_mean_zero(lambda unknown: space.apply(prepared, unknown))


def shapes_of_cycle(shape):
    """Voxels of the grids of the cycle, finest first."""
    grid, law = nh.Grid(shape), nh.Conductivity()
    cycle = nh.Multigrid().cycle(grid, law, nh.Periodic(), law.coefficients(jnp.ones(shape), grid).bases)
    return [space.geometry.shape for space in cycle.spaces]


@pytest.mark.x64_only
@pytest.mark.parametrize(
    "kind", ["scalars", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("tensors", "lame", "mandel"))]
)
def test_the_cycle_is_symmetric_and_between_zero_and_twice_the_inverse(kind):
    """Whatever the coefficients, up to contrast 1e6 and any anisotropy, no estimate of an eigenvalue is in it."""
    grid = nh.Grid((12, 8), lengths=(1.0, 0.5))
    elastic = kind in ("lame", "mandel")
    law = nh.LinearElasticity() if elastic else nh.Conductivity()
    scalars = 10 ** jnp.asarray(np.random.default_rng(1).uniform(0, 6, (1, *grid.shape)))
    field = {
        "scalars": lambda: scalars,
        "tensors": lambda: random_spd(2, grid.shape)[None] * scalars[..., None, None],
        "lame": lambda: (scalars, scalars[:, ::-1]),
        "mandel": lambda: nh.isotropic_stiffness(scalars, scalars[:, ::-1], ndim=2),
    }[kind]()
    inverse, stiffness = inverse_matrix(law, grid, field)
    assert len(shapes_of_cycle(grid.shape)) > 1
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-9 * np.abs(inverse).max())
    values = np.linalg.eigvals(inverse @ stiffness)
    num_null = law.num_components(2)
    values = np.sort(values.real)
    np.testing.assert_allclose(values[:num_null], 0, atol=1e-6)
    assert values[num_null] > 1e-4
    assert values[-1] < 2


@pytest.mark.x64_only
@pytest.mark.parametrize(
    ("kind", "law", "shape"),
    [
        ("scalars", "conduction", (8, 8)),
        pytest.param("tensors", "conduction", (8, 8), marks=pytest.mark.slow),
        pytest.param("lame", "elasticity", (8, 8), marks=pytest.mark.slow),
        pytest.param("mandel", "elasticity", (8, 8), marks=pytest.mark.slow),
        pytest.param("lame", "elasticity", (32,), marks=pytest.mark.slow),
        pytest.param("lame", "elasticity", (4, 4, 4), marks=pytest.mark.slow),
    ],
)
def test_complementary_energy_lies_between_the_error_and_the_bound_by_the_least_coefficient(kind, law, shape):
    """r' K^-1 r <= u' D u <= r' u / least with u = R^-1 r, by dense matrices, at contrast 1e4."""
    factor = jax.random.normal(jax.random.key(1), (1, *shape, 3, 3))
    law, scalars = LAWS[law], 10 ** jnp.asarray(np.random.default_rng(1).uniform(0, 4, (1, *shape)))
    field = {
        "scalars": lambda: scalars,
        "tensors": lambda: random_spd(2, shape)[None] * scalars[..., None, None],
        "lame": lambda: (-0.3 * scalars, scalars) if len(shape) == 3 else (scalars, scalars[:, ::-1]),
        "mandel": lambda: (
            (factor @ factor.swapaxes(-1, -2) + jnp.eye(3).reshape(1, 1, 1, 3, 3)) * scalars[..., None, None]
        ),
    }[kind]()
    grid = nh.Grid(shape)
    space, coefficients = space_of(nh.CellProblem(grid, law, nh.Periodic()), field)
    mode = law.reference_mode(grid.ndim)
    opposite = complementary_values(space.bases, coefficients.values, coefficients.ratio, mode)
    residual = jax.random.normal(jax.random.key(0), (1, 6, law.num_components(grid.ndim), *shape))
    residual = residual - residual.mean(axis=tuple(range(3, residual.ndim)), keepdims=True)
    reference = ReferenceBound(space.reference.preconditioner(coefficients.ratio), float(coefficients.least[0]))
    bound = reference._replace(complementary=functools.partial(space.apply, space.prepare(opposite))).bound(residual)

    prepared = space.prepare(coefficients.values)
    stiffness = as_matrix(lambda unknown: space.apply(prepared, unknown), space.num_components, shape)
    flat = np.asarray(residual).reshape(6, -1)
    energy = np.einsum("li,ij,lj->l", flat, np.linalg.pinv(stiffness, rcond=1e-12, hermitian=True), flat)
    assert (bound[0] > energy).all()
    assert (bound[0] < 0.5 * reference.bound(residual)[0]).all()

    if len(shape) > 1:  # A bar has one modulus, however it is made of two.
        again = complementary_values(space.bases, opposite, coefficients.ratio, mode)
        np.testing.assert_allclose(again, coefficients.values, rtol=1e-9, atol=1e-12)


def test_a_law_of_unknown_form_has_no_complementary_energy():
    odd = (((1.0, 0.0), (0.0, 2.0)),)
    assert complementary_values(odd, jnp.ones((1, 1, 4, 4)), jnp.zeros(1), np.zeros((2, 2))) is None


@pytest.mark.parametrize(
    ("law", "ndim"),
    [
        ("conduction", 2),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("elasticity", 2), ("conduction", 3), ("elasticity", 3))
        ),
    ],
)
def test_the_tensors_are_those_of_the_reference_medium(law, ndim, x64):
    shape = (16, 16) if ndim == 2 else (8, 8, 8)
    tolerance = 1e-9 if x64 else 1e-5
    field = random_field(law, shape, 100.0)
    tensors = nh.effective_tensor(make(shape, law, tolerance=tolerance), field)
    expected = nh.effective_tensor(make(shape, law, nh.ReferenceMedium(), tolerance=tolerance), field)
    np.testing.assert_allclose(tensors, expected, rtol=0, atol=2 * tolerance * np.max(expected))


@pytest.mark.slow
@pytest.mark.x64_only
@each_law
def test_derivatives_are_those_of_the_reference_medium(law):
    field = random_field(law, (16, 16), 50.0, (1,))
    weights = jnp.arange(1.0, 5.0).reshape(2, 2) if law == "conduction" else jnp.arange(1.0, 10.0).reshape(3, 3)

    def scalar(preconditioner):
        cell = make((16, 16), law, preconditioner, tolerance=1e-12)
        return lambda field: jnp.sum(weights * nh.effective_tensor(cell, field)[0])

    found, expected = (jax.grad(scalar(p))(field) for p in (nh.Multigrid(contrast=1.0), nh.ReferenceMedium()))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.max(b))


@pytest.mark.slow
def test_a_program_without_lapack_runs_in_several_threads():
    """Calls of LAPACK on batches that run at the same time wait for one another forever in jaxlib 0.10."""
    cell, field = make((16, 16)), random_field("conduction", (16, 16), 1e3)
    solve = jax.jit(lambda field: nh.effective_tensor(cell, field)).lower(field).compile()
    factorise = jax.jit(jnp.linalg.cholesky).lower(jnp.ones((64, 64, 64))).compile()
    assert num_workers(solve) == num_workers()
    assert num_workers(factorise) == 1


@pytest.mark.slow
@pytest.mark.x64_only
@each_law
def test_second_derivatives_are_those_of_the_reference_medium(law):
    field = random_field(law, (16, 16), 50.0, (1,))
    direction = jax.tree.map(lambda part: part * jnp.cos(jnp.arange(16.0))[None, None], field)

    def second(preconditioner):
        cell = make((16, 16), law, preconditioner, tolerance=1e-14)
        slope = jax.grad(lambda f: jnp.trace(nh.effective_tensor(cell, f)[0]))
        return jax.jvp(slope, (field,), (direction,))[1]

    found, expected = (second(p) for p in (nh.Multigrid(contrast=1.0), nh.ReferenceMedium()))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.max(np.abs(b)))


@pytest.mark.slow
@pytest.mark.x64_only
@each_law
def test_iterations_grow_slowly_with_contrast_and_not_with_the_mesh(law):
    """The reference medium would need about thirty times as many at a thousand times the contrast."""
    counts = {}
    for n, contrast in ((32, 1e3), (64, 1e3), (64, 1e6)):
        solution = nh.solve_cell(make((n, n), law, tolerance=1e-6), random_field(law, (n, n), contrast))
        assert np.all(solution.stats["error"] <= 1e-6)
        counts[n, contrast] = int(solution.stats["iterations"].max())
    assert counts[64, 1e6] <= 4 * counts[64, 1e3]
    assert counts[64, 1e3] <= 1.3 * counts[32, 1e3] + 1
    reference = make((64, 64), law, nh.ReferenceMedium(), tolerance=1e-6)
    stats = nh.solve_cell(reference, random_field(law, (64, 64), 1e3)).stats
    assert counts[64, 1e3] < 0.3 * int(stats["iterations"].max())


@pytest.mark.slow
@pytest.mark.x64_only
@each_law
def test_the_certificate_holds(law):
    field = random_field(law, (16, 16), 1e4)
    exact = nh.solve_cell(make((16, 16), law, tolerance=1e-12), field).effective
    for tolerance in (1e-2, 1e-4):
        found = nh.solve_cell(make((16, 16), law, tolerance=tolerance), field)
        error = jnp.diagonal(found.effective - exact, axis1=1, axis2=2) / jnp.diagonal(exact, axis1=1, axis2=2)
        assert np.all(error > -1e-12)
        assert np.all(error <= found.stats["error"])
        assert np.all(found.stats["error"] <= tolerance)


def test_the_switch_is_that_of_the_law_unless_one_is_given():
    """It was 30 for all: cycles pay early in conduction, and late in elasticity in space."""
    conduction, plane, space = (
        nh.Multigrid().switch(law, ndim)
        for law, ndim in ((nh.Conductivity(), 2), (nh.LinearElasticity(), 2), (nh.LinearElasticity(), 3))
    )
    assert 10 < conduction < plane < space < 100
    assert nh.Multigrid(contrast=7.0).switch(nh.Conductivity(), 3) == 7.0


@pytest.mark.x64_only
def test_a_conductor_of_contrast_twenty_goes_by_the_cycle_unasked():
    field = random_field("conduction", (16, 16), 20.0)
    found, expected = (
        nh.solve_cell(make((16, 16), preconditioner=p, tolerance=1e-5), field).stats["iterations"]
        for p in (nh.Multigrid(), nh.Multigrid(contrast=1.0))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_members_of_low_contrast_go_by_the_reference_medium():
    field = random_field("conduction", (16, 16), 20.0)
    low, expected = (
        nh.solve_cell(make((16, 16), preconditioner=p, tolerance=1e-5), field).stats["iterations"]
        for p in (nh.Multigrid(contrast=30.0), nh.ReferenceMedium())
    )
    np.testing.assert_array_equal(low, expected)


@pytest.mark.slow
@pytest.mark.x64_only
def test_a_member_that_needs_too_many_iterations_does_not_keep_the_certificate_from_the_others():
    field = jnp.concatenate([random_field("conduction", (16, 16), contrast, (1,)) for contrast in (2.0, 1e6)])
    stats = nh.solve_cell(make((16, 16), tolerance=1e-6, max_iterations=6), field, throw=False).stats
    assert np.max(stats["error"][0]) <= 1e-6
    assert not np.max(stats["error"][1]) <= 1e-6


@pytest.mark.slow
@pytest.mark.x64_only
def test_what_is_solved_before_the_first_iteration_takes_none():
    cell, rough = make((16, 16)), random_field("conduction", (16, 16), 1000.0, (1,))
    field = jnp.concatenate([jnp.full_like(rough, 2.0), rough])
    solution = nh.solve_cell(cell, field)
    assert np.max(solution.stats["iterations"][0]) == 0
    assert np.max(solution.stats["error"][0]) < 1e-14  # rounding
    again = nh.solve_cell(cell, field, start=solution)
    assert np.max(again.stats["iterations"]) == 0
    assert np.max(again.stats["error"]) <= cell.tolerance


HALVED = {
    (64, 64): (4, 4),
    (48, 48): (3, 3),
    (20, 12): (5, 3),
    (128, 4): (4, 4),
    (32, 32, 32): (2, 2, 2),
    (5, 4): (5, 2),
}


@pytest.mark.parametrize("shape", HALVED)
def test_grids_are_halved_along_their_long_axes(shape):
    shapes = shapes_of_cycle(shape)
    assert shapes[0] == shape
    assert shapes[-1] == HALVED[shape]
    for fine, coarse in itertools.pairwise(shapes):
        assert all(c in (f, f // 2) for f, c in zip(fine, coarse, strict=True))


def test_what_has_no_cycle_is_refused():
    with pytest.raises(ValueError, match=r"\(50, 50\) ends at \(25, 25\)"):
        make((50, 50))
    mesh = nh.Mesh([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]], "TRI3")
    with pytest.raises(ValueError, match=r"needs a Grid.*got Mesh and Periodic"):
        nh.CellProblem(mesh, nh.Conductivity(), nh.Periodic(), preconditioner=nh.Multigrid())
    with pytest.raises(TypeError, match="preconditioner=ReferenceMedium"):
        make((8, 8), preconditioner="multigrid")
    with pytest.raises(ValueError, match=r"at least 1; got 0\.5"):
        nh.Multigrid(contrast=0.5)
    with pytest.raises(ValueError, match="got nan"):
        nh.Multigrid(contrast=float("nan"))


@pytest.mark.slow
@pytest.mark.parametrize("bad", [0.0, np.nan, -1.0])
def test_a_bad_member_is_flagged_and_leaves_the_others_alone(bad):
    cell, field = make((16, 16), tolerance=1e-5), random_field("conduction", (16, 16), 50.0)
    spoiled = nh.effective_tensor(cell, field.at[0, 3, 4].set(bad), throw=False)
    assert np.all(np.isnan(spoiled[0]))
    np.testing.assert_allclose(spoiled[1], nh.effective_tensor(cell, field)[1], rtol=1e-6)


@pytest.mark.x64_only
@pytest.mark.parametrize(
    ("boundary", "law", "shape"),
    [
        (nh.Affine(), "conduction", (8, 8)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (nh.UniformFlux(), "conduction", (8, 8)),
                (nh.Affine(), "elasticity", (8, 8)),
                (nh.UniformFlux(), "elasticity", (8, 8)),
                (nh.Affine(), "conduction", (4, 4, 4)),
                (nh.UniformFlux(), "elasticity", (4, 4, 4)),
            )
        ),
    ],
)
def test_other_boundary_conditions_have_multigrid_too(boundary, law, shape):
    """It was refused there: the tensors and correctors of the reference medium, in a fraction of its iterations."""
    field = random_field(law, shape, 1000.0, (1,))
    found, expected = (
        nh.solve_cell(nh.CellProblem(nh.Grid(shape), LAWS[law], boundary, preconditioner=p, tolerance=1e-9), field)
        for p in (nh.Multigrid(contrast=1.0), nh.ReferenceMedium())
    )
    np.testing.assert_allclose(found.effective, expected.effective, atol=2e-9 * np.max(expected.effective))
    np.testing.assert_allclose(found.corrector, expected.corrector, atol=3e-3 * np.max(expected.corrector))
    assert int(np.max(found.stats["iterations"])) < 0.6 * int(np.max(expected.stats["iterations"]))
