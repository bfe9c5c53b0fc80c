"""The driver's end of a worker process."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A solver in its own process; idle, and using no time, between requests.

    Args:
        name: as in ``worker.py``.
        x64: 64-bit arithmetic, for our own solver.
        cpu: the only processor that it may use; None leaves it all of them.
        quiet: hide what the worker's libraries print.
        python: the interpreter, for a peer that lives in an environment of its own.
    """

    def __init__(
        self,
        name: str,
        *,
        x64: bool = False,
        cpu: int | None = None,
        quiet: bool = True,
        python: str = sys.executable,
    ) -> None:
        self.name = name
        command = [python, "-m", "benchmarks.peers.worker", name, *["--x64"] * x64]
        if cpu is not None:
            command += ["--cpu", str(cpu)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
        )

    def send(self, operation: str, **arguments) -> None:
        """Ask without waiting for the answer."""
        print(json.dumps({"operation": operation, **arguments}), file=self._process.stdin, flush=True)

    def receive(self) -> dict:
        """The answer to the earliest unanswered request.

        Raises:
            RuntimeError: the worker raised, with its traceback, or died.
        """
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"worker {self.name} ended with code {self._process.wait()}; start it with quiet=False")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"worker {self.name}: {answer['error']}")
        return answer

    def ask(self, operation: str, **arguments) -> dict:
        """Ask and wait for the answer."""
        self.send(operation, **arguments)
        return self.receive()

    def close(self) -> None:
        """End the process and wait for it."""
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()
        self._process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()
