"""Reader of the tutorial scripts for myst-nb."""

import jupytext


def read_script(text):
    """Read a py:percent script as a notebook; naming the language gets its code highlighted."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return notebook
