"""The peers of the solver benchmark solve the problem that we say they solve."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.peers import petsc_stub
from benchmarks.peers.cells import WEIGHTS, voronoi_cells
from benchmarks.peers.client import Worker

PEERS = ("jax_fem", "scikit_fem")


@pytest.fixture(scope="module")
def peers():
    """Both peers, each in its own process, started together."""
    pytest.importorskip("skfem")
    workers = {name: Worker(name) for name in PEERS}
    yield workers
    for worker in workers.values():
        worker.close()


@pytest.fixture
def random_matrix():
    dense = sp.random_array((7, 7), density=0.5, rng=np.random.default_rng(0)).toarray()
    return sp.csr_array(dense + 3 * np.eye(7))


def _mat(matrix):
    return petsc_stub.Mat().createAIJ(size=matrix.shape, csr=(matrix.indptr, matrix.indices, matrix.data))


def _dense(mat):
    indptr, indices, data = mat.getValuesCSR()
    return sp.csr_array((data, indices, indptr), shape=mat.getSize()).toarray()


def test_stand_in_holds_multiplies_and_transposes_like_scipy(random_matrix):
    left, right = random_matrix, sp.csr_array(random_matrix[:, :4])
    np.testing.assert_array_equal(_dense(_mat(left)), left.toarray())
    product = _mat(left).matMult(_mat(right))
    assert product.getSize() == (7, 4)
    np.testing.assert_allclose(_dense(product), (left @ right).toarray(), rtol=1e-15)
    mat = _mat(right)
    assert mat.transpose() is mat  # PETSc transposes in place, and JAX-FEM relies on the returned matrix
    np.testing.assert_array_equal(_dense(mat), right.toarray().T)


def test_stand_in_zeroes_rows_and_leaves_the_caller_arrays_alone(random_matrix):
    before = random_matrix.toarray()
    mat = _mat(random_matrix)
    mat.zeroRows(np.array([2, 5], np.int32))
    expected = before.copy()
    expected[[2, 5]] = np.eye(7)[[2, 5]]
    np.testing.assert_array_equal(_dense(mat), expected)
    np.testing.assert_array_equal(random_matrix.toarray(), before)


def test_stand_in_refuses_a_row_without_diagonal():
    with pytest.raises(ValueError, match="row 0"):
        _mat(sp.csr_array(np.array([[0.0, 1.0], [1.0, 1.0]]))).zeroRows([0])


def test_a_real_petsc4py_is_preferred(monkeypatch):
    """A fake package stands for the real one: ``install`` must leave it in place."""
    real = type(sys)("petsc4py")
    real.__version__, real.PETSc = "3.99", type(sys)("petsc4py.PETSc")
    monkeypatch.setitem(sys.modules, "petsc4py", real)
    monkeypatch.setitem(sys.modules, "petsc4py.PETSc", real.PETSc)
    assert petsc_stub.install() == "petsc4py 3.99"
    assert sys.modules["petsc4py.PETSc"] is real.PETSc


def test_voronoi_cells_have_the_contrast_asked_for_and_one_geometry():
    low, high = (voronoi_cells(4, 16, contrast, seed=3) for contrast in (10.0, 1000.0))
    assert set(np.unique(low)) == {1.0, 10.0**0.5, 10.0}
    np.testing.assert_allclose(np.log(high), 3 * np.log(low), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_scikit_fem_is_exact_on_a_laminate(axis):
    pytest.importorskip("skfem")
    from benchmarks.peers.scikit_fem_cell import Cell

    layers = np.array([1.0, 4.0, 10.0, 2.0, 2.0, 7.0])
    field = np.moveaxis(np.broadcast_to(layers, (6, 6)), 1, axis)
    effective, _ = Cell(6).forward(field)
    expected = np.full(2, layers.mean())
    expected[axis] = 1 / np.mean(1 / layers)
    np.testing.assert_allclose(effective, np.diag(expected), rtol=1e-12, atol=1e-12)


def test_scikit_fem_gradient_is_the_finite_difference():
    pytest.importorskip("skfem")
    from benchmarks.peers.scikit_fem_cell import Cell

    cell, field = Cell(5), voronoi_cells(1, 5, 10.0, seed=1)[0]
    _, gradient, _ = cell.value_and_gradient(field, WEIGHTS)
    direction = np.random.default_rng(2).normal(size=field.shape)
    step = 1e-5
    ahead, behind = (np.sum(WEIGHTS * cell.forward(field + s * direction)[0]) for s in (step, -step))
    np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / (2 * step), rtol=1e-8)


def test_voronoi_cells_take_their_numbers_of_phases_in_turn():
    cells = voronoi_cells(4, 12, 10.0, seed=3, num_phases=(2, 5), ndim=3)
    assert cells.shape == (4, 12, 12, 12)
    assert [np.unique(cell).size for cell in cells] == [2, 5, 2, 5]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("iterative", [False, True])
def test_scikit_fem_is_exact_on_a_laminate_of_elastic_layers(ndim, iterative):
    """Normal to the layers the constrained modulus is the harmonic mean, and so is the shear modulus."""
    pytest.importorskip("skfem")
    from benchmarks.peers.scikit_fem_cell import Cell

    layers = np.array([1.0, 4.0, 10.0, 2.0])
    field = np.broadcast_to(layers[(...,) + (None,) * (ndim - 1)], (4,) * ndim)
    effective, _ = Cell(4, ndim=ndim, elastic=True, iterative=iterative).forward(field)
    harmonic = 1 / np.mean(1 / layers)
    constrained, twice_shear = 0.7 / (1.3 * 0.4), 1 / 1.3
    tolerance = 1e-8 if iterative else 1e-12
    np.testing.assert_allclose(effective[0, 0], constrained * harmonic, rtol=tolerance)
    np.testing.assert_allclose(effective[-1, -1], twice_shear * harmonic, rtol=tolerance)
    if ndim == 3:
        np.testing.assert_allclose(effective[3, 3], twice_shear * layers.mean(), rtol=tolerance)


@pytest.mark.slow
def test_the_peers_agree_on_random_cells(peers):
    recipe = {"field": np.exp(np.random.default_rng(0).normal(size=(2, 6, 6))).tolist()}
    answers = {name: worker.ask("gradient", cells=recipe, keep=True) for name, worker in peers.items()}
    for quantity in ("effective", "gradient"):
        jax_fem, scikit_fem = (np.asarray(answers[name][quantity]) for name in PEERS)
        np.testing.assert_allclose(jax_fem, scikit_fem, rtol=1e-8, atol=1e-8 * np.abs(scikit_fem).max())
    assert {"assembly", "solve", "total"} <= set(answers["jax_fem"]["seconds"][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_the_peers_are_exact_on_a_laminate(peers, name):
    layers = np.array([1.0, 4.0, 10.0, 2.0, 7.0, 3.0])
    answer = peers[name].ask("forward", cells={"field": np.tile(layers[:, None], (1, 1, 6)).tolist()})
    expected = np.diag([1 / np.mean(1 / layers), layers.mean()])
    np.testing.assert_allclose(answer["effective"][0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("physics", [{"elastic": True}, {"ndim": 3}, {"ndim": 3, "elastic": True}])
def test_ours_is_within_its_tolerance_of_scikit_fem_in_the_other_physics(peers, physics):
    recipe = {"num_cells": 2, "n": 8, "contrast": 10.0, "seed": 5, "num_phases": [3, 4], **physics}
    reference = np.asarray(peers["scikit_fem"].ask("forward", cells=recipe)["effective"])
    with Worker("homog", x64=True) as worker:
        ours = worker.ask("forward", cells=recipe, tolerance=1e-8)["effective"]
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-8 * reference.max())


@pytest.mark.slow
def test_a_worker_reports_what_went_wrong(peers):
    with pytest.raises(RuntimeError, match="needs an interior node"):
        peers["jax_fem"].ask("forward", cells={"field": [[[1.0]]]})


@pytest.mark.slow
def test_ours_is_within_its_tolerance_of_the_peers(peers):
    recipe = {"num_cells": 4, "n": 16, "contrast": 10.0, "seed": 5}
    reference = peers["scikit_fem"].ask("gradient", cells=recipe, keep=True)
    with Worker("homog", x64=True) as worker:
        ours = worker.ask("gradient", cells=recipe, tolerance=1e-6, keep=True)
    np.testing.assert_allclose(ours["effective"], reference["effective"], rtol=0, atol=1e-6 * 10)
    np.testing.assert_allclose(
        ours["gradient"], reference["gradient"], rtol=0, atol=1e-2 * np.max(reference["gradient"])
    )
