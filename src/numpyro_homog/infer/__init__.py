"""Inference: point estimates of a model's parameters from a population of measurements."""

from ..optimise import Basin as Basin
from ..optimise import BasinTable as BasinTable
from ..optimise import LevenbergMarquardt as LevenbergMarquardt
from ._bootstrap import posterior_bootstrap as posterior_bootstrap
from ._identifiability import Identifiability as Identifiability
from ._identifiability import identifiability as identifiability
from ._minimum_distance import MinimumDistance as MinimumDistance
from ._results import MinimumDistanceResult as MinimumDistanceResult
from ._results import ReweightedFit as ReweightedFit
from ._reweight import reweight as reweight
