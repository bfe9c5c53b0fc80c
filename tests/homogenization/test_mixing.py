"""Mixing rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.homogenization import ArithmeticMixing, GeometricMixing, HarmonicMixing, LaminateMixing

KAPPA = np.array([1.0, 5.0, 10.0])
ISOTROPIC = [ArithmeticMixing(), HarmonicMixing(), GeometricMixing()]
RULES = [*ISOTROPIC, LaminateMixing()]


def phases(shape=(12, 12), num=3, batch=(2,), seed=0):
    """Smooth blobs with pure and mixed voxels."""
    rng = np.random.default_rng(seed)
    raw = np.fft.ifftn(
        np.fft.fftn(rng.normal(size=(*batch, *shape, num)), axes=(-3, -2)) * smoothing(shape), axes=(-3, -2)
    )
    f = np.clip(raw.real / raw.real.std() + 0.6, 0, None) ** 2 + 1e-9
    f[f < 0.2 * f.max(-1, keepdims=True)] = 0
    return jnp.asarray(f / f.sum(-1, keepdims=True))


def smoothing(shape):
    k = sum(q**2 for q in np.meshgrid(*(np.fft.fftfreq(n) * n for n in shape), indexing="ij"))
    return np.exp(-k / 6)[..., None]


def full(field, d):
    """Isotropic fields as tensor fields."""
    return field if field.shape[-2:] == (d, d) else np.asarray(field)[..., None, None] * np.eye(d)


def strips(position, n, axis, other=1):
    """Two phases; the interface cuts the voxels at `position`, aligned with the grid."""
    edges = np.arange(n + 1) / n
    f = n * np.clip(np.minimum(edges[1:], position) - edges[:-1], 0, None)
    f = np.broadcast_to(f[:, None] if axis == 0 else f[None], (n, n))
    return jnp.asarray(np.stack([f, 1 - f], -1))


@pytest.mark.parametrize("rule", RULES)
def test_pure_voxels_and_homogeneous_cells_stay_what_they_are(rule, eps):
    f = phases()
    field = full(nh.mix(f, jnp.full(3, 2.5), rule), 2)
    np.testing.assert_allclose(field, np.broadcast_to(2.5 * np.eye(2), field.shape), rtol=20 * eps, atol=20 * eps)
    pure = np.asarray(f.max(-1) == 1)
    assert pure.any()
    field = np.asarray(full(nh.mix(f, jnp.asarray(KAPPA), rule), 2))
    expected = KAPPA[np.argmax(f, -1)][..., None, None] * np.eye(2)
    np.testing.assert_allclose(field[pure], expected[pure], rtol=20 * eps, atol=20 * eps)


@pytest.mark.x64_only
@pytest.mark.parametrize("axis", [0, 1])
def test_aligned_laminate_is_exact_at_any_sub_voxel_position(axis):
    cell = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic(), tolerance=1e-10)
    for position in (0.5, 0.53, 0.61):
        tensor = nh.effective_tensor(cell, nh.mix(strips(position, 8, axis), jnp.array([1.0, 7.0])))
        across, along = 1 / (position + (1 - position) / 7), position + 7 * (1 - position)
        expected = np.diag([across, along] if axis == 0 else [along, across])
        np.testing.assert_allclose(tensor, expected, atol=1e-7)  # the tolerance of the solve, relative to the bound


def test_wiener_bounds_hold_in_the_loewner_order(eps):
    f, kappa = phases(), jnp.asarray(KAPPA)
    low, middle, high = (full(nh.mix(f, kappa, r), 2) for r in (HarmonicMixing(), LaminateMixing(), ArithmeticMixing()))
    assert float(np.linalg.eigvalsh(middle - low).min()) > -100 * eps
    assert float(np.linalg.eigvalsh(high - middle).min()) > -100 * eps
    # One principal value or the other is not enough: the trace is fixed by the rule.
    trace = np.trace(middle, axis1=-2, axis2=-1)
    np.testing.assert_allclose(trace, low[..., 0, 0] + high[..., 0, 0], rtol=100 * eps)


def test_laminate_mixing_turns_with_the_cell(eps):
    f, kappa = phases(), jnp.asarray(KAPPA)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = nh.mix(jnp.rot90(f, axes=(1, 2)), kappa)
    expected = turn @ np.rot90(np.asarray(nh.mix(f, kappa)), axes=(1, 2)) @ turn.T
    np.testing.assert_allclose(turned, expected, atol=1e4 * eps)
    shifted = nh.mix(jnp.roll(f, (2, 3), (1, 2)), kappa)
    np.testing.assert_allclose(shifted, jnp.roll(nh.mix(f, kappa), (2, 3), (1, 2)), atol=1e3 * eps)


@pytest.mark.parametrize("rule", RULES)
def test_scaling_and_permutation(rule, eps):
    f, kappa = phases(), jnp.asarray(KAPPA)
    field = nh.mix(f, kappa, rule)
    np.testing.assert_allclose(nh.mix(f, 3 * kappa, rule), 3 * field, rtol=1e4 * eps, atol=1e4 * eps)
    order = np.array([1, 2, 0])
    np.testing.assert_allclose(nh.mix(f[..., order], kappa[order], rule), field, rtol=1e4 * eps, atol=1e4 * eps)


def test_laminate_mixing_keeps_the_duality_of_two_dimensions(eps):
    # K[1/k] = R' K[k]^-1 R holds voxel by voxel if the normal does not change.
    f, kappa = phases(), jnp.asarray(KAPPA)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    dual = turn.T @ np.linalg.inv(np.asarray(nh.mix(f, kappa))) @ turn
    one_normal = np.asarray(nh.mix(strips(0.53, 12, 0), jnp.array([1.0, 7.0])))
    dual_normal = turn.T @ np.linalg.inv(one_normal) @ turn
    np.testing.assert_allclose(nh.mix(strips(0.53, 12, 0), 1 / jnp.array([1.0, 7.0])), dual_normal, atol=1e3 * eps)
    assert np.abs(np.asarray(nh.mix(f, 1 / kappa)) - dual).mean() < 0.02


def test_laminate_mixing_is_continuous_where_the_gradient_vanishes(eps):
    kappa = jnp.array([1.0, 9.0])
    even = jnp.full((6, 6, 2), 0.5)
    field = nh.mix(even, kappa)
    np.testing.assert_allclose(
        field, np.broadcast_to((5 + 1.8) / 2 * np.eye(2), field.shape), rtol=1e3 * eps, atol=1e-6
    )
    gradient = jax.grad(lambda f: nh.mix(f, kappa)[..., 0].sum())(even)
    assert bool(jnp.all(jnp.isfinite(gradient)))


@pytest.mark.x64_only
@pytest.mark.parametrize("rule", RULES)
def test_derivatives_agree_with_central_differences(rule):
    z = jax.random.uniform(jax.random.key(3), (3, 2))
    direction = jnp.array([0.3, 1.0, -2.0])

    def field(t):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # NumPyro's own code
            f = nh.LaguerreTessellation(nh.Grid((8, 8)), jnp.array([0.0, 0.1, 0.05]) + 0.05 * t * direction).transforms[
                0
            ](z)
        return nh.mix(f, jnp.asarray(KAPPA) + t * direction, rule)

    _, tangent = jax.jvp(field, (0.0,), (1.0,))
    step = 1e-6
    np.testing.assert_allclose(tangent, (field(step) - field(-step)) / (2 * step), atol=1e-4)


def test_batches_broadcast():
    f = phases(batch=(2,))
    for kappa, batch in ((KAPPA, (2,)), (np.ones((2, 3)), (2,)), (np.ones((5, 1, 3)), (5, 2)), (np.ones((1, 3)), (2,))):
        assert nh.mix(f, jnp.asarray(kappa)).shape == (*batch, 12, 12, 2, 2)
        assert nh.mix(f, jnp.asarray(kappa), GeometricMixing()).shape == (*batch, 12, 12)
    assert nh.mix(f[0], jnp.ones((4, 3))).shape == (4, 12, 12, 2, 2)
    with pytest.raises(ValueError, match="does not broadcast"):
        nh.mix(f, jnp.ones((3, 3)))


def test_grid_gives_dimension_and_voxel_shape(eps):
    # An interface at 45 degrees in space, on voxels twice as long as wide.
    grid = nh.Grid((8, 8), lengths=(1.0, 2.0))
    x = grid.centers(jnp.result_type(float))
    ramp = jnp.clip(0.5 + (x[..., 0] + x[..., 1] - 1.5) / 2, 0, 1)
    field = nh.mix(jnp.stack([ramp, 1 - ramp], -1), jnp.array([1.0, 2.0]), grid=grid)
    inner = field[3, 3]
    assert float(inner[0, 0]) == pytest.approx(float(inner[1, 1]), rel=1e-5)
    assert float(inner[0, 1]) < 0
    cube = nh.Grid((4, 4, 4))
    half = jnp.broadcast_to(jnp.array([1.0, 0.25, 0.0, 0.75])[:, None, None], (4, 4, 4))
    field = nh.mix(jnp.stack([half, 1 - half], -1), jnp.array([1.0, 4.0]), grid=cube)
    along, across = 0.25 + 0.75 * 4, 1 / (0.25 + 0.75 / 4)
    np.testing.assert_allclose(field[1, 0, 0], np.diag([across, along, along]), rtol=1e3 * eps, atol=1e3 * eps)


def test_dtype_follows_the_phases(x64):
    f = phases()
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert nh.mix(f.astype(dtype), jnp.asarray(KAPPA)).dtype == dtype
    labels = jax.nn.one_hot(jnp.zeros((4, 4), int), 3, dtype=int)
    assert nh.mix(labels, KAPPA).dtype == jnp.result_type(float)


def test_jit_and_trace_count():
    traces = []

    @jax.jit
    def run(f):
        traces.append(1)
        return nh.mix(f, KAPPA)

    np.testing.assert_allclose(run(phases()), nh.mix(phases(), KAPPA), rtol=1e-5, atol=1e-5)
    run(phases(seed=1))
    assert len(traces) == 1


def test_bad_input_is_refused():
    f = phases()
    with pytest.raises(ValueError, match="3 phases"):
        nh.mix(f, jnp.ones(2))
    with pytest.raises(ValueError, match="grid axes"):
        nh.mix(f[0, 0], jnp.ones(3))
    with pytest.raises(ValueError, match="on a grid of shape"):
        nh.mix(f, jnp.ones(3), grid=nh.Grid((8, 8)))
    labels = np.random.default_rng(0).integers(0, 3, (2, 12, 12))
    with pytest.raises(ValueError, match=r"If they are labels, write nh.phases_from_labels"):
        nh.mix(labels, jnp.ones(3))
    with pytest.raises(ValueError, match=r"jnp.moveaxis if the phases are not last"):
        nh.mix(jnp.moveaxis(f, -1, 1), jnp.ones(3), grid=nh.Grid((12, 12)))
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"finite and positive.* see .Voids."):
            nh.mix(f, jnp.array([1.0, bad, 2.0]))
