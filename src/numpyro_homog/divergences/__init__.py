"""Distances of clouds of points. Pure JAX; knows no tensor and no model."""

from ._divergence import AbstractDivergence as AbstractDivergence
from ._divergence import AbstractLeastSquaresDivergence as AbstractLeastSquaresDivergence
from ._divergence import Linearization as Linearization
from ._divergence import sampling_noise as sampling_noise
from ._sandwich import Sandwich as Sandwich
from ._sandwich import covariance_of as covariance_of
from ._sandwich import noise_shrinkage as noise_shrinkage
from ._sandwich import sandwich as sandwich
from ._sliced_wasserstein import SlicedWasserstein as SlicedWasserstein
from ._weighted_distance import WeightedDistance as WeightedDistance
from ._weighted_distance import WeightedSlicedWasserstein as WeightedSlicedWasserstein
