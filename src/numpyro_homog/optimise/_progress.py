"""A progress bar that may be absent."""

import math
import sys
from typing import Any

_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}{postfix}]"


class Progress:
    """Progress of a fit, by tqdm, in a terminal or a notebook; a context manager.

    It shows the least loss so far among those of the largest population so far, since losses of populations of
    different sizes do not compare. No time is predicted: descents differ in length.

    Args:
        show: whether to show it.
        unit: what is counted, in the plural.
    """

    def __init__(self, *, show: bool, unit: str = "descents"):
        self._show, self._unit = show, unit
        self._bar: Any = None
        self._best, self._num_specimens = math.inf, 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, number: int) -> None:
        """So many more are to come."""
        if self._bar is not None:
            self._bar.total += number
            self._bar.refresh()
        elif self._show:
            from tqdm.auto import tqdm

            self._bar = tqdm(desc="compiling", total=number, unit=self._unit, bar_format=_FORMAT, miniters=0)

    def report(self, description: str, loss: float, num_specimens: int) -> None:
        """One more evaluation, of so many simulated specimens."""
        if self._bar is None:
            return
        if num_specimens > self._num_specimens:
            self._best, self._num_specimens = math.inf, num_specimens
        if num_specimens == self._num_specimens and loss < self._best:
            self._best = loss
        self._bar.set_description(description, refresh=False)
        self._bar.set_postfix_str(f"best loss {self._best:.3g} with {self._num_specimens} specimens", refresh=False)
        self._bar.update(0)  # draws, but not more often than ten times a second

    def say(self, text: str) -> None:
        """A line above the bar, for what cannot wait until the end."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)

    def advance(self, number: int = 1) -> None:
        """So many are done."""
        if self._bar is not None:
            self._bar.update(number)
