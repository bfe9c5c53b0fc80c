"""Distributional inverse homogenization as a NumPyro plug-in: `import numpyro_homog as nh`."""

from .grids import Grid as Grid
from .homogenization import AbstractCell as AbstractCell
from .homogenization import CheckerboardCell as CheckerboardCell
from .homogenization import effective_tensor as effective_tensor
from .homogenization import LaminateCell as LaminateCell
from .primitives import homogenize as homogenize
