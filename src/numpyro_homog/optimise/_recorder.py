"""What a run has done so far: counts, checkpoint and progress."""

import numpy as np

from ._checkpoint import Checkpoint
from ._progress import Progress


class Recorder:
    """The one place where a run is counted, saved and shown.

    Args:
        checkpoint: where its state goes; default: memory.
        progress: where it is shown; default: nowhere.

    Attributes:
        num_simulated: specimens simulated (one cell solve each, the tangents included).
        num_evaluations: populations simulated.
    """

    def __init__(self, checkpoint: Checkpoint | None = None, progress: Progress | None = None):
        self.checkpoint = Checkpoint(None, "") if checkpoint is None else checkpoint
        self.progress = Progress(show=False) if progress is None else progress
        counts = self.checkpoint.get("costs") or {"num_simulated": np.array(0), "num_evaluations": np.array(0)}
        self.num_simulated, self.num_evaluations = int(counts["num_simulated"]), int(counts["num_evaluations"])

    def count(self, num_simulated: int) -> None:
        """Count one simulated population."""
        self.num_simulated += num_simulated
        self.num_evaluations += 1

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """What was saved under a name, before an interruption too; None if nothing was."""
        return self.checkpoint.get(name)

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Save arrays under a name, with the counts."""
        counts = {"num_simulated": np.array(self.num_simulated), "num_evaluations": np.array(self.num_evaluations)}
        self.checkpoint.put(**{name: arrays, "costs": counts})
