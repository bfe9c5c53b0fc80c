"""Bounds and estimates from volume fractions: identities, closed forms, refusals."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from phase_estimates import BULK, FRACTIONS, KAPPA, SHEAR, elastic, functions, mixtures

import numpyro_homog as nh

each_ndim = pytest.mark.parametrize("ndim", [2, 3])


@pytest.fixture
def rtol(eps):
    return 40 * eps


# --- identities ---


@pytest.mark.x32
@each_ndim
def test_one_phase_is_itself(ndim, rtol):
    for fractions, kappa in (([1.0], [7.0]), ([0.0, 1.0], [1e-3, 7.0]), ([0.4, 0.6], [7.0, 7.0])):
        fractions, kappa = jnp.asarray(fractions), jnp.asarray(kappa)
        for name, fn in functions(ndim).items():
            np.testing.assert_allclose(fn(fractions, kappa), 7.0, rtol=rtol, err_msg=name)
        for name, fn in elastic(ndim).items():
            bulk, shear = fn(fractions, (kappa, kappa / 2))
            np.testing.assert_allclose([bulk, 2 * shear], 7.0, rtol=rtol, err_msg=name)


@pytest.mark.x32
@each_ndim
def test_reuss_lower_self_consistent_upper_voigt_in_this_order(ndim, eps):
    fractions, kappa, _ = mixtures(0)
    values = {name: np.asarray(fn(fractions, kappa)) for name, fn in functions(ndim).items()}
    chain = [values[name] for name in ("reuss", "lower", "self-consistent", "upper", "voigt")]
    for below, above in itertools.pairwise(chain):
        # At contrast 1000 and four phases they are apart by more than rounding.
        assert np.all(above > below * (1 + 10 * eps))


@pytest.mark.x32
@each_ndim
def test_the_moduli_obey_the_same_order(ndim, eps):
    fractions, bulk, shear = mixtures(1)
    pairs = {name: fn(fractions, (bulk, shear)) for name, fn in elastic(ndim).items()}
    for part, modulus in enumerate((bulk, shear)):
        chain = [nh.reuss_bound(fractions, modulus)]
        chain += [pairs[name][part] for name in ("lower", "self-consistent", "upper")]
        chain += [nh.voigt_bound(fractions, modulus)]
        for below, above in itertools.pairwise(chain):
            assert np.all(np.asarray(above) > np.asarray(below) * (1 + 10 * eps))


@each_ndim
def test_the_unit_of_the_properties_and_the_order_of_the_phases_do_not_matter(ndim, rtol):
    fractions, bulk, shear = mixtures(2, num=5)
    order = jnp.asarray([2, 0, 3, 1])
    for name, fn in functions(ndim).items():
        one = np.asarray(fn(fractions, bulk))
        # The root is as uncertain as it is sensitive: some digits next to the percolation threshold.
        close = 100 * rtol if name == "self-consistent" else rtol
        np.testing.assert_allclose(fn(fractions, 1e9 * bulk) / 1e9, one, rtol=close, err_msg=name)
        np.testing.assert_allclose(fn(fractions[:, order], bulk[:, order]), one, rtol=close, err_msg=name)
    for name, fn in elastic(ndim).items():
        one, scaled = fn(fractions, (bulk, shear)), fn(fractions, (1e-9 * bulk, 1e-9 * shear))
        np.testing.assert_allclose(np.asarray(scaled) * 1e9, one, rtol=100 * rtol, err_msg=name)


@pytest.mark.x64_only
def test_duality_of_conduction_in_the_plane(rtol):
    # Keller: K[1 / k] = 1 / K[k] for isotropic tensors. It exchanges the bounds.
    fractions, kappa, _ = mixtures(3)
    lower, upper = nh.hashin_shtrikman_bounds(fractions, kappa, ndim=2)
    dual_lower, dual_upper = nh.hashin_shtrikman_bounds(fractions, 1 / kappa, ndim=2)
    np.testing.assert_allclose(1 / dual_upper, lower, rtol=rtol)
    np.testing.assert_allclose(1 / dual_lower, upper, rtol=rtol)
    medium = nh.self_consistent(fractions, kappa, ndim=2)
    np.testing.assert_allclose(1 / nh.self_consistent(fractions, 1 / kappa, ndim=2), medium, rtol=1e-12)


@pytest.mark.x32
@each_ndim
def test_uniform_shear_modulus_is_exact(ndim, rtol):
    # Hill 1963: mu* = mu and 1 / (lam* + 2 mu) = mean of 1 / (lam + 2 mu), whatever the geometry.
    fractions, mu, lam = jnp.asarray([0.6, 0.4]), 1.0, np.array([1.0, 9.0])
    bulk = jnp.asarray(lam + 2 * mu / ndim)
    for name, fn in elastic(ndim).items():
        found, shear = fn(fractions, (bulk, jnp.full(2, mu)))
        np.testing.assert_allclose(shear, mu, rtol=rtol, err_msg=name)
        # Listed numbers: C1111 = 4.2307692, C1122 = 2.2307692, to eight digits.
        np.testing.assert_allclose(found - 2 * mu / ndim, 2.2307692, rtol=max(rtol, 2e-8), err_msg=name)


# --- closed forms of two phases ---


@pytest.mark.x32
def test_two_phases_in_the_plane_as_they_are_written_in_books(rtol):
    k1, k2, f2 = 1.0, 10.0, 0.3
    lower, upper = nh.hashin_shtrikman_bounds(jnp.asarray([1 - f2, f2]), jnp.asarray([k1, k2]), ndim=2)
    np.testing.assert_allclose(lower, k1 + f2 / (1 / (k2 - k1) + (1 - f2) / (2 * k1)), rtol=rtol)
    np.testing.assert_allclose(upper, k2 + (1 - f2) / (1 / (k1 - k2) + f2 / (2 * k2)), rtol=rtol)
    lower, upper = nh.hashin_shtrikman_bounds(jnp.asarray([1 - f2, f2]), jnp.asarray([k1, k2]), ndim=3)
    np.testing.assert_allclose(lower, k1 + f2 / (1 / (k2 - k1) + (1 - f2) / (3 * k1)), rtol=rtol)
    np.testing.assert_allclose(upper, k2 + (1 - f2) / (1 / (k1 - k2) + f2 / (3 * k2)), rtol=rtol)


@pytest.mark.x32
def test_two_elastic_phases_as_they_are_written_in_books(rtol):
    (k1, k2), (g1, g2), f1, f2 = (2.0, 11.0), (1.0, 7.0), 0.7, 0.3
    pair, fractions = (jnp.asarray([k1, k2]), jnp.asarray([g1, g2])), jnp.asarray([f1, f2])
    # Hashin and Shtrikman 1963.
    (bulk, shear), _ = nh.hashin_shtrikman_bounds(fractions, pair, ndim=3)
    np.testing.assert_allclose(bulk, k1 + f2 / (1 / (k2 - k1) + 3 * f1 / (3 * k1 + 4 * g1)), rtol=rtol)
    slope = 6 * (k1 + 2 * g1) * f1 / (5 * g1 * (3 * k1 + 4 * g1))
    np.testing.assert_allclose(shear, g1 + f2 / (1 / (g2 - g1) + slope), rtol=rtol)
    # Transverse moduli of fibres (Hashin 1965): area bulk modulus and shear modulus.
    _, (bulk, shear) = nh.hashin_shtrikman_bounds(fractions, pair, ndim=2)
    np.testing.assert_allclose(bulk, k2 + f1 / (1 / (k1 - k2) + f2 / (k2 + g2)), rtol=rtol)
    slope = f2 * (k2 + 2 * g2) / (2 * g2 * (k2 + g2))
    np.testing.assert_allclose(shear, g2 + f1 / (1 / (g1 - g2) + slope), rtol=rtol)


# --- tensors ---


@pytest.mark.x32
def test_tensor_bounds_are_those_of_scalars_on_multiples_of_the_identity(rtol):
    fractions, kappa = jnp.asarray(FRACTIONS), jnp.asarray(KAPPA)
    for size in (2, 3):  # three phases and three rows are told apart by rank
        tensors = kappa[:, None, None] * jnp.eye(size)[None]
        for fn in (nh.voigt_bound, nh.reuss_bound):
            expected = fn(fractions, kappa) * jnp.eye(size)
            np.testing.assert_allclose(fn(fractions, tensors), expected, rtol=rtol, atol=rtol)


def test_isotropic_stiffness_is_averaged_by_its_moduli(rtol):
    # Mandel, 3D: 3 K on the trace, 2 G on the rest.
    trace = np.zeros((6, 6))
    trace[:3, :3] = 1 / 3
    stiffness = 3 * BULK[:, None, None] * trace + 2 * SHEAR[:, None, None] * (np.eye(6) - trace)
    for fn in (nh.voigt_bound, nh.reuss_bound):
        bulk, shear = (fn(jnp.asarray(FRACTIONS), jnp.asarray(x)) for x in (BULK, SHEAR))
        expected = 3 * bulk * trace + 2 * shear * (np.eye(6) - trace)
        np.testing.assert_allclose(
            fn(jnp.asarray(FRACTIONS), jnp.asarray(stiffness)), expected, rtol=rtol, atol=40 * rtol
        )


def test_the_four_phase_checkerboard_is_between_reuss_and_voigt():
    phases = jnp.asarray(10 ** np.random.default_rng(6).uniform(0, 2, (10, 4)))
    tensors = nh.effective_tensor(nh.CheckerboardCell(), phases)
    quarters, crystals = jnp.full(4, 0.25), phases[..., None, None] * jnp.eye(2)[None, None]
    assert np.all(np.linalg.eigvalsh(nh.voigt_bound(quarters, crystals) - tensors) > 0)
    assert np.all(np.linalg.eigvalsh(tensors - nh.reuss_bound(quarters, crystals)) > 0)


@pytest.mark.parametrize("name", functions(2))
def test_batches_broadcast(name, rtol):
    fn, (fractions, kappa, _) = functions(2)[name], mixtures(4, num=6, phases=3)
    table = fn(fractions[:, None], kappa)  # (6, 1, 3) against (6, 3)
    assert table.shape == (6, 6)
    np.testing.assert_allclose(table[4], fn(fractions[4], kappa), rtol=100 * rtol)
    np.testing.assert_allclose(table[:, 2], fn(fractions, kappa[2]), rtol=100 * rtol)


def test_batches_of_pairs_and_tensors_broadcast(rtol):
    fractions, bulk, shear = mixtures(4, num=6, phases=3)
    pair = nh.self_consistent(fractions[0], (bulk, shear[0]), ndim=3)
    assert [part.shape for part in pair] == [(6,), (6,)]
    tensors = bulk[..., None, None] * jnp.eye(2)[None, None]
    table = nh.voigt_bound(fractions[:, None], tensors)
    assert table.shape == (6, 6, 2, 2)
    np.testing.assert_allclose(table[4], nh.voigt_bound(fractions[4], tensors), rtol=rtol)


def test_integers_are_numbers(rtol):
    np.testing.assert_allclose(nh.voigt_bound(jnp.asarray([0.5, 0.5]), np.array([1, 3])), 2.0, rtol=rtol)
    np.testing.assert_allclose(nh.self_consistent(jnp.asarray([0, 1]), np.array([1, 3]), ndim=3), 3.0, rtol=rtol)


# --- refusals ---

BAD_FRACTIONS = {
    "do not sum to one": [0.5, 0.4],
    "negative": [1.5, -0.5],
    "not a number": [np.nan, 1.0],
}


@pytest.mark.parametrize("name", BAD_FRACTIONS)
def test_fractions_that_are_none_are_refused(name):
    fractions, kappa = jnp.asarray(BAD_FRACTIONS[name]), jnp.asarray([1.0, 2.0])
    for fn in functions(2).values():
        with pytest.raises(ValueError, match=r"fractions must be >= 0 with sum one"):
            fn(fractions, kappa)
    for fn in elastic(3).values():
        with pytest.raises(ValueError, match=r"fractions must be >= 0 with sum one"):
            fn(fractions, (kappa, kappa))


@pytest.mark.x32
def test_rounded_thirds_are_fractions():
    thirds = jnp.ones(3) / jnp.asarray(3.0)
    np.testing.assert_allclose(nh.voigt_bound(thirds, jnp.asarray([1.0, 2.0, 3.0])), 2.0, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_properties_that_are_not_positive_are_refused(value):
    fractions, kappa, good = jnp.asarray([0.5, 0.5]), jnp.asarray([1.0, value]), jnp.asarray([1.0, 2.0])
    for fn in functions(3).values():
        with pytest.raises(ValueError, match="properties must be finite and positive"):
            fn(fractions, kappa)
    with pytest.raises(ValueError, match="shear must be finite and positive"):
        nh.self_consistent(fractions, (good, kappa), ndim=3)
    with pytest.raises(ValueError, match="bulk must be finite and positive"):
        nh.hashin_shtrikman_bounds(fractions, (kappa, good), ndim=3)


@pytest.mark.parametrize("tensor", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [-0.5, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]])
def test_tensors_that_are_not_definite_are_refused(tensor):
    tensors = jnp.stack([jnp.eye(2), jnp.asarray(tensor)])
    for fn in (nh.voigt_bound, nh.reuss_bound):
        with pytest.raises(ValueError, match="symmetric and positive definite"):
            fn(jnp.asarray([0.5, 0.5]), tensors)


@pytest.mark.parametrize(("ndim", "plane"), [(2, "strain"), (2, "stress"), (3, "strain")])
def test_lame_moduli_are_read_in_their_plane_state_and_not_as_bulk_and_shear(ndim, plane, rtol):
    """One material: the stiffness is 2 shear 1 + (bulk - 2 shear / d) 1 1', E / (1 - nu^2) in plane stress."""
    fractions, moduli = jnp.asarray([0.3, 0.7]), nh.lame_from_young(jnp.full(2, 70.0), jnp.full(2, 0.33))
    lower, upper = nh.hashin_shtrikman_bounds(fractions, moduli, ndim=ndim, plane=plane)
    middle = nh.self_consistent(fractions, moduli, ndim=ndim, plane=plane)
    expected = nh.isotropic_stiffness(moduli.lame_lambda[0], moduli.shear_modulus[0], ndim, plane=plane)[0, 0]
    for bulk, shear in (lower, upper, middle):
        np.testing.assert_allclose(bulk + 2 * (1 - 1 / ndim) * shear, expected, rtol=rtol)
    if plane == "stress":
        np.testing.assert_allclose(expected, 70 / (1 - 0.33**2), rtol=rtol)
        with pytest.raises(ValueError, match=r"is for nh.Lame moduli in two dimensions"):
            nh.self_consistent(fractions, tuple(moduli), ndim=2, plane="stress")
    for fn in (nh.voigt_bound, nh.reuss_bound):
        with pytest.raises(TypeError):  # the shape checker of the tests may come first
            fn(fractions, moduli)


def test_shapes_that_do_not_fit_are_named():
    fractions, kappa = jnp.asarray([0.5, 0.5]), jnp.asarray([1.0, 2.0, 3.0])
    for fn in functions(2).values():
        with pytest.raises(ValueError, match=r"\(3,\), but fractions, shape \(2,\), has 2 phases"):
            fn(fractions, kappa)
    with pytest.raises(ValueError, match="axis of phases"):
        nh.voigt_bound(fractions, jnp.asarray(1.0))
    # (2, 2, 2, 2) with fractions (2,): scalars or tensors?
    with pytest.raises(ValueError, match="batch axes of fractions"):
        nh.voigt_bound(fractions, jnp.ones((2, 2, 2, 2)))
    # The shape check of the test configuration comes first, and is a TypeError.
    with pytest.raises((ValueError, TypeError), match=r"pair \(bulk, shear\)|parameter 'properties'"):
        nh.self_consistent(fractions, (fractions,) * 3, ndim=3)
    for fn in (nh.self_consistent, nh.hashin_shtrikman_bounds):
        with pytest.raises(ValueError, match="ndim must be 2 or 3; got 1"):
            fn(fractions, fractions, ndim=1)
