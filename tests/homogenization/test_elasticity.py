"""Linear elasticity: exact solutions, identities, published values, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import close, voronoi_labels

import numpyro_homog as nh
from numpyro_homog.homogenization import isotropic_stiffness


def make(shape, *, boundary=None, plane="strain", **options):
    options = {"tolerance": 1e-8} | options
    return nh.CellProblem(nh.Grid(shape), nh.LinearElasticity(plane), boundary or nh.Periodic(), **options)


def random_lame(seed, shape, contrast=10.0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(contrast ** rng.uniform(0, 1, shape)) for _ in range(2))


def disk(n, fraction):
    x = (np.arange(n) + 0.5) / n - 0.5
    return x[:, None] ** 2 + x[None] ** 2 < fraction / np.pi


@pytest.mark.x64_only
def test_laminates_are_exact():
    """Layers across axis 1, plane strain (Backus 1962): C11 = 1 / <1 / (l + 2m)> and so on."""
    lame, shear = jnp.array([1.0, 4.0, 0.5]), jnp.array([1.0, 0.3, 7.0])
    cell = make((3, 2), tolerance=1e-13)
    effective = nh.effective_tensor(cell, tuple(jnp.broadcast_to(p[:, None], (3, 2)) for p in (lame, shear)))
    stiff = lame + 2 * shear
    across = 1 / np.mean(1 / stiff)
    coupling = across * np.mean(lame / stiff)
    along = np.mean(stiff - lame**2 / stiff) + across * np.mean(lame / stiff) ** 2
    expected = np.array([[across, coupling, 0], [coupling, along, 0], [0, 0, 2 / np.mean(1 / shear)]])
    close(effective, expected, 1e-11)


@pytest.mark.slow
@pytest.mark.x64_only
def test_a_three_dimensional_stack_is_a_laminate_too():
    lame, shear = jnp.array([1.0, 4.0]), jnp.array([1.0, 0.3])
    field = tuple(jnp.broadcast_to(p[:, None, None], (2, 2, 1)) for p in (lame, shear))
    effective = np.asarray(nh.effective_tensor(make((2, 2, 1), tolerance=1e-13), field))
    np.testing.assert_allclose(effective[0, 0], 1 / np.mean(1 / (lame + 2 * shear)), rtol=1e-11)
    np.testing.assert_allclose(effective[3, 3], 2 * np.mean(shear), rtol=1e-11)  # 23: along the layers
    np.testing.assert_allclose(effective[5, 5], 2 / np.mean(1 / shear), rtol=1e-11)  # 12: across


@pytest.mark.slow
@pytest.mark.x64_only
def test_hills_uniform_shear_modulus_is_isotropic_in_the_limit():
    """mu = 1, lambda = (1, 9), fraction .4: C1111 = 4.2307692, C1122 = 2.2307692 (Hill 1964), first order in h."""
    errors = []
    for n in (16, 32, 64):
        rng = np.random.default_rng(0)
        shape = (5,) * 2
        chosen = np.zeros(25)
        chosen[rng.permutation(25)[:10]] = 1  # ten of 25 blocks: .4
        lame = np.kron(np.where(chosen.reshape(shape), 9.0, 1.0), np.ones((n // 8,) * 2))
        cell = make(lame.shape)
        effective = nh.effective_tensor(cell, (jnp.asarray(lame), jnp.ones_like(jnp.asarray(lame))))
        expected = np.array([[4.2307692, 2.2307692, 0], [2.2307692, 4.2307692, 0], [0, 0, 2]])
        errors.append(np.abs(effective - expected).max())
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.02


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.parametrize(
    ("fraction", "young", "poisson", "expected"),
    [
        # Plane strain; body-fitted quadratic elements, set-up of Yvonnet (2019), section 4.7.
        (0.1, 50.0, (0.45, 0.3), (4.2557, 3.4111, 0.40503)),
        (0.3, 50.0, (0.45, 0.3), (5.6428, 4.1546, 0.53719)),
        (0.5, 50.0, (0.45, 0.3), (8.3638, 5.0775, 0.75047)),
        (0.2, 10.0, (0.3, 0.3), (1.77082, 0.71588, 0.49269)),
        (0.6, 10.0, (0.3, 0.3), (3.78591, 1.17307, 0.90394)),
    ],
)
def test_square_arrays_of_cylinders_converge_to_the_published_values(fraction, young, poisson, expected):
    errors = []
    for n in (64, 256):
        inside = disk(n, fraction)
        field = nh.lame_from_young(jnp.where(inside, young, 1.0), jnp.where(inside, poisson[1], poisson[0]))
        voigt = nh.mandel_to_voigt(nh.effective_tensor(make((n, n), tolerance=1e-6), field))
        errors.append(np.abs(np.array([voigt[0, 0], voigt[0, 1], voigt[2, 2]]) / expected - 1))
    assert np.all(errors[1] < 0.006)
    assert errors[1].sum() < errors[0].sum()


@pytest.mark.x64_only
def test_a_quarter_turn_and_a_shift_act_on_the_tensor():
    lame, shear = random_lame(0, (6, 6))
    cell = make((6, 6), tolerance=1e-12)
    effective = nh.effective_tensor(cell, (lame, shear))
    turned = nh.effective_tensor(cell, tuple(jnp.rot90(part) for part in (lame, shear)))
    turn = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    close(turned, turn @ effective @ turn.T, 1e-10)
    shifted = nh.effective_tensor(cell, tuple(jnp.roll(part, (2, 3), (0, 1)) for part in (lame, shear)))
    close(shifted, effective, 1e-10)


@pytest.mark.x64_only
@pytest.mark.parametrize("plane", ["strain", pytest.param("stress", marks=pytest.mark.slow)])
def test_a_pair_and_its_mandel_field_are_the_same(plane):
    lame, shear = random_lame(1, (2, 4, 5))
    pair = nh.effective_tensor(make((4, 5), plane=plane, tolerance=1e-12), (lame, shear))
    if plane == "stress":
        lame = 2 * lame * shear / (lame + 2 * shear)
    tensors = nh.effective_tensor(make((4, 5), tolerance=1e-12), isotropic_stiffness(lame, shear, 2))
    close(pair, tensors, 1e-10)


@pytest.mark.x64_only
def test_plane_stress_of_a_plate_is_the_limit_of_thin_free_plates():
    """A homogeneous plate: E / (1 - nu^2) and so on."""
    young, poisson = jnp.full((3, 3), 2.0), jnp.full((3, 3), 0.3)
    effective = nh.effective_tensor(make((3, 3), plane="stress"), nh.lame_from_young(young, poisson))
    stiff = 2.0 / (1 - 0.09)
    close(effective, np.array([[stiff, 0.3 * stiff, 0], [0.3 * stiff, stiff, 0], [0, 0, 0.7 * stiff]]), 1e-12)


@pytest.mark.slow
@pytest.mark.x64_only
def test_anisotropic_voxels_are_within_their_bounds_and_certified():
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(4, 5, 3, 3))
    field = jnp.asarray(factors @ np.swapaxes(factors, -1, -2) + 0.1 * np.eye(3))
    solution = nh.solve_cell(make((4, 5), tolerance=1e-6), field)
    assert np.max(solution.stats["error"]) <= 1e-6
    flat = np.asarray(field).reshape(-1, 3, 3)
    reuss, voigt = np.linalg.inv(np.linalg.inv(flat).mean(0)), flat.mean(0)
    assert np.linalg.eigvalsh(solution.effective - reuss).min() > 0
    assert np.linalg.eigvalsh(voigt - solution.effective).min() > 0


@pytest.mark.slow
def test_thermal_and_elastic_tensors_of_one_microstructure():
    import numpyro

    phases = jax.nn.one_hot(voronoi_labels(np.random.default_rng(0), (8, 8), 4) % 2, 2)
    grid = nh.Grid((8, 8))

    def model():
        nh.homogenize("K_eff", nh.CellProblem(grid, nh.Conductivity(), nh.Periodic()), phases @ jnp.array([1.0, 5.0]))
        young = phases @ jnp.array([1.0, 20.0])
        lame = nh.lame_from_young(young, jnp.full_like(young, 0.3))
        nh.homogenize("C_eff", nh.CellProblem(grid, nh.LinearElasticity(), nh.Periodic()), lame)

    trace = numpyro.handlers.trace(model).get_trace()
    assert trace["K_eff"]["value"].shape == (2, 2)
    assert trace["C_eff"]["value"].shape == (3, 3)


@pytest.mark.x64_only
def test_conversions_are_inverse_to_each_other():
    young, poisson = jnp.array([1.0, 70.0]), jnp.array([0.45, -0.2])
    np.testing.assert_allclose(nh.young_from_lame(*nh.lame_from_young(young, poisson)), (young, poisson))
    lame, shear = nh.lame_from_young(young, poisson)
    np.testing.assert_allclose(nh.lame_from_bulk(lame + 2 * shear / 3, shear), (lame, shear))
    stiffness = isotropic_stiffness(lame, shear, 3)
    voigt = nh.mandel_to_voigt(stiffness)
    np.testing.assert_allclose(voigt[:, 5, 5], shear)
    np.testing.assert_allclose(nh.voigt_to_mandel(voigt), stiffness)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ((np.ones((4, 4)),), "got 1 arrays"),
        ((np.ones((4, 4)), np.ones((4, 3))), "same shape"),
        ((np.ones((3, 3)), np.ones((3, 3))), "cell.grid is"),
        (np.ones((4, 4)), "Mandel stiffnesses"),
        (np.ones((4, 4, 2, 2)), "Mandel stiffnesses"),
    ],
)
def test_fields_that_do_not_fit_are_refused(field, message):
    with pytest.raises(ValueError, match=message):
        nh.effective_tensor(make((4, 4)), jax.tree.map(jnp.asarray, field))


@pytest.mark.parametrize(
    ("lame", "shear"),
    [(1.0, 0.0), (1.0, -1.0), (-1.0, 0.9), (np.nan, 1.0), (np.inf, 1.0), (1.0, np.nan)],
)
def test_materials_that_are_none_are_flagged(lame, shear):
    fields = tuple(jnp.ones((2, 4, 4)).at[1, 2, 2].set(value) for value in (lame, shear))
    with pytest.raises(RuntimeError, match="1 of 2"):
        nh.effective_tensor(make((4, 4)), fields)
    tensors = nh.effective_tensor(make((4, 4)), fields, throw=False)
    assert np.isfinite(tensors[0]).all()
    assert np.isnan(tensors[1]).all()


def test_a_mandel_field_that_is_not_symmetric_or_not_definite_is_flagged():
    good = jnp.broadcast_to(jnp.eye(3), (4, 4, 3, 3))
    for bad in (good.at[0, 0, 0, 1].set(0.5), good.at[1, 1, 2, 2].set(-0.1), good.at[1, 1].set(0.0)):
        with pytest.raises(RuntimeError):
            nh.effective_tensor(make((4, 4)), bad)


@pytest.mark.parametrize("d", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_stiffness_in_voigt_notation_is_refused(d):
    """The shear stiffness would be half of what it is."""
    stiffness = isotropic_stiffness(jnp.array([1.0, 4.0]), jnp.array([1.0, 0.3]), d)
    labels = np.random.default_rng(0).integers(0, 2, (2,) * d)
    cell = make((2,) * d, tolerance=1e-4)
    with pytest.raises(RuntimeError, match="Voigt notation is refused: use voigt_to_mandel"):
        nh.effective_tensor(cell, nh.mandel_to_voigt(stiffness)[labels])
    assert np.isfinite(nh.effective_tensor(cell, stiffness[labels])).all()


def test_plane_stress_is_two_dimensional_and_names_are_checked():
    with pytest.raises((ValueError, TypeError), match="strain"):  # the shape checker of the tests may come first
        nh.LinearElasticity("shell")
    with pytest.raises(ValueError, match="two-dimensional"):
        nh.effective_tensor(make((2, 2, 2), plane="stress"), random_lame(0, (2, 2, 2)))
    with pytest.raises(ValueError, match="Poisson"):
        nh.lame_from_young(1.0, 0.5)


@pytest.mark.x64_only
@pytest.mark.parametrize("contrast", [1e4, 1e6])
def test_high_contrast_and_nearly_void_are_solved(contrast):
    young = jnp.where(jnp.asarray(disk(16, 0.3)), 1 / contrast, 1.0)
    field = nh.lame_from_young(young, jnp.full_like(young, 0.3))
    solution = nh.solve_cell(make((16, 16), tolerance=1e-4), field)
    assert np.max(solution.stats["error"]) <= 1e-4
    assert np.linalg.eigvalsh(solution.effective).min() > 0.1


@pytest.mark.x64_only
def test_nearly_incompressible_phases_cost_few_iterations():
    """The reference takes Poisson's ratio of the material, so that only the contrast counts."""
    inside = jnp.asarray(disk(16, 0.3))
    for poisson in (0.0, 0.3, 0.49):
        young = jnp.where(inside, 10.0, 1.0)
        field = nh.lame_from_young(young, jnp.full_like(young, poisson))
        assert np.max(nh.solve_cell(make((16, 16), tolerance=1e-4), field).stats["iterations"]) <= 12
