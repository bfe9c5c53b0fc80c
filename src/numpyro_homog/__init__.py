"""Distributional inverse homogenization as a NumPyro plug-in: `import numpyro_homog as nh`."""

from . import tensors as tensors
from ._results import RESULTS as RESULTS
from .grids import Grid as Grid
from .homogenization import AbstractCell as AbstractCell
from .homogenization import AbstractLaw as AbstractLaw
from .homogenization import CellProblem as CellProblem
from .homogenization import CellSolution as CellSolution
from .homogenization import CheckerboardCell as CheckerboardCell
from .homogenization import Conductivity as Conductivity
from .homogenization import effective_tensor as effective_tensor
from .homogenization import LaminateCell as LaminateCell
from .homogenization import Periodic as Periodic
from .homogenization import solve_cell as solve_cell
from .primitives import homogenize as homogenize
