"""Pickling of objects that hold a function of the user, which other processes may know nothing of."""

import pickle
from typing import Any


class ByValue:
    """A function, or what holds functions, on its way into a pickle, out of which it comes as itself.

    Plain pickle keeps the name of a function only, and refuses local ones; cloudpickle keeps the code of those that no
    module can give back, with what they refer to.
    """

    def __init__(self, content: Any):
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        try:
            return pickle.loads, (cloudpickle.dumps(self.content),)
        except Exception as error:
            name = getattr(self.content, "__qualname__", repr(self.content))
            raise TypeError(
                f"{name} cannot be pickled, not even with its code: {error}. It refers to something that belongs to"
                " this process (an open file, a lock, a compiled program): make that inside of the function."
            ) from error
