"""Rows of the table: one per experiment, estimator and data set, on disk as soon as they are known."""

import json
import time
from pathlib import Path

import numpy as np

import numpyro_homog as nh
from benchmarks.store import write_json

KEY = ("experiment", "estimator", "num_specimens", "data_set")


class Rows:
    """The rows of a JSON file; a run that was stopped goes on with those that are missing."""

    def __init__(self, path: Path):
        self.path = path
        self.content: list[dict] = json.loads(path.read_text()) if path.exists() else []

    def has(self, *key) -> bool:
        """Whether there is a row of this experiment, estimator, number of specimens and data set."""
        return any(tuple(row[name] for name in KEY) == key for row in self.content)

    def put(self, row: dict) -> None:
        """Add a row and write the file."""
        self.content.append(row)
        write_json(self.path, self.content)
        shown = {block: f"{100 * error:.2f} % (floor {100 * row['floor'].get(block, np.nan):.2f} %)"
                 for block, error in row["errors"].items()}  # fmt: skip
        print(*(row[name] for name in KEY), shown, f"{row['solves']} solves, {row['seconds']:.1f} s", flush=True)


def relative_error(found, truth) -> float:
    """Error of a block of parameters in the 2-norm, relative to the truth."""
    return float(np.linalg.norm(np.asarray(found, float) - truth) / np.linalg.norm(truth))


def fit_row(experiment: str, estimator: str, data_set: int, fit: nh.MinimumDistanceResult, blocks: dict) -> dict:
    """A row from a fit.

    The floor is the asymptotic error of the divergence with these data and endless simulation: the standard errors of
    the fit, whose variance has equal parts per measured and per simulated specimen, without the second part. There is
    none of a block that the data do not determine.

    Args:
        blocks: name -> (estimate, standard errors, truth).
    """
    num_data, num_simulated = fit.stats["num_data"], fit.stats["num_populations"] * fit.stats["num_simulated"]
    share = np.sqrt(num_simulated / (num_data + num_simulated))
    told = {name: (found, s, t) for name, (found, s, t) in blocks.items() if np.isfinite(s).all()}
    return {
        "experiment": experiment,
        "estimator": estimator,
        "num_specimens": num_data,
        "data_set": data_set,
        "errors": {name: relative_error(found, truth) for name, (found, _, truth) in blocks.items()},
        "floor": {name: float(share * np.linalg.norm(s) / np.linalg.norm(t)) for name, (_, s, t) in told.items()},
        "z": {name: ((np.asarray(found) - t) / s).ravel().tolist() for name, (found, s, t) in told.items()},
        "solves": int(fit.stats["solves"]),
        "seconds": fit.stats["seconds"] - fit.stats["compile_seconds"],
        "compile_seconds": fit.stats["compile_seconds"],
        "result": "successful" if fit.result == nh.RESULTS.successful else "flagged",
    }


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self._begin = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self._begin
