"""Reader of the tutorial scripts for myst-nb."""

import os

import jupytext
import nbformat

FAST_NOTE = """```{note}
This page was made with `FAST=1`: coarse cells and few specimens. Without it the script
does what the text says.
```"""


def read_script(text):
    """Read a py:percent script as a notebook; naming the language gets its code highlighted."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    if os.environ.get("FAST") == "1":
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(FAST_NOTE))
    return notebook
