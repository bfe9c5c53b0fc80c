"""A progress bar that may be absent."""

from typing import Any


class Progress:
    """Progress of a fit on the standard error stream, by tqdm; a context manager.

    Args:
        show: whether to show it.
        total: expected number of iterations, if known.
    """

    def __init__(self, *, show: bool, total: int | None = None):
        self._show, self._total = show, total
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        if self._show:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit="it")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, description: str, loss: float) -> None:
        """One more iteration."""
        if self._bar is not None:
            self._bar.set_description(description, refresh=False)
            self._bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            self._bar.update()
