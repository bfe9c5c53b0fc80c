"""Time spent under named headings, measured from outside the code that is timed."""

import functools
import time
from collections import defaultdict
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds per heading; a heading inside itself counts once."""

    def __init__(self) -> None:
        self.seconds = defaultdict(float)
        self._running = set()

    @contextmanager
    def under(self, heading: str):
        """Charge the block to ``heading``."""
        if heading in self._running:
            yield
            return
        self._running.add(heading)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[heading] += time.perf_counter() - start
            self._running.discard(heading)

    def watch(self, function, heading: str):
        """The function, with its time charged to ``heading``."""

        @functools.wraps(function)
        def timed(*args, **kwargs):
            with self.under(heading):
                return function(*args, **kwargs)

        return timed

    def read(self) -> dict:
        """Seconds since the last reading, and start again."""
        reading = dict(self.seconds)
        self.seconds.clear()
        return reading
