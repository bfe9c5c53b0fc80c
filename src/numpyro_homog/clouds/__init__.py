"""Compared sites as clouds of points: scaling, coordinates, failed specimens."""

from ._coordinates import LogEuclidean as LogEuclidean
from ._differences import describe_difference as describe_difference
from ._differences import describe_units as describe_units
from ._failed import checked_fraction as checked_fraction
from ._failed import without_failed as without_failed
from ._scale import CloudScale as CloudScale
from ._scale import component_cloud as component_cloud
