"""What users could pick instead, written as well as a knowledgeable user would.

Each peer runs in a process of its own (``worker.py``), because some of them
change global flags when they are imported.
"""
