"""Mixing rules for elastic phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.homogenization import (
    ArithmeticMixing,
    GeometricMixing,
    HarmonicMixing,
    LaminateMixing,
    isotropic_stiffness,
)
from numpyro_homog.homogenization._laminate import laminate_stiffness

RULES = {
    type(rule).__name__: rule for rule in (ArithmeticMixing(), HarmonicMixing(), GeometricMixing(), LaminateMixing())
}
LAME, SHEAR = jnp.array([1.0, 4.0, -0.1]), jnp.array([1.0, 0.3, 7.0])
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def random_phases(seed, shape, num=3):
    fractions = np.random.default_rng(seed).dirichlet(np.full(num, 0.5), shape)
    return jnp.asarray(fractions)


MODULI = nh.Lame(LAME, SHEAR)


@pytest.mark.x32
@each_rule
@pytest.mark.parametrize("d", [2, 3])
def test_pure_voxels_keep_their_phase(rule, d, eps):
    labels = np.random.default_rng(0).integers(0, 3, (4,) * d)
    grid = nh.Grid((4,) * d)
    mixed = nh.mix(jax.nn.one_hot(labels, 3), MODULI, rule, grid=grid).stiffness()
    np.testing.assert_allclose(mixed, isotropic_stiffness(LAME[labels], SHEAR[labels], d), atol=100 * eps)


@pytest.mark.x64_only
@each_rule
@pytest.mark.parametrize(("d", "plane"), [(2, "strain"), (2, "stress"), (3, "strain")])
def test_mixtures_lie_between_reuss_and_voigt_and_scale(rule, d, plane):
    phases = random_phases(1, (3,) * d)
    grid = nh.Grid((3,) * d, lengths=(1.0, 2.0, 0.5)[:d])
    mixed = nh.mix(phases, MODULI, rule, grid=grid).stiffness(plane)
    stiffness = isotropic_stiffness(LAME, SHEAR, d, plane=plane)
    voigt = jnp.einsum("...j,jab->...ab", phases, stiffness)
    reuss = jnp.linalg.inv(jnp.einsum("...j,jab->...ab", phases, jnp.linalg.inv(stiffness)))
    assert np.linalg.eigvalsh(voigt - mixed).min() > -1e-10
    assert np.linalg.eigvalsh(mixed - reuss).min() > -1e-10
    scaled = nh.mix(phases, nh.Lame(3 * LAME, 3 * SHEAR), rule, grid=grid).stiffness(plane)
    np.testing.assert_allclose(scaled, 3 * mixed, rtol=1e-10, atol=1e-12)


@pytest.mark.x64_only
@pytest.mark.parametrize("d", [2, 3])
def test_a_turned_laminate_is_the_turned_laminate(d):
    """Against the rotation of the stiffness of layers across the first axis, which is exact (Backus 1962)."""
    weights = np.array([0.3, 0.5, 0.2])
    mean = lambda values: sum(w * v for w, v in zip(weights, values, strict=True))  # noqa: E731

    def stiffness(normal):
        index = [tuple(sorted(i)) for i in np.ndindex(*(d,) * 4)]
        moments = {i: jnp.asarray(np.prod([normal[j] for j in i])) for i in sorted(set(index))}
        return laminate_stiffness(mean, list(LAME), list(SHEAR), moments, d)

    frame, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))
    pairs = [(0, 0), (1, 1), (0, 1)] if d == 2 else [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    basis = []
    for i, j in pairs:
        unit = np.zeros((d, d))
        unit[i, j] += 0.5
        unit[j, i] += 0.5
        basis.append(unit / np.linalg.norm(unit))
    turn = np.array([[np.sum(a * (frame @ b @ frame.T)) for b in basis] for a in basis])
    expected = turn @ np.asarray(stiffness(np.eye(d)[0])) @ turn.T
    np.testing.assert_allclose(stiffness(frame[:, 0]), expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.x64_only
def test_cut_layers_have_the_tensor_of_the_whole_laminate():
    """A voxel that an interface cuts parallel to a face is a laminate itself: exact at any resolution."""
    share = jnp.zeros((6, 2)).at[:3].set(1.0).at[3].set(0.4)
    lame, shear = LAME[:2], SHEAR[:2]
    field = nh.mix(jnp.stack([share, 1 - share], axis=-1), nh.Lame(lame, shear), grid=nh.Grid((6, 2)))
    cell = nh.CellProblem(nh.Grid((6, 2)), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-12)
    weights = np.array([3.4, 2.6]) / 6
    across = 1 / (weights @ (1 / (lame + 2 * shear)))
    effective = np.asarray(nh.effective_tensor(cell, field))
    np.testing.assert_allclose(effective[0, 0], across, rtol=1e-10)
    np.testing.assert_allclose(effective[0, 1], across * (weights @ (lame / (lame + 2 * shear))), rtol=1e-10)
    np.testing.assert_allclose(effective[2, 2], 2 / (weights @ (1 / shear)), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.x64_only
def test_laminates_are_closer_than_isotropic_rules_on_inclined_interfaces():
    """A circle at n = 16: sub-voxel fractions against sharp voxels sixteen times finer."""
    n, factor = 16, 16
    x = (np.arange(n * factor) + 0.5) / (n * factor) - 0.5
    inside = (x[:, None] ** 2 + x[None] ** 2 < 0.1).astype(float)
    moduli = nh.lame_from_young(jnp.array([1.0, 10.0]), jnp.array([0.3, 0.3]))

    def tensor(size, field):
        cell = nh.CellProblem(nh.Grid((size, size)), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-5)
        return np.asarray(nh.effective_tensor(cell, field))

    labels = inside.astype(int)
    reference = tensor(n * factor, tuple(part[labels] for part in moduli))
    share = jnp.asarray(inside.reshape(n, factor, n, factor).mean((1, 3)))
    phases = jnp.stack([1 - share, share], axis=-1)
    error = {name: np.linalg.norm(tensor(n, nh.mix(phases, moduli, rule)) - reference) for name, rule in RULES.items()}
    assert error["LaminateMixing"] < 0.6 * min(error["ArithmeticMixing"], error["GeometricMixing"])
    assert error["LaminateMixing"] < 0.02 * np.linalg.norm(reference)


@pytest.mark.slow
def test_derivatives_of_mixed_stiffness_are_finite_everywhere():
    phases = jax.nn.one_hot(jnp.zeros((4, 4), int).at[1, 1].set(1), 3)
    for rule in RULES.values():
        gradient = jax.jit(
            jax.grad(lambda p, rule=rule: sum(jnp.sum(x**2) for x in [nh.mix(phases, p, rule).stiffness()]))
        )(MODULI)
        assert all(np.isfinite(part).all() for part in gradient)


@pytest.mark.parametrize(
    ("kappa", "message"),
    [
        ((LAME, SHEAR, SHEAR), "got 3 arrays"),
        (nh.Lame(LAME, -SHEAR), "shear modulus must be"),
        (nh.Lame(-SHEAR, SHEAR), "above -2/2"),
        (nh.Lame(LAME[:2], SHEAR[:2]), "3 phases"),
    ],
)
def test_what_is_no_material_is_refused(kappa, message):
    with pytest.raises(ValueError, match=message):
        nh.mix(random_phases(0, (4, 4)), kappa)


def test_a_pair_of_young_and_poisson_is_not_taken_for_lame_parameters():
    phases = random_phases(0, (4, 4))
    young, poisson = jnp.array([70.0, 3.0, 200.0]), jnp.array([0.33, 0.4, 0.28])
    with pytest.raises(ValueError, match=r"looks like Young's moduli .* name it: nh.lame_from_young"):
        nh.mix(phases, (young, poisson))
    cell = nh.TwoGridCell(plane_cell("strain", 4))
    with pytest.raises(ValueError, match="looks like Young's moduli"):
        nh.effective_tensor(cell, (phases, (young, poisson)))
    with pytest.raises(TypeError, match=r"write jnp.array\(\[1.0, 2.0, 3.0\]\)"):
        nh.mix(phases, [1.0, 2.0, 3.0])


def test_a_bare_pair_of_lame_parameters_is_taken_with_a_warning_also_under_jit():
    phases = random_phases(0, (4, 4))
    expected = nh.mix(phases, MODULI).stiffness()
    with pytest.warns(FutureWarning, match=r"nh.Lame"):
        bare = nh.mix(phases, (LAME, SHEAR)).stiffness()
    np.testing.assert_array_equal(bare, expected)
    with pytest.warns(FutureWarning, match=r"nh.Lame"):
        jax.eval_shape(lambda lame: nh.mix(phases, (lame, SHEAR)), LAME)


# --- plane stress ---


def plane_cell(plane, n, **options):
    return nh.CellProblem(nh.Grid((n, n)), nh.LinearElasticity(plane), nh.Periodic(), **options)


@each_rule
@pytest.mark.parametrize("young", [pytest.param((70.0, 70.0), id="one material"), pytest.param((3.0, 70.0), id="two")])
def test_plane_stress_is_not_lost_in_a_mixture(rule, young, x64):
    """Two equal phases have E / (1 - nu^2), not the 103.715 of plane strain; pure voxels are those of their phase."""
    poisson = (0.33, 0.33) if young[0] == young[1] else (0.4, 0.22)
    moduli = nh.lame_from_young(jnp.array(young), jnp.array(poisson))
    labels = np.random.default_rng(0).integers(0, 2, (4, 4))
    phases = nh.phases_from_labels(labels, 2)
    cell = plane_cell("stress", 4, tolerance=1e-10 if x64 else 1e-5)
    found = nh.effective_tensor(cell, nh.mix(phases, moduli, rule))
    rtol = 1e-9 if x64 else 1e-4
    if young[0] == young[1]:
        np.testing.assert_allclose(found[0, 0], 70 / (1 - 0.33**2), rtol=rtol)
    sharp = nh.effective_tensor(cell, nh.Lame(*(part[labels] for part in moduli)))
    np.testing.assert_allclose(found, sharp, rtol=rtol, atol=rtol * float(sharp[0, 0]))
    stiffness = isotropic_stiffness(*moduli, 2, plane="stress")
    np.testing.assert_allclose(
        nh.effective_tensor(cell, stiffness[labels]), sharp, rtol=rtol, atol=rtol * float(sharp[0, 0])
    )


@pytest.mark.slow
@pytest.mark.x64_only
@each_rule
def test_plane_stress_is_not_lost_on_two_grids(rule):
    moduli = nh.lame_from_young(jnp.full(2, 70.0), jnp.full(2, 0.33))
    cell = nh.TwoGridCell(plane_cell("stress", 4), rule)
    found = nh.effective_tensor(cell, (random_phases(0, (4, 4), 2), moduli))
    np.testing.assert_allclose(found[0, 0], 70 / (1 - 0.33**2), rtol=1e-6)


@pytest.mark.x64_only
def test_cut_layers_of_a_plate_are_the_laminate_of_plane_stress():
    """Across: 1 / <1 / M> with M = E / (1 - nu^2); along it, by the thin plates' own moduli (Backus 1962)."""
    share = jnp.zeros((6, 2)).at[:3].set(1.0).at[3].set(0.4)
    young, poisson = np.array([3.0, 70.0]), np.array([0.4, 0.22])
    grid = nh.Grid((6, 2))
    moduli = nh.lame_from_young(jnp.asarray(young), jnp.asarray(poisson))
    field = nh.mix(jnp.stack([share, 1 - share], axis=-1), moduli, grid=grid)
    cell = nh.CellProblem(grid, nh.LinearElasticity("stress"), nh.Periodic(), tolerance=1e-12)
    effective = nh.effective_tensor(cell, field)
    stiff, weights = young / (1 - poisson**2), np.array([3.4, 2.6]) / 6
    across = 1 / (weights @ (1 / stiff))
    along = weights @ young + across * (weights @ poisson) ** 2
    np.testing.assert_allclose(effective[0, 0], across, rtol=1e-10)
    np.testing.assert_allclose(effective[0, 1], across * (weights @ poisson), rtol=1e-10)
    np.testing.assert_allclose(effective[1, 1], along, rtol=1e-10)


