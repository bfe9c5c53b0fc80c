"""Simulated specimens of a NumPyro model, and its parameters."""

import warnings

from ._checks import same_arguments as same_arguments
from ._chunks import Specimens as Specimens
from ._extrapolation import extrapolate as extrapolate
from ._messengers import HideSpecimens as HideSpecimens
from ._messengers import enter_body as enter_body
from ._messengers import hide_specimens as hide_specimens
from ._parameter_space import ParameterSpace as ParameterSpace
from ._requirements import check_simulator as check_simulator
from ._requirements import warn_of_few_simulated as warn_of_few_simulated
from ._simulator import Simulator as Simulator
from ._specimen_density import SpecimenDensity as SpecimenDensity
from ._whitening import Whitening as Whitening


def __getattr__(name: str) -> type[Simulator]:
    if name == "Population":
        warnings.warn("`Population` is now `Simulator`.", DeprecationWarning, stacklevel=2)
        return Simulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
