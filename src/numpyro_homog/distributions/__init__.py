"""Distributions of microstructures, as NumPyro distributions."""

from ._fractions import AbstractDistance as AbstractDistance
from ._fractions import EuclideanDistance as EuclideanDistance
from ._fractions import SquaredDistance as SquaredDistance
from ._laguerre import LaguerreTessellation as LaguerreTessellation
