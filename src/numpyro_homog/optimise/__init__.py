"""Minimisation of noisy objectives: descents, many starts, checkpoints and progress. It knows no data."""

from ._basins import Basin as Basin
from ._basins import BasinTable as BasinTable
from ._checkpoint import Checkpoint as Checkpoint
from ._descents import Descents as Descents
from ._levenberg_marquardt import CONVERGED as CONVERGED
from ._levenberg_marquardt import Descent as Descent
from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from ._multi_start import DRAWS_PER_START as DRAWS_PER_START
from ._multi_start import MOST_NOISE as MOST_NOISE
from ._multi_start import MultiStart as MultiStart
from ._multi_start import Outcome as Outcome
from ._objective import AbstractObjective as AbstractObjective
from ._objective import Evaluation as Evaluation
from ._progress import Progress as Progress
from ._recorder import Recorder as Recorder
from ._small_systems import Equations as Equations
from ._small_systems import find_root as find_root
from ._small_systems import least_points as least_points
from ._stochastic import GradientTransformation as GradientTransformation
from ._stochastic import StochasticObjective as StochasticObjective
from ._stochastic import stochastic_descents as stochastic_descents