@pytest.mark.slow
def test_a_mixture_goes_where_a_field_goes_and_nowhere_else():
    phases, cell = random_phases(0, (2, 4, 4)), plane_cell("stress", 4)
    field = nh.mix(phases, nh.Lame(jnp.stack([LAME + 1, LAME + 2])[:, None], jnp.stack([SHEAR] * 2)[:, None]))
    tensors = nh.effective_tensor(cell, field)
    assert tensors.shape == (2, 2, 3, 3)
    member = jax.tree.map(lambda part: part[1, 0], field)
    np.testing.assert_allclose(jax.jit(lambda f: nh.effective_tensor(cell, f))(member), tensors[1, 0], rtol=1e-5)
    gradient, flux = nh.local_fields(cell, member, nh.solve_cell(cell, member))
    assert gradient.shape == flux.shape == (3, 4, 4, 3)
    with pytest.raises(TypeError, match="one array of conductivities; got ElasticMixture"):
        nh.effective_tensor(nh.CellProblem(nh.Grid((4, 4)), nh.Conductivity(), nh.Periodic()), field)
    with pytest.raises(ValueError, match=r"cell.grid is \(6, 6\)"):
        nh.effective_tensor(plane_cell("stress", 6), field)


@pytest.mark.slow
def test_a_plate_of_no_material_is_flagged():
    """lambda = -.9 mu is stable in plane strain and not in three dimensions."""
    field = nh.mix(random_phases(0, (4, 4), 2), nh.Lame(jnp.array([1.0, -0.9]), jnp.ones(2)))
    assert np.isfinite(nh.effective_tensor(plane_cell("strain", 4), field)).all()
    assert np.isnan(nh.effective_tensor(plane_cell("stress", 4), field, throw=False)).all()
    with pytest.raises(ValueError, match="two-dimensional"):
        isotropic_stiffness(1.0, 1.0, 3, plane="stress")


def test_the_interfaces_of_voxels_that_are_not_square_need_their_grid():
    """Without `grid=` the normals of laminates were those of square voxels, without a word."""
    grid = nh.Grid((4, 8))
    phases = jnp.full((4, 8, 2), 0.5)
    cell = nh.CellProblem(grid, nh.LinearElasticity(), nh.Periodic())
    with pytest.raises(ValueError, match=r"mix\(\.\.\., grid=cell\.grid\)"):
        jax.eval_shape(lambda x: nh.effective_tensor(cell, nh.mix(x, nh.Lame(*jnp.ones((2, 2))))), phases)
