"""Features of a cloud of points, with Jacobian and influence. Pure JAX; knows no tensor and no model."""

from ._clouds import checked_clouds as checked_clouds
from ._clouds import random_directions as random_directions
from ._moments import Moments as Moments
from ._sliced_quantiles import SlicedQuantiles as SlicedQuantiles
from ._summary import AbstractSummary as AbstractSummary
