"""What a run has done so far: counts, checkpoint and progress."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._store import write_whole
from ._progress import Progress

_FINGERPRINT = "fingerprint"


class Checkpoint:
    """Named groups of arrays, in memory and, if a path is given, on disk.

    The file is replaced as a whole, and holds plain arrays and no pickles. Of joined processes (`jax.distributed`) all
    read it, and the first one writes it.

    Args:
        path: the file, or None to keep the state in memory only.
        fingerprint: what the state belongs to.

    Raises:
        ValueError: if the file exists and is no checkpoint, or one of another run.
    """

    def __init__(self, path: str | os.PathLike | None, fingerprint: str):
        self.path = None if path is None else Path(path)
        self._fingerprint = fingerprint
        self._groups: dict[str, dict[str, np.ndarray]] = {}
        if self.path is not None and self.path.exists():
            self._load(self.path)
        elif self.path is not None and not self.path.absolute().parent.is_dir():
            raise ValueError(f"The folder of checkpoint={str(self.path)!r} does not exist.")

    def get(self, group: str) -> dict[str, np.ndarray] | None:
        """The arrays of a group, or None if there is no such group yet."""
        return self._groups.get(group)

    def put(self, **groups: dict[str, np.ndarray]) -> None:
        """Replace groups, and the file."""
        self._groups |= groups
        if self.path is None or jax.process_index() > 0:
            return
        flat: dict[str, Any] = {_FINGERPRINT: np.array(self._fingerprint)}
        flat |= {f"{name}/{key}": array for name, part in self._groups.items() for key, array in part.items()}
        write_whole(self.path, lambda file: np.savez(file, **flat))

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a checkpoint of this package ({error}); remove it or choose another path."
            ) from error
        found = str(arrays.pop(_FINGERPRINT, ""))
        if found != self._fingerprint:
            raise ValueError(
                f"{path} belongs to another run: the data, the key, the model's parameters and prior, the sizes or"
                " the settings differ. Repeat the call that began it to resume, or remove the file to start anew."
            )
        for name, array in arrays.items():
            group, key = name.split("/", 1)
            self._groups.setdefault(group, {})[key] = array


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

    def once(self, name: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What was saved under a name, or else what `compute` gives, which is saved."""
        saved = self.get(name)
        if saved is None:
            saved = compute()
            self.put(name, saved)
        return saved
