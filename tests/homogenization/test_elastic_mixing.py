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


def as_stiffness(field, d):
    return isotropic_stiffness(*field, d) if isinstance(field, tuple) else field


@pytest.mark.x32
@each_rule
@pytest.mark.parametrize("d", [2, 3])
def test_pure_voxels_keep_their_phase(rule, d, eps):
    labels = np.random.default_rng(0).integers(0, 3, (4,) * d)
    grid = nh.Grid((4,) * d)
    mixed = as_stiffness(nh.mix(jax.nn.one_hot(labels, 3), (LAME, SHEAR), rule, grid=grid), d)
    np.testing.assert_allclose(mixed, isotropic_stiffness(LAME[labels], SHEAR[labels], d), atol=100 * eps)


@pytest.mark.x64_only
@each_rule
@pytest.mark.parametrize("d", [2, 3])
def test_mixtures_lie_between_reuss_and_voigt_and_scale(rule, d):
    phases = random_phases(1, (3,) * d)
    grid = nh.Grid((3,) * d, lengths=(1.0, 2.0, 0.5)[:d])
    mixed = as_stiffness(nh.mix(phases, (LAME, SHEAR), rule, grid=grid), d)
    stiffness = isotropic_stiffness(LAME, SHEAR, d)
    voigt = jnp.einsum("...j,jab->...ab", phases, stiffness)
    reuss = jnp.linalg.inv(jnp.einsum("...j,jab->...ab", phases, jnp.linalg.inv(stiffness)))
    assert np.linalg.eigvalsh(voigt - mixed).min() > -1e-10
    assert np.linalg.eigvalsh(mixed - reuss).min() > -1e-10
    scaled = as_stiffness(nh.mix(phases, (3 * LAME, 3 * SHEAR), rule, grid=grid), d)
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


@pytest.mark.x64_only
def test_cut_layers_have_the_tensor_of_the_whole_laminate():
    """A voxel that an interface cuts parallel to a face is a laminate itself: exact at any resolution."""
    share = jnp.zeros((6, 2)).at[:3].set(1.0).at[3].set(0.4)
    lame, shear = LAME[:2], SHEAR[:2]
    field = nh.mix(jnp.stack([share, 1 - share], axis=-1), (lame, shear), grid=nh.Grid((6, 2)))
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
    lame, shear = nh.lame_from_young(jnp.array([1.0, 10.0]), jnp.array([0.3, 0.3]))

    def tensor(size, field):
        cell = nh.CellProblem(nh.Grid((size, size)), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-5)
        return np.asarray(nh.effective_tensor(cell, field))

    labels = inside.astype(int)
    reference = tensor(n * factor, (lame[labels], shear[labels]))
    share = jnp.asarray(inside.reshape(n, factor, n, factor).mean((1, 3)))
    phases = jnp.stack([1 - share, share], axis=-1)
    error = {
        name: np.linalg.norm(tensor(n, nh.mix(phases, (lame, shear), rule)) - reference) for name, rule in RULES.items()
    }
    assert error["LaminateMixing"] < 0.6 * min(error["ArithmeticMixing"], error["GeometricMixing"])
    assert error["LaminateMixing"] < 0.02 * np.linalg.norm(reference)


def test_derivatives_of_mixed_stiffness_are_finite_everywhere():
    phases = jax.nn.one_hot(jnp.zeros((4, 4), int).at[1, 1].set(1), 3)
    for rule in RULES.values():
        gradient = jax.jit(
            jax.grad(lambda p, rule=rule: sum(jnp.sum(x**2) for x in jax.tree.leaves(nh.mix(phases, p, rule))))
        )((LAME, SHEAR))
        assert all(np.isfinite(part).all() for part in gradient)


@pytest.mark.parametrize(
    ("kappa", "message"),
    [
        ((LAME, SHEAR, SHEAR), "got 3"),
        ((LAME, -SHEAR), "shear modulus must be"),
        ((-SHEAR, SHEAR), "above -2/2"),
        ((LAME[:2], SHEAR[:2]), "3 phases"),
    ],
)
def test_what_is_no_material_is_refused(kappa, message):
    with pytest.raises(ValueError, match=message):
        nh.mix(random_phases(0, (4, 4)), kappa)
