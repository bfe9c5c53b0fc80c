"""Effective thermal expansion: against Levin's formula, a free cell solved directly, and laminates."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_cells import strain_matrices

import numpyro_homog as nh
from numpyro_homog.homogenization import ArithmeticMixing, GeometricMixing, HarmonicMixing, LaminateMixing

YOUNG, POISSON, ALPHA = np.array([3.0, 70.0, 10.0]), np.array([0.4, 0.22, 0.1]), np.array([60.0, 5.0, 20.0])
STATES = {"strain": (2, "strain"), "stress": (2, "stress"), "space": (3, "strain")}
each_rule = pytest.mark.parametrize("rule", [LaminateMixing(), ArithmeticMixing(), HarmonicMixing()], ids=str)
each_state = pytest.mark.parametrize(("d", "plane"), STATES.values(), ids=STATES)
stress_and_slowly_the_others = pytest.mark.parametrize(
    ("d", "plane"), [pytest.param(*s, marks=[pytest.mark.slow] * (n != "stress"), id=n) for n, s in STATES.items()]
)


def make(shape, plane="strain", **options):
    return nh.CellProblem(nh.Grid(shape), nh.LinearElasticity(plane), nh.Periodic(), **{"tolerance": 1e-12} | options)


def moduli_of(num):
    return nh.lame_from_young(jnp.asarray(YOUNG[:num]), jnp.asarray(POISSON[:num]))


def free_strains(num, d, plane):
    """What each phase does alone, Mandel: in plane strain its ends are held."""
    held = 1 + POISSON[:num] if (d, plane) == (2, "strain") else np.ones(num)
    return (ALPHA[:num] * held)[:, None] * np.array([1.0] * d + [0.0] * (d * (d - 1) // 2))


def labels_of(num, shape, seed=0):
    return np.random.default_rng(seed).integers(0, num, shape)


def expansion_of_a_free_cell(stiffness, eigenstrain):
    """The macroscopic strain of a periodic cell of unit voxels whose stress is zero on average: one dense solve."""
    shape = stiffness.shape[:-2]
    d, size = len(shape), stiffness.shape[-1]
    number = np.arange(np.prod(shape)).reshape(shape)
    num = number.size * d
    matrix, force = np.zeros((num + size,) * 2), np.zeros(num + size)
    for voxel in np.ndindex(*shape):
        own = [number[tuple(np.add(voxel, c) % shape)] for c in itertools.product((0, 1), repeat=d)]
        dofs = [node * d + k for node in own for k in range(d)] + list(range(num, num + size))
        for b in strain_matrices((1.0,) * d, True):
            whole = np.hstack([b, np.eye(size)])
            np.add.at(matrix, np.ix_(dofs, dofs), whole.T @ stiffness[voxel] @ whole)
            np.add.at(force, dofs, whole.T @ stiffness[voxel] @ eigenstrain[voxel])
    return np.linalg.lstsq(matrix, force, rcond=1e-12)[0][num:]


@pytest.mark.x64_only
@stress_and_slowly_the_others
def test_two_phases_obey_levins_formula(d, plane):
    """alpha* = <alpha> + (S* - <S>) (S_1 - S_2)^-1 (alpha_1 - alpha_2), exactly, with the S* of the same grid."""
    labels, moduli = labels_of(2, (4,) * d if d == 2 else (2, 2, 3)), moduli_of(2)
    cell = make(labels.shape, plane)
    found = nh.thermal_expansion(cell, nh.Lame(*(p[labels] for p in moduli)), jnp.asarray(ALPHA)[labels])
    alone = free_strains(2, d, plane)
    compliance = np.linalg.inv(nh.isotropic_stiffness(*moduli, d, plane=plane))
    shares = np.bincount(labels.ravel(), minlength=2) / labels.size
    change = np.linalg.inv(found.stiffness) - np.einsum("j,jab->ab", shares, compliance)
    expected = shares @ alone + change @ np.linalg.solve(compliance[0] - compliance[1], alone[0] - alone[1])
    np.testing.assert_allclose(found.expansion, expected, atol=2e-6 * ALPHA.max())
    assert np.all(np.abs(found.expansion - expected) <= found.error + 1e-12)


@pytest.mark.slow
@pytest.mark.x64_only
@each_state
def test_three_phases_expand_as_a_free_cell_that_is_solved_directly(d, plane):
    labels, moduli = labels_of(3, (4, 3) if d == 2 else (2, 2, 3), 1), moduli_of(3)
    stiffness = np.asarray(nh.isotropic_stiffness(*moduli, d, plane=plane))[labels]
    strain = free_strains(3, d, plane)[labels]
    expected = expansion_of_a_free_cell(stiffness, strain)
    cell = nh.CellProblem(
        nh.Grid(labels.shape, lengths=labels.shape), nh.LinearElasticity(plane), nh.Periodic(), tolerance=1e-12
    )
    pair = nh.thermal_expansion(cell, nh.Lame(*(p[labels] for p in moduli)), jnp.asarray(ALPHA)[labels])
    tensors = nh.thermal_expansion(cell, jnp.asarray(stiffness), jnp.asarray(strain))
    phases = jnp.asarray(nh.phases_from_labels(labels, 3))
    mixture = nh.thermal_expansion(cell, nh.mix(phases, moduli, grid=cell.grid), jnp.asarray(ALPHA))
    for found in (pair, tensors, mixture):
        np.testing.assert_allclose(found.expansion, expected, atol=2e-6 * ALPHA.max())
    assert np.abs(expected[:d] - free_strains(3, d, plane).mean(0)[:d]).max() > 0.5  # it is not the mean


@pytest.mark.x32
@stress_and_slowly_the_others
def test_a_uniform_expansion_is_that_of_the_cell_whatever_its_stiffness(d, plane, eps):
    labels, moduli = labels_of(2, (2,) * d), moduli_of(2)
    moduli = moduli if plane == "stress" or d == 3 else nh.lame_from_young(jnp.asarray(YOUNG[:2]), jnp.full(2, 0.3))
    held = 1.3 if (d, plane) == (2, "strain") else 1.0
    field = nh.Lame(*(p[labels] for p in moduli))
    found = nh.thermal_expansion(make((2,) * d, plane, tolerance=1e-3), field, jnp.full((2,) * d, 7.0))
    expected = 7.0 * held * np.array([1.0] * d + [0.0] * (d * (d - 1) // 2))
    np.testing.assert_allclose(found.expansion, expected, rtol=1e3 * eps, atol=1e3 * eps)
    assert np.all(found.error < 1e2 * eps**0.5)


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_error_that_a_loose_tolerance_leaves_is_bounded():
    labels = labels_of(3, (6, 6), 2)
    field, alpha = nh.Lame(*(p[labels] for p in moduli_of(3))), jnp.asarray(ALPHA)[labels]
    exact = nh.thermal_expansion(make(labels.shape), field, alpha).expansion
    for tolerance in (1e-1, 1e-3):
        found = nh.thermal_expansion(make(labels.shape, tolerance=tolerance), field, alpha)
        assert np.all(np.abs(found.expansion - exact) <= found.error)
        assert np.all(found.error < 3 * tolerance**0.5 * ALPHA.max())


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.parametrize("plane", ["strain", "stress"])
def test_cut_layers_expand_as_the_layers_do(plane):
    """A voxel that an interface cuts is a laminate: the same as thirty voxels whose interfaces are faces."""
    share = jnp.zeros((6, 2)).at[:3].set(1.0).at[3].set(0.4)
    field = nh.mix(jnp.stack([share, 1 - share], axis=-1), moduli_of(2), grid=nh.Grid((6, 2)))
    found = nh.thermal_expansion(make((6, 2), plane), field, jnp.asarray(ALPHA[:2]))
    labels = (np.arange(30) >= 17).astype(int)[:, None].repeat(2, axis=1)
    sharp = nh.Lame(*(p[labels] for p in moduli_of(2)))
    expected = nh.thermal_expansion(make((30, 2), plane), sharp, jnp.asarray(ALPHA)[labels])
    np.testing.assert_allclose(found.expansion, expected.expansion, atol=1e-6 * ALPHA.max())


@pytest.mark.x64_only
@pytest.mark.parametrize(
    "rule", [LaminateMixing(), ArithmeticMixing(), HarmonicMixing()], ids=lambda r: type(r).__name__
)
@each_state
def test_mixed_voxels_of_two_phases_obey_levins_formula(rule, d, plane):
    """What makes both phases C_j alpha_0 + tau_0 makes any mixture of them C alpha_0 + tau_0."""
    shares = np.random.default_rng(0).dirichlet(np.ones(2), (3,) * d)
    field = nh.mix(jnp.asarray(shares), moduli_of(2), rule, grid=nh.Grid((3,) * d))
    unit = np.array([1.0] * d + [0.0] * (d * (d - 1) // 2))
    stiffness = np.asarray(nh.isotropic_stiffness(*moduli_of(2), d, plane=plane))
    pressure = stiffness[:, 0] @ unit * free_strains(2, d, plane)[:, 0]
    uniform = (pressure[0] - pressure[1]) / ((stiffness[0] - stiffness[1])[0] @ unit)
    rest = pressure[0] - stiffness[0, 0] @ unit * uniform
    expected = np.asarray(field.stiffness(plane)) @ unit * uniform + rest * unit
    found = field.thermal_stress(jnp.asarray(ALPHA[:2]), plane)
    np.testing.assert_allclose(found, expected, atol=1e-8 * pressure.max())


@pytest.mark.slow
@pytest.mark.x64_only
def test_batches_programs_and_derivatives():
    labels, moduli = labels_of(2, (4, 4)), moduli_of(2)
    phases = jnp.asarray(nh.phases_from_labels(labels, 2)) * 0.8 + 0.1
    cell = make((4, 4), "stress", tolerance=1e-10)

    def expansion(young, alpha):
        return nh.thermal_expansion(cell, nh.mix(phases, nh.lame_from_young(young, POISSON[:2])), alpha).expansion

    young, alpha = jnp.asarray(YOUNG[:2]), jnp.asarray(ALPHA[:2])
    single = expansion(young, alpha)
    batch = nh.Lame(*(jnp.stack([part, 2 * part]) for part in moduli))
    found = jax.jit(lambda a: nh.thermal_expansion(cell, nh.mix(phases, batch), a))(alpha)
    np.testing.assert_allclose(found.expansion, jnp.stack([single, single]), rtol=1e-6, atol=1e-6)
    step = 1e-4
    for number, derivative in enumerate(jax.jit(jax.jacrev(expansion, argnums=(0, 1)))(young, alpha)):
        for j in range(2):
            ends = []
            for sign in (1, -1):
                values = [young, alpha]
                values[number] = values[number].at[j].add(sign * step)
                ends.append(expansion(*values))
            np.testing.assert_allclose(derivative[:, j], (ends[0] - ends[1]) / (2 * step), atol=2e-3)


def test_a_failed_member_is_nan_alone():
    field = nh.Lame(jnp.ones((2, 4, 4)), jnp.ones((2, 4, 4)).at[0].set(-1.0))
    found = nh.thermal_expansion(make((4, 4), tolerance=1e-4), field, jnp.ones((4, 4)), throw=False)
    assert np.isnan(found.expansion[0]).all()
    assert np.isfinite(found.expansion[1]).all()
    with pytest.raises(RuntimeError, match="1 of 2"):
        nh.thermal_expansion(make((4, 4), tolerance=1e-4), field, jnp.ones((4, 4)))


def test_what_does_not_fit_is_refused():
    cell = make((4, 4), tolerance=1e-4)
    pair = nh.Lame(jnp.ones((4, 4)), jnp.ones((4, 4)))
    mixture = nh.mix(jnp.full((4, 4, 2), 0.5), nh.Lame(jnp.ones(2), jnp.ones(2)))
    with pytest.raises(TypeError, match="LinearElasticity"):
        nh.thermal_expansion(nh.CellProblem(cell.grid, nh.Conductivity(), nh.Periodic()), jnp.ones((4, 4)), 1.0)
    for expansion in (jnp.ones(2), jnp.ones((4, 4, 2)), jnp.asarray(1.0)):
        with pytest.raises(ValueError, match="expected one number for each voxel"):
            nh.thermal_expansion(cell, pair, expansion)
    with pytest.raises(ValueError, match="the mixture has 2 phases"):
        nh.thermal_expansion(cell, mixture, jnp.ones((4, 4)))
    with pytest.raises(ValueError, match="does not tell the stress out of the plane"):
        nh.thermal_expansion(cell, mixture.stiffness(), jnp.ones((4, 4)))
    parts = (mixture.phases, mixture.moduli)
    with pytest.raises(ValueError, match="GeometricMixing has no thermal stress"):
        nh.thermal_expansion(cell, nh.homogenization.ElasticMixture(*parts, GeometricMixing(), (1.0, 1.0)), jnp.ones(2))
