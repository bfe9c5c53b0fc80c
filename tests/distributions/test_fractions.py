"""The geometry of voxel fractions: exact areas, continuity, derivatives, symmetries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.distributions import EuclideanDistance, LaguerreTessellation, SquaredDistance

GRID = nh.Grid((16, 16))
DELAYS = jnp.array([0.0, 0.1, 0.05])
DISTANCES = [EuclideanDistance(), SquaredDistance()]
SECOND_SLOW = [DISTANCES[0], pytest.param(DISTANCES[1], marks=pytest.mark.slow)]


def seeds(num=3, batch=(), key=0, d=2):
    return jax.random.uniform(jax.random.key(key), (*batch, num, d))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def fractions(z, w=DELAYS, grid=GRID, distance=DISTANCES[0], sharp=False):
    """Of the phases that grow from these seeds."""
    return LaguerreTessellation(grid, w, distance=distance, sharp=sharp).transforms[0](z)


def labels(z, w, grid, distance):
    return fractions(z, w, grid, distance, True)


def coarsened(values, factor):
    """Averages over blocks of factor x factor voxels."""
    *batch, n, m, num = values.shape
    return values.reshape(*batch, n // factor, factor, m // factor, factor, num).mean((-4, -2))


def clipped_area(polygon, halfplanes):
    """Area of a convex polygon after clipping by c + a x + b y >= 0, one half plane after the other."""
    for c, a, b in halfplanes:
        kept = []
        for p, q in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            fp, fq = c + a * p[0] + b * p[1], c + a * q[0] + b * q[1]
            if fp >= 0:
                kept.append(p)
            if fp * fq < 0:
                kept.append(p + (q - p) * fp / (fp - fq))
        if len(kept) < 3:
            return 0.0
        polygon = np.array(kept)
    x, y = np.array(polygon).T
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


@pytest.mark.x32
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("num", [1, 5])
def test_fractions_are_nonnegative_and_sum_to_one(num, distance, eps):
    f = fractions(seeds(num, (20,)), 0.1 * jax.random.normal(jax.random.key(1), (20, num)), GRID, distance)
    assert f.shape == (20, 16, 16, num)
    assert float(f.min()) >= 0
    np.testing.assert_allclose(f.sum(-1), 1, atol=8 * eps)


@pytest.mark.parametrize("num", [2, 5])
def test_power_diagram_gives_the_exact_polygons(num):
    # Interfaces of a power diagram are straight, so the plane cut is exact wherever no fold crosses the voxel.
    n, h = 12, 1 / 12
    for key in range(3):
        z = np.asarray(seeds(num, key=key))
        w = np.linspace(0, 0.02, num)
        f = np.asarray(fractions(jnp.asarray(z), jnp.asarray(w), nh.Grid((n, n)), SquaredDistance()))
        for i, j in np.ndindex(n, n):
            x = (np.array([i, j]) + 0.5) * h
            image = z + np.round(x - z)
            if np.any(np.abs(x - image) > 0.5 - h / 2):
                continue
            square = x + h / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
            for p in range(num):
                planes = [
                    (np.sum(image[q] ** 2 - image[p] ** 2) + w[q] - w[p], *(2 * (image[p] - image[q])))
                    for q in range(num)
                    if q != p
                ]
                assert f[i, j, p] == pytest.approx(
                    clipped_area(square, planes) / h**2, abs=1e-9 if f.dtype == np.float64 else 2e-5
                )


def test_straight_interface_at_a_sub_voxel_position():
    # Seeds side by side with equal delays: the cells are strips bounded at .405 and .905.
    f = fractions(jnp.array([[0.2, 0.5], [0.61, 0.5]]), jnp.zeros(2))
    edges = np.arange(17) / 16
    inside = np.clip(np.minimum(edges[1:], 0.405) - edges[:-1], 0, None)
    inside += np.clip(edges[1:] - np.maximum(edges[:-1], 0.905), 0, None)
    np.testing.assert_allclose(f[..., 0], np.broadcast_to(16 * inside[:, None], (16, 16)), atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("distance", DISTANCES)
def test_error_is_of_second_order(distance):
    z = seeds(3, (8,), key=3)
    fine = fractions(z, DELAYS / 4, nh.Grid((128, 128)), distance)
    errors = []
    for n in (8, 16, 32):
        f = fractions(z, DELAYS / 4, nh.Grid((n, n)), distance)
        errors.append(float(jnp.abs(f - coarsened(fine, 128 // n)).mean()))
    assert np.log2(errors[0] / errors[2]) / 2 > 1.7, errors
    assert errors[2] < 3e-4, errors


@pytest.mark.parametrize("distance", SECOND_SLOW)
@pytest.mark.parametrize(("shape", "num_steps"), [((8, 8), 1000), pytest.param((6, 6, 6), 300, marks=pytest.mark.slow)])
def test_values_and_derivatives_are_continuous_along_a_path(shape, num_steps, distance):
    # The path carries a seed once around the torus: over voxel centres, folds, triple points. A closer look at the
    # steps with the largest jumps must resolve them.
    grid, d = nh.Grid(shape), len(shape)
    z = jnp.array([[0.1, 0.2, 0.3], [0.45, 0.7, 0.6], [0.8, 0.4, 0.9]])[:, :d]
    direction = jnp.zeros((3, d)).at[0].set(jnp.array([0.97, 0.61, 0.43])[:d])

    @jax.jit
    @jax.vmap
    def at(t):
        return jax.jvp(lambda t: fractions(z + t * direction, DELAYS / 3, grid, distance), (t,), (jnp.ones_like(t),))

    def jumps(t):
        return [np.abs(np.diff(np.asarray(q).reshape(*t.shape, -1), axis=-2)).max(-1) for q in at(t.ravel())]

    coarse = np.linspace(0.0, 1.0, num_steps + 1)
    for which, jump in enumerate(jumps(coarse)):
        for worst in np.argsort(jump)[-5:]:
            fine = np.linspace(coarse[worst], coarse[worst + 1], num_steps + 1)
            assert jumps(fine)[which].max() < 30 / num_steps * jump[worst] + 1e-3


@pytest.mark.parametrize("distance", SECOND_SLOW)
@pytest.mark.parametrize("grid", [GRID, pytest.param(nh.Grid((6, 7, 8)), marks=pytest.mark.slow)])
def test_derivatives_agree_with_central_differences(grid, distance, x64):
    if not x64:
        pytest.skip("differences need 64 bits")
    z, w = seeds(4, (3,), key=7, d=grid.ndim), 0.02 * jnp.arange(4.0)
    dz, dw = jax.random.normal(jax.random.key(1), z.shape), jnp.array([0.3, -1.0, 0.5, 0.2])

    @jax.jit
    def at(t):
        return jax.jvp(lambda t: fractions(z + t * dz, w + t * dw, grid, distance), (t,), (jnp.ones_like(t),))

    step = 1e-6
    (above, _), (below, _), (_, tangent) = at(step), at(-step), at(0.0)
    np.testing.assert_allclose(tangent, (above - below) / (2 * step), atol=2e-5)
    weights = jax.random.normal(jax.random.key(2), tangent.shape)
    reverse = jax.grad(lambda z, w: jnp.sum(weights * fractions(z, w, grid, distance)), (0, 1))(z, w)
    assert float(jnp.sum(weights * tangent)) == pytest.approx(
        float(jnp.sum(reverse[0] * dz) + jnp.sum(reverse[1] * dw)), rel=1e-9
    )


@pytest.mark.x32
@pytest.mark.parametrize("distance", DISTANCES)
def test_degenerate_seeds_have_finite_values_and_derivatives(distance):
    cases = [
        [[0.53125, 0.53125], [0.1, 0.1], [0.8, 0.3]],  # on a voxel centre
        [[0.25, 0.5], [0.75, 0.5], [0.25, 0.5]],  # two coincide; interfaces along voxel edges
        [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]],  # all coincide
        [[0.0, 0.0], [1.0, 1.0], [0.5, 0.0]],  # on the corner, and its image
    ]
    z = jnp.array(cases)
    for w in (jnp.zeros(3), jnp.array([0.0, 0.5, 0.0]), DELAYS):
        f, pull = jax.vjp(lambda z, w: fractions(z, w, GRID, distance), z, jnp.broadcast_to(w, (4, 3)))
        assert bool(jnp.all(jnp.isfinite(f)))
        np.testing.assert_allclose(f.sum(-1), 1, atol=1e-5)
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in pull(jnp.cos(jnp.arange(f.size)).reshape(f.shape)))


@pytest.mark.slow
def test_symmetries_in_space(eps):
    grid, z, w = nh.Grid((6, 6, 6)), seeds(4, (3,), key=11, d=3), jnp.array([0.0, 0.1, 0.05, -0.03])
    f = fractions(z, w, grid)
    close = {"atol": 1e4 * eps}
    np.testing.assert_allclose(fractions(z[..., [1, 2, 0]], w, grid), jnp.transpose(f, (0, 2, 3, 1, 4)), **close)
    np.testing.assert_allclose(fractions(z[..., [1, 0, 2]], w, grid), jnp.swapaxes(f, 1, 2), **close)
    np.testing.assert_allclose(fractions(1 - z, w, grid), f[:, ::-1, ::-1, ::-1], **close)


@pytest.mark.slow
def test_symmetries(eps):
    z = seeds(4, (5,), key=11)
    w = jnp.array([0.0, 0.1, 0.05, -0.03])
    f = fractions(z, w)
    close = {"atol": 1e4 * eps}
    np.testing.assert_allclose(fractions(z, w + 0.7), f, **close)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(fractions(z[:, order], w[order]), f[..., order], **close)
    shift = jnp.array([3, 5])
    np.testing.assert_allclose(fractions(z + shift / 16, w), jnp.roll(f, (3, 5), (1, 2)), **close)
    np.testing.assert_allclose(fractions(z - 2.0, w), f, **close)
    np.testing.assert_allclose(fractions(z[..., ::-1], w), jnp.swapaxes(f, 1, 2), **close)
    np.testing.assert_allclose(fractions(1 - z, w), f[:, ::-1, ::-1], **close)


@pytest.mark.parametrize("distance", DISTANCES)
def test_volumes_agree_with_a_sharp_fine_grid_on_rectangular_voxels(distance):
    grid, fine = nh.Grid((16, 24), lengths=(1.0, 2.0)), nh.Grid((256, 384), lengths=(1.0, 2.0))
    z = seeds(3, (10,), key=5) * jnp.array([1.0, 2.0])
    w = jnp.broadcast_to(DELAYS, (10, 3))
    smooth = fractions(z, w, grid, distance)
    sharp = labels(z, w, fine, distance)
    np.testing.assert_allclose(smooth.mean((1, 2)), sharp.mean((1, 2)), atol=4e-3)


def test_every_sharp_cell_system_has_the_law_of_johnson_and_mehl():
    # P(origin in cell j) = integral over r of p(r) prod_k P(d_k > r + w_j - w_k), d the distance on the unit torus.
    num = 4000
    z, w = seeds(3, (num,), key=13), jnp.broadcast_to(DELAYS, (num, 3))
    volumes = np.asarray(labels(z, w, GRID, EuclideanDistance()).mean((1, 2)))
    r = np.linspace(0, np.sqrt(0.5), 4001)
    outside = np.arccos(np.clip(0.5 / np.maximum(r, 1e-9), -1, 1))  # disc of radius r within the unit square
    area = np.where(r <= 0.5, np.pi * r**2, r**2 * (np.pi - 4 * outside) + 2 * r * np.sin(outside))

    def survival(s):
        return 1 - np.interp(s, r, area, left=0.0, right=1.0)

    delays = np.asarray(DELAYS)
    middle, mass = (r[1:] + r[:-1]) / 2, np.diff(area)
    expected = [
        np.sum(mass * np.prod([survival(middle + delays[j] - delays[k]) for k in range(3) if k != j], axis=0))
        for j in range(3)
    ]
    standard_error = volumes.std(0) / np.sqrt(num)
    assert np.all(np.abs(volumes.mean(0) - expected) < 4 * standard_error)  # false alarms: 2 in 10,000


def test_dtype_follows_the_input(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert fractions(seeds().astype(dtype), DELAYS.astype(dtype)).dtype == dtype
