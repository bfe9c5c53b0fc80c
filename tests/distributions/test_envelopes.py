"""How planes divide a voxel: exact volumes in one, two and three dimensions, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from numpyro_homog.distributions._envelopes import regions

divided = jax.jit(regions)


def planes(num, d, voxels, key=0):
    keys = jax.random.split(jax.random.key(key), d + 1)
    values = 0.3 * jax.random.normal(keys[0], (num, voxels))
    return values, [jax.random.normal(k, (num, voxels)) for k in keys[1:]]


def volume(values, slopes, j):
    """Volume of region j by Qhull, from half spaces A x + b <= 0; slopes (J, d)."""
    num, d = slopes.shape
    others = [k for k in range(num) if k != j]
    faces = np.vstack([np.eye(d), -np.eye(d)])
    normals = np.vstack([slopes[j] - slopes[others], faces])
    offsets = np.concatenate([values[j] - values[others], np.full(2 * d, -0.5)])
    if d == 1:
        ends = -offsets / normals[:, 0]
        return max(0.0, ends[normals[:, 0] > 0].min() - ends[normals[:, 0] < 0].max())
    # A point deep inside: the centre of the largest ball, by linear programming.
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    best = linprog([0.0] * d + [-1.0], np.hstack([normals, lengths]), -offsets, bounds=[(None, None)] * d + [(0, None)])
    if best.status != 0 or best.x[-1] < 1e-9:
        return 0.0
    try:
        corners = HalfspaceIntersection(np.column_stack([normals, offsets]), best.x[:d]).intersections
        return ConvexHull(corners).volume
    except QhullError:
        return 0.0


@pytest.mark.x32
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("num", [1, 2, 5])
def test_volumes_are_those_of_the_polyhedra(d, num, eps):
    values, slopes = planes(num, d, 12, key=num)
    if d > 1:
        slopes[-1] = slopes[-1].at[:, :4].set(0.0)  # interfaces along an axis
    found = np.asarray(divided(values, *slopes))
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(-1), 1, atol=8 * eps)
    values, slopes = np.asarray(values, float), np.asarray(slopes, float)
    for voxel in range(12):
        wanted = [volume(values[:, voxel], slopes[:, :, voxel].T, j) for j in range(num)]
        np.testing.assert_allclose(found[voxel], wanted, atol=100 * eps)


@pytest.mark.x64_only
@pytest.mark.parametrize("d", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_first_and_second_derivatives_agree_with_differences(d):
    values, slopes = planes(4, d, 6, key=d)
    tangents = planes(4, d, 6, key=d + 10)
    weights = jax.random.normal(jax.random.key(5), (6, 4))

    @jax.jit
    def along(t):
        moved = (p + t * q for p, q in zip((values, *slopes), (tangents[0], *tangents[1]), strict=True))
        return jnp.sum(weights * regions(*moved))

    slope = jax.jit(jax.grad(along))
    step = 1e-6
    assert float(slope(0.0)) == pytest.approx(float(along(step) - along(-step)) / (2 * step), rel=1e-6)
    if d > 1:  # in one dimension regions change linearly but for jumps of the slope
        second = jax.jvp(slope, (0.0,), (1.0,))[1]
        assert float(second) == pytest.approx(float(slope(step) - slope(-step)) / (2 * step), rel=1e-5)


@pytest.mark.x32
@pytest.mark.parametrize("d", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_planes_that_coincide_or_touch_give_finite_values_and_derivatives(d):
    flat, x = jnp.zeros((3, 4)), jnp.array([[0.0], [1.0], [0.0]]) * jnp.ones((3, 4))
    shift = jnp.array([0.0, 0.5, -0.5, 2.0])  # interfaces in the middle, along the faces, and outside
    values = flat.at[1].set(shift).at[2].set(10.0)
    slopes = [x, flat, flat][:d]
    volumes, pull = jax.vjp(regions, values, *slopes)
    np.testing.assert_allclose(volumes[:, 0], [0.5, 1.0, 0.0, 1.0], atol=1e-6)
    assert all(bool(jnp.all(jnp.isfinite(part))) for part in pull(jnp.ones_like(volumes)))
    alike, pull = jax.vjp(regions, flat, *[flat] * d)
    np.testing.assert_allclose(alike, 1 / 3, atol=1e-6)
    assert all(bool(jnp.all(jnp.isfinite(part))) for part in pull(jnp.cos(jnp.arange(12.0)).reshape(4, 3)))
