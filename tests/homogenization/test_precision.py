"""The precision of a field is that of its solve, in 64-bit mode too; what is too short or complex is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_cells import box_mesh

import numpyro_homog as nh

ELASTICITY = nh.LinearElasticity()
BOUNDARIES = (nh.Periodic(), nh.Affine(), nh.UniformFlux())


def fields(shape, ndim):
    """A field of each kind, in 32 bits."""
    ones, size = np.ones(shape, np.float32), ndim * (ndim + 1) // 2
    eye = lambda m: np.broadcast_to(np.eye(m, dtype=np.float32), (*shape, m, m))  # noqa: E731
    return {
        "scalars": (nh.Conductivity(), ones),
        "tensors": (nh.Conductivity(), eye(ndim)),
        "lame": (ELASTICITY, (ones, ones)),
        "mandel": (ELASTICITY, eye(size)),
        "map": (nh.homogenization.TensorMapLaw(lambda gradient, k: k * gradient), (ones,)),
    }


def dtypes(cell, field):
    """Those of a tensor, its derivative, and of a solution with its correctors."""

    def value(field):
        return jnp.sum(nh.effective_tensor(cell, field, throw=False))

    def solve(field):
        solution = nh.solve_cell(cell, field, throw=False)
        return solution.effective, solution.corrector, solution.stats["error"]

    found = jax.eval_shape(jax.value_and_grad(value), field), jax.eval_shape(solve, field)
    return {leaf.dtype for leaf in jax.tree.leaves(found)}


@pytest.mark.parametrize(
    "kind", ["scalars", *(pytest.param(k, marks=pytest.mark.slow) for k in ("tensors", "lame", "mandel", "map"))]
)
def test_a_field_of_32_bits_is_solved_in_32_bits_with_multigrid(kind):
    """It was a TypeError of a loop in 64-bit mode. Nothing is compiled here."""
    law, field = fields((8, 4), 2)[kind]
    cell = nh.CellProblem(nh.Grid((8, 4)), law, nh.Periodic(), preconditioner=nh.Multigrid(contrast=1.0))
    assert dtypes(cell, field) == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalars", "tensors", "lame", "mandel", "map"])
@pytest.mark.parametrize("geometry", ["grid", "space", "TRI3", "QUAD8"])
def test_a_field_of_32_bits_is_solved_in_32_bits(geometry, kind):
    grids = {"grid": nh.Grid((6, 4)), "space": nh.Grid((2, 2, 3))}
    grid = grids.get(geometry) or box_mesh((2, 2), geometry)
    law, field = fields(grid.shape, grid.ndim)[kind]
    for boundary in BOUNDARIES:
        assert dtypes(nh.CellProblem(grid, law, boundary), field) == {jnp.dtype("float32")}


@pytest.mark.x64_only
def test_a_start_in_another_precision_is_converted():
    cell = nh.CellProblem(nh.Grid((4, 4)), nh.Conductivity(), nh.Periodic())
    start = nh.solve_cell(cell, jnp.ones((4, 4)))
    field = jnp.ones((4, 4), jnp.float32)
    shapes = jax.eval_shape(lambda field: nh.solve_cell(cell, field, start=start, throw=False).corrector, field)
    assert shapes.dtype == jnp.float32


@pytest.mark.x64_only
@pytest.mark.numpyro_layer
def test_moduli_of_two_precisions_are_solved_in_the_longer():
    cell = nh.CellProblem(nh.Grid((4, 4)), ELASTICITY, nh.Periodic())
    moduli = (jnp.ones((4, 4), jnp.float32), jnp.ones((4, 4)))
    assert jax.eval_shape(lambda field: nh.effective_tensor(cell, field), moduli).dtype == jnp.float64


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_refused_with_the_remedy(dtype):
    """It was 'complex does not accept dtype float16' from within the Fourier transform."""
    half, message = jnp.ones((4, 4), dtype), rf"dtype {jnp.dtype(dtype).name}.*astype\(jnp\.float32\)"
    with pytest.raises(TypeError, match=message):
        nh.effective_tensor(nh.CellProblem(nh.Grid((4, 4)), nh.Conductivity(), nh.Periodic()), half)
    for field in ((half, half), jnp.ones((4, 4, 3, 3), dtype)):
        with pytest.raises(TypeError, match=message):
            nh.solve_cell(nh.CellProblem(nh.Grid((4, 4)), ELASTICITY, nh.Periodic()), field)
    with pytest.raises(TypeError, match=message):
        nh.voigt_bound(jnp.array([0.5, 0.5]), jnp.ones(2, dtype))
