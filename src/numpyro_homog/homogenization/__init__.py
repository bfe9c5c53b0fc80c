"""Cell problems and effective tensors. Pure JAX."""

from ._analytic import CheckerboardCell as CheckerboardCell
from ._analytic import LaminateCell as LaminateCell
from ._boundary import AbstractBoundary as AbstractBoundary
from ._boundary import Periodic as Periodic
from ._cell import CellProblem as CellProblem
from ._cell import CellSolution as CellSolution
from ._cell import solve_cell as solve_cell
from ._classical_bounds import hashin_shtrikman_bounds as hashin_shtrikman_bounds
from ._classical_bounds import reuss_bound as reuss_bound
from ._classical_bounds import self_consistent as self_consistent
from ._classical_bounds import voigt_bound as voigt_bound
from ._effective import AbstractCell as AbstractCell
from ._effective import effective_tensor as effective_tensor
from ._law import AbstractLaw as AbstractLaw
from ._law import Coefficients as Coefficients
from ._law import Conductivity as Conductivity
from ._mixing import AbstractMixingRule as AbstractMixingRule
from ._mixing import ArithmeticMixing as ArithmeticMixing
from ._mixing import GeometricMixing as GeometricMixing
from ._mixing import HarmonicMixing as HarmonicMixing
from ._mixing import LaminateMixing as LaminateMixing
from ._mixing import mix as mix
