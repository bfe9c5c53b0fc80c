"""Cell problems and effective tensors. Pure JAX."""

from ._analytic import CheckerboardCell as CheckerboardCell
from ._analytic import LaminateCell as LaminateCell
from ._effective import AbstractCell as AbstractCell
from ._effective import effective_tensor as effective_tensor
