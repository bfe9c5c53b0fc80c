"""Our operator against a whole JAX-FEM problem, and the manners of importing JAX-FEM."""

import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operators import as_matrix, space_of
from random_cells import make_cell, random_spd, smooth_field

from numpyro_homog.homogenization._jax_fem import _integrated, _quiet_jax_fem, voxel_element

SHAPE, LENGTHS = (4, 3), (1.0, 2.0)
each_kind = pytest.mark.parametrize("kind", ["isotropic", "tensors"])


def a_field(kind):
    return smooth_field(0, SHAPE) if kind == "isotropic" else random_spd(0, SHAPE)


def our_space(field):
    """The finite-element space and its prepared coefficients for a batch of one."""
    space, coefficients = space_of(make_cell(SHAPE, LENGTHS), field)
    return space, space.prepare(coefficients.values)


def dense(space, prepared):
    return as_matrix(lambda unknown: space.apply(prepared, unknown), 1, SHAPE)


def jax_fem_matrix(field):
    """Jacobian of the same cell as a `jax_fem.problem.Problem`, periodic nodes folded here; and its nodes."""
    voxels = np.asarray(field if field.ndim == 4 else field[..., None, None] * jnp.eye(2)[None, None])
    nx, ny = SHAPE
    xs, ys = (np.linspace(0, length, n + 1) for length, n in zip(LENGTHS, SHAPE, strict=True))
    points = np.array(list(itertools.product(xs, ys)))
    at = lambda i, j: i * (ny + 1) + j  # noqa: E731
    cells = np.array(
        [[at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)] for i, j in itertools.product(range(nx), range(ny))]
    )
    # JAX-FEM's own code promotes dtypes and ranks.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), _quiet_jax_fem() as jax_fem:
        problem_module, mesh_module = jax_fem("problem"), jax_fem("generate_mesh")

        class Conduction(problem_module.Problem):
            def get_tensor_map(self):
                return lambda gradient, conductivity: gradient @ conductivity.T

        mesh = mesh_module.Mesh(points, cells, ele_type="QUAD4")
        problem = Conduction(mesh, vec=1, dim=2, ele_type="QUAD4")
        num_quads = problem.fes[0].num_quads
        problem.internal_vars = [jnp.asarray(np.repeat(voxels.reshape(-1, 1, 2, 2), num_quads, axis=1))]
        problem.newton_update([jnp.zeros((len(points), 1))])
        entries = np.asarray(problem.V)
    matrix = np.zeros((len(points), len(points)))
    np.add.at(matrix, (problem.I, problem.J), entries)
    fold = np.zeros((len(points), nx * ny))
    for i, j in itertools.product(range(nx + 1), range(ny + 1)):
        fold[at(i, j), (i % nx) * ny + j % ny] = 1.0
    return matrix, fold, points


@each_kind
def test_the_operator_is_the_jacobian_of_a_jax_fem_problem(kind, eps):
    field = a_field(kind)
    matrix, fold, points = jax_fem_matrix(field)
    space, prepared = our_space(field)
    expected = fold.T @ matrix @ fold
    scale = np.abs(expected).max()
    np.testing.assert_allclose(dense(space, prepared), expected, rtol=0, atol=20 * eps * scale)
    # The load is minus the force of the unit strains u = x_m on the unfolded mesh.
    load = np.asarray(space.load(prepared)).reshape(2, -1)
    np.testing.assert_allclose(load.T, -fold.T @ matrix @ points, rtol=0, atol=20 * eps * scale * max(LENGTHS))
    assert np.abs(load).max() > 0.1


@each_kind
def test_the_jax_fem_cell_solved_densely_has_the_same_tensor(kind, eps):
    # The whole path, without one line of ours but the comparison: assemble, fold, solve, energy.
    import numpyro_homog as nh

    field = a_field(kind)
    matrix, fold, points = jax_fem_matrix(field)
    correctors = np.linalg.lstsq(fold.T @ matrix @ fold, -fold.T @ matrix @ points, rcond=None)[0]
    total = points + fold @ correctors
    expected = total.T @ matrix @ total / np.prod(LENGTHS)
    actual = nh.effective_tensor(make_cell(SHAPE, LENGTHS, tolerance=max(1e-13, 10 * eps)), field)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=100 * eps * expected.max())


