"""Distributions of microstructures, as NumPyro distributions."""

from ._copula import GaussianCopulaField as GaussianCopulaField
from ._covariance import AbstractCovariance as AbstractCovariance
from ._dirichlet_copula import DirichletCopulaField as DirichletCopulaField
from ._fractions import AbstractDistance as AbstractDistance
from ._fractions import EuclideanDistance as EuclideanDistance
from ._fractions import SquaredDistance as SquaredDistance
from ._function import Pushforward as Pushforward
from ._gaussian_field import GaussianField as GaussianField
from ._laguerre import LaguerreTessellation as LaguerreTessellation
from ._neumann import NeumannMatern as NeumannMatern
from ._periodic import PeriodicMatern as PeriodicMatern
from ._periodic import PeriodicSquaredExponential as PeriodicSquaredExponential
from ._thresholded import ThresholdedGaussianField as ThresholdedGaussianField
from ._uniform_simplex import UniformSimplex as UniformSimplex
from ._voronoi_phases import VoronoiPhases as VoronoiPhases
