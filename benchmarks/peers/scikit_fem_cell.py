"""The periodic conduction cell with scikit-fem and SciPy's sparse direct solver.

Written to be fast. scikit-fem integrates the element matrices for unit
conductivity once; a cell scales them, adds them into a fixed sparsity pattern
whose periodic nodes are already merged, and factors once for both load cases
(SuperLU with the ordering and pivoting meant for symmetric matrices). One merged
node is removed to fix the constant. The gradient is read off the correctors.
"""

import numpy as np
import scipy.sparse as sp
import skfem
from scipy.sparse.linalg import splu
from skfem.helpers import dot, grad

from benchmarks.peers.stopwatch import Stopwatch

#: a third faster here than SuperLU's defaults, for a symmetric positive definite matrix of this kind
SUPERLU = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "relax": 1,
    "panel_size": 4,
    "options": {"SymmetricMode": True},
}


@skfem.BilinearForm
def _stiffness(u, v, _):
    return dot(grad(u), grad(v))


class Cell:
    """A cell of n * n voxels: symbolic work here, numbers in ``forward``."""

    def __init__(self, n: int) -> None:
        ticks = np.linspace(0.0, 1.0, n + 1)
        mesh = skfem.MeshQuad.init_tensor(ticks, ticks)
        basis = skfem.Basis(mesh, skfem.ElementQuad1())
        nodes = basis.element_dofs.T  # (elements, 4)
        local = _stiffness.elemental(basis).tolocal()  # (elements, 4, 4)
        if local.shape != (n * n, 4, 4):
            raise RuntimeError(f"unexpected shape of element matrices {local.shape}")
        centres = mesh.p[:, mesh.t].mean(axis=1)
        voxel = np.floor(centres * n).astype(int)
        self._voxel = voxel[0] * n + voxel[1]
        self._n = n
        self._local = local
        self._coordinates = basis.doflocs[:, nodes].transpose(1, 2, 0)  # (elements, 4, 2)
        lattice = np.rint(basis.doflocs * n).astype(int) % n
        self._nodes = (lattice[0] * n + lattice[1])[nodes]  # merged, 0 is removed
        self._loads = local @ self._coordinates  # (elements, 4, 2)
        self._pattern()
        self.watch = Stopwatch()

    def _pattern(self) -> None:
        rows = np.repeat(self._nodes[:, :, None], 4, axis=2).ravel() - 1
        columns = np.repeat(self._nodes[:, None, :], 4, axis=1).ravel() - 1
        self._kept = np.flatnonzero((rows >= 0) & (columns >= 0))
        size = self._n**2 - 1
        key = columns[self._kept] * size + rows[self._kept]
        unique, self._slots = np.unique(key, return_inverse=True)
        self._indices = (unique % size).astype(np.int32)
        counts = np.bincount(unique // size, minlength=size)
        self._indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    def _assemble(self, conductivity):
        entries = (conductivity[:, None, None] * self._local).ravel()[self._kept]
        data = np.bincount(self._slots, weights=entries, minlength=self._indices.size)
        size = self._indptr.size - 1
        matrix = sp.csc_matrix((data, self._indices, self._indptr), shape=(size, size))
        loads = (conductivity[:, None, None] * self._loads).reshape(-1, 2)
        nodes = self._nodes.ravel()
        right = [np.bincount(nodes, weights=load)[1:] for load in loads.T]
        return matrix, -np.stack(right, axis=-1)

    @staticmethod
    def _solve(matrix, right):
        return splu(matrix, **SUPERLU).solve(right)

    def _energies(self, field):
        """Element energies for unit conductivity (elements, 2, 2) and conductivities."""
        conductivity = np.asarray(field, float).ravel()[self._voxel]
        with self.watch.under("assembly"):
            matrix, right = self._assemble(conductivity)
        with self.watch.under("solve"):
            corrector = self._solve(matrix, right)
        potential = np.concatenate([np.zeros((1, 2)), corrector])[self._nodes] + self._coordinates
        return np.swapaxes(potential, 1, 2) @ (self._local @ potential), conductivity

    def forward(self, field):
        """The effective tensor (2, 2) of a field (n, n), and seconds per heading."""
        self.watch.read()
        with self.watch.under("total"):
            energies, conductivity = self._energies(field)
            effective = np.tensordot(conductivity, energies, axes=1)
        return effective, self.watch.read()

    def value_and_gradient(self, field, weights):
        """The tensor, the gradient of ``sum(weights * A)`` (n, n), and seconds."""
        self.watch.read()
        with self.watch.under("total"):
            energies, conductivity = self._energies(field)
            effective = np.tensordot(conductivity, energies, axes=1)
            gradient = np.empty(self._n**2)
            gradient[self._voxel] = np.einsum("eij,ij->e", energies, weights)
        return effective, gradient.reshape(self._n, self._n), self.watch.read()
