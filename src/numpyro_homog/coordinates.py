"""The old name of a part of `numpyro_homog.clouds`."""

import warnings
from typing import Any

from . import clouds


def __getattr__(name: str) -> Any:
    if name != "LogEuclidean":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "numpyro_homog.coordinates is a part of numpyro_homog.clouds now; write numpyro_homog.LogEuclidean or"
        " numpyro_homog.clouds.LogEuclidean.",
        DeprecationWarning,
        stacklevel=2,
    )
    return clouds.LogEuclidean