@pytest.mark.x32
@each_kind
def test_the_operator_is_symmetric_and_blind_to_constants(kind, eps):
    space, prepared = our_space(a_field(kind))
    matrix = dense(space, prepared)
    scale = np.abs(matrix).max()
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=10 * eps * scale)
    assert np.abs(matrix.sum(1)).max() < 50 * eps * scale
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert eigenvalues[0] > -50 * eps * scale
    assert eigenvalues[1] > 1e-2 * scale  # constants only: no hourglass, no decoupled checkerboard


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda kind, gauss_order=None: (kind, gauss_order), id="before 0.0.12"),
        pytest.param(lambda kind, quadrature_rule=None, quadrature_order=None: (kind, quadrature_order), id="0.0.12"),
    ],
)
def test_the_degree_of_the_quadrature_has_a_name_for_each_release(function):
    assert _integrated(function, 2)("QUAD4") == ("QUAD4", 2)


@pytest.mark.parametrize("spacing", [(0.5, 2.0), (0.5, 2.0, 1.5), (0.25,)])
def test_one_voxel_integrates_what_it_must(spacing):
    element = voxel_element(spacing)
    d = len(spacing)
    np.testing.assert_allclose(element.weights.sum(), np.prod(spacing), rtol=1e-14)
    assert sorted(map(tuple, element.corners)) == sorted(itertools.product((0, 1), repeat=d))
    # Gradients of an affine function are exact at each quadrature point, which also ties corners to gradients.
    nodes = element.corners * np.array(spacing)
    np.testing.assert_allclose(
        np.einsum("qni,nj->qij", element.gradients, nodes),
        np.broadcast_to(np.eye(d), (len(element.weights), d, d)),
        atol=1e-13,
    )


CHECK = """
import logging, sys
{before}
import jax, numpy as np
jax.config.update("jax_enable_x64", {x64})
logging.getLogger("jax").setLevel(logging.ERROR)
np.set_printoptions(precision=3, linewidth=99)
state = lambda: (jax.config.jax_enable_x64, np.get_printoptions(),
                 [logging.getLogger(n).level for n in ("", "jax", "tensorflow")], logging.getLogger().handlers[:])
before = state()
from numpyro_homog.homogenization._jax_fem import voxel_element
assert "jax_fem" not in sys.modules, "imported too early"
element = voxel_element((0.5, 0.25))
voxel_element((0.5, 0.25, 1.0))
assert abs(element.weights.sum() - 0.125) < 1e-12
assert state() == before, (state(), before)
assert "jax_fem" in sys.modules
assert "petsc4py" not in sys.modules
{after}
"""
BLOCK_GMSH = """
import importlib.abc
class NoLibGL(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gmsh", "petsc4py"):
            raise OSError("libGL.so.1: cannot open shared object file: No such file or directory")
sys.meta_path.insert(0, NoLibGL())
"""


def run_quietly(before, after, x64):
    environment = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    script = CHECK.format(before=before, after=after, x64=x64)
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:numpyro_homog", "-c", script],
                          capture_output=True, text=True, env=environment, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("x64", [False, True])
def test_importing_jax_fem_leaves_no_trace(x64):
    run_quietly("", 'assert "gmsh" not in sys.modules, "gmsh or its stand-in was left behind"', x64)


@pytest.mark.slow
def test_a_machine_without_libgl_can_solve_cells():
    after = "import numpyro_homog as nh\ncell = nh.CellProblem(nh.Grid((2, 2)), nh.Conductivity(), nh.Periodic())\n"
    after += "assert abs(nh.effective_tensor(cell, np.full((2, 2), 3.0))[0, 0] - 3) < 1e-5"
    run_quietly(BLOCK_GMSH, after, False)


@pytest.mark.slow
def test_a_gmsh_that_was_there_before_stays():
    before = "import types\nsys.modules['gmsh'] = mine = types.ModuleType('gmsh')"
    run_quietly(before, "assert sys.modules['gmsh'] is mine", False)


@pytest.mark.slow
def test_mesh_generators_of_jax_fem_find_the_real_gmsh_when_they_are_called():
    before = "import types"
    after = """
real = types.ModuleType("gmsh"); real.answer = 42
sys.modules["gmsh"] = real
import jax_fem.generate_mesh
assert jax_fem.generate_mesh.gmsh.answer == 42
"""
    run_quietly(before, after, False)
