"""The periodic cell with scikit-fem and SciPy's sparse solvers: conduction or elasticity, 2D or 3D.

Written to be fast. scikit-fem integrates the element matrix of one voxel for unit
conductivity, or for Young's modulus 1; a cell scales it, adds it into a fixed sparsity
pattern whose periodic nodes are already merged, and factors once for all load cases
(SuperLU with the ordering and pivoting meant for symmetric matrices). One merged
node is removed to fix the constant. The gradient is read off the correctors. Where a
factorisation is too large, ``iterative`` takes SciPy's conjugate gradients with the
matrix' diagonal as preconditioner.
"""

import numpy as np
import scipy.sparse as sp
import skfem
from scipy.sparse.linalg import cg, splu
from skfem.models.elasticity import lame_parameters, linear_elasticity
from skfem.models.poisson import laplace

from benchmarks.peers.cells import POISSON
from benchmarks.peers.stopwatch import Stopwatch

#: a third faster here than SuperLU's defaults, for a symmetric positive definite matrix of this kind
SUPERLU = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "relax": 1,
    "panel_size": 4,
    "options": {"SymmetricMode": True},
}
#: relative residual of the iterative solve; the error of the tensor is about its square
RESIDUAL = 1e-5
PAIRS = {2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}


def _voxel(n: int, ndim: int, elastic: bool):
    """Matrix of one voxel, corner by corner, and the corners (corners, ndim) in units of voxels."""
    ticks = [np.array([0.0, 1.0 / n])] * ndim
    mesh = (skfem.MeshQuad if ndim == 2 else skfem.MeshHex).init_tensor(*ticks)
    element = skfem.ElementQuad1() if ndim == 2 else skfem.ElementHex1()
    basis = skfem.Basis(mesh, skfem.ElementVector(element) if elastic else element, intorder=2)
    form = linear_elasticity(*lame_parameters(1.0, POISSON)) if elastic else laplace
    slots = np.argsort(basis.element_dofs[:, 0])[basis.nodal_dofs[:, mesh.t[:, 0]].T.ravel()]
    local = form.elemental(basis).tolocal()[0][np.ix_(slots, slots)]
    return local, np.rint(mesh.p[:, mesh.t[:, 0]].T * n).astype(int)


def _unit_loads(ndim: int, elastic: bool) -> np.ndarray:
    """Gradients (loads, components, ndim) of the load cases; strains in Mandel notation."""
    if not elastic:
        return np.eye(ndim)[:, None, :]
    loads = np.zeros((len(PAIRS[ndim]), ndim, ndim))
    for load, (i, j) in zip(loads, PAIRS[ndim], strict=True):
        load[i, j] = load[j, i] = 1.0 if i == j else np.sqrt(0.5)
    return loads


class Cell:
    """A cell of n^ndim voxels: symbolic work here, numbers in ``forward``."""

    def __init__(self, n: int, *, ndim: int = 2, elastic: bool = False, iterative: bool = False) -> None:
        self._local, corners = _voxel(n, ndim, elastic)
        self._shape, self._components = (n,) * ndim, ndim if elastic else 1
        voxels = np.indices(self._shape).reshape(ndim, -1).T  # (voxels, ndim)
        points = voxels[:, None] + corners
        loads = _unit_loads(ndim, elastic)
        self.num_loads = len(loads)
        affine = np.einsum("mcd,vkd->vkcm", loads, points / n)
        self._affine = affine.reshape(len(voxels), -1, self.num_loads)
        nodes = np.ravel_multi_index(tuple(np.moveaxis(points % n, -1, 0)), self._shape)
        dofs = nodes[..., None] * self._components + np.arange(self._components)
        self._dofs = dofs.reshape(len(voxels), -1)  # merged; those of node 0 are removed
        self._loads = self._local @ self._affine[0]  # rigid motions do no work, so that of any voxel will do
        self._size = (n**ndim - 1) * self._components
        self._solve = self._conjugate_gradients if iterative else self._factor
        self._pattern()
        self.watch = Stopwatch()

    def _pattern(self) -> None:
        width = self._dofs.shape[1]
        rows = np.repeat(self._dofs[:, :, None], width, axis=2).ravel() - self._components
        columns = np.repeat(self._dofs[:, None, :], width, axis=1).ravel() - self._components
        self._kept = np.flatnonzero((rows >= 0) & (columns >= 0))
        key = columns[self._kept] * self._size + rows[self._kept]
        unique, self._slots = np.unique(key, return_inverse=True)
        self._indices = (unique % self._size).astype(np.int32)
        counts = np.bincount(unique // self._size, minlength=self._size)
        self._indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    def _assemble(self, field):
        entries = (field[:, None, None] * self._local).ravel()[self._kept]
        data = np.bincount(self._slots, weights=entries, minlength=self._indices.size)
        matrix = sp.csc_matrix((data, self._indices, self._indptr), shape=(self._size, self._size))
        loads = (field[:, None, None] * self._loads).reshape(-1, self.num_loads)
        dofs = self._dofs.ravel()
        right = [np.bincount(dofs, weights=load)[self._components :] for load in loads.T]
        return matrix, -np.stack(right, axis=-1)

    @staticmethod
    def _factor(matrix, right):
        return splu(matrix, **SUPERLU).solve(right)

    @staticmethod
    def _conjugate_gradients(matrix, right):
        rows, inverse = matrix.T, sp.diags(1 / matrix.diagonal())  # the transpose of CSC is CSR, and symmetric
        solved = [cg(rows, load, rtol=RESIDUAL, M=inverse) for load in right.T]
        if any(info for _, info in solved):
            raise RuntimeError("conjugate gradients did not converge")
        return np.stack([solution for solution, _ in solved], axis=-1)

    def _energies(self, field):
        """Element energies for a unit field (elements, m, m) and the field by elements."""
        values = np.asarray(field, float).ravel()
        with self.watch.under("assembly"):
            matrix, right = self._assemble(values)
        with self.watch.under("solve"):
            corrector = self._solve(matrix, right)
        removed = np.zeros((self._components, self.num_loads))
        potential = np.concatenate([removed, corrector])[self._dofs] + self._affine
        return np.swapaxes(potential, 1, 2) @ (self._local @ potential), values

    def forward(self, field):
        """The effective tensor (m, m) of a field, and seconds per heading."""
        self.watch.read()
        with self.watch.under("total"):
            energies, values = self._energies(field)
            effective = np.tensordot(values, energies, axes=1)
        return effective, self.watch.read()

    def value_and_gradient(self, field, weights):
        """The tensor, the gradient of ``sum(weights * A)`` by voxels, and seconds."""
        self.watch.read()
        with self.watch.under("total"):
            energies, values = self._energies(field)
            effective = np.tensordot(values, energies, axes=1)
            gradient = np.einsum("eij,ij->e", energies, weights).reshape(self._shape)
        return effective, gradient, self.watch.read()
