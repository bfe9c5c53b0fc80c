"""Inference: point estimates of a model's parameters from a population of measurements."""

from ._basins import Basin as Basin
from ._basins import BasinTable as BasinTable
from ._bootstrap import posterior_bootstrap as posterior_bootstrap
from ._identifiability import identifiability as identifiability
from ._identifiability_report import Identifiability as Identifiability
from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from ._minimum_distance import MinimumDistance as MinimumDistance
from ._result import MinimumDistanceResult as MinimumDistanceResult
from ._reweight import reweight as reweight
from ._reweighted_fit import ReweightedFit as ReweightedFit
