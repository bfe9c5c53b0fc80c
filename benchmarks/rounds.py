"""Interleaved rounds: all cases and solvers in turn, so that a slow minute hits all of them."""

import math
import sys
import time
from collections.abc import Callable


def say(what: str, seconds: float | None = None) -> None:
    """Tell on the standard error what is done, and how long it took."""
    print(f"  {what}" + ("" if seconds is None else f" ({seconds:.1f} s)"), file=sys.stderr, flush=True)


def run_rounds(chosen, requests, workers: dict, num_rounds: int) -> tuple[dict, dict]:
    """Time the requests of all cases, round by round.

    Args:
        chosen: cases, each with a `name` and a `recipe`.
        requests: function of (case, round, workers) that yields (key in the results, worker, operation, arguments).
            Round -1 compiles and is not timed.
        workers: name -> `Worker`.
        num_rounds: timed rounds.

    Returns:
        Readings, case name -> key -> list over rounds (and members) of seconds per heading; and the answers of
        round -1, case name -> key -> answer.
    """
    readings = {case.name: {} for case in chosen}
    answers = {case.name: {} for case in chosen}
    for round_index in range(-1, num_rounds):
        start = time.perf_counter()
        for case in chosen:
            for key, worker, operation, arguments in requests(case, round_index, workers):
                answer = workers[worker].ask(operation, cells=case.recipe, **arguments)
                if round_index < 0:
                    answers[case.name][key] = answer
                else:
                    readings[case.name].setdefault(key, []).extend(answer["seconds"])
        took = time.perf_counter() - start
        say("compiled and warmed up" if round_index < 0 else f"round {round_index + 1} of {num_rounds}", took)
    return readings, answers


def least_seconds(jobs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Least time of each job, all in turn, after a first call that compiles."""
    import jax

    least = dict.fromkeys(jobs, math.inf)
    for repeat in range(-1, repeats):
        for name, job in jobs.items():
            begin = time.perf_counter()
            jax.block_until_ready(job())
            if repeat >= 0:
                least[name] = min(least[name], time.perf_counter() - begin)
    return least


def judge_targets(targets: list[tuple]) -> list[dict]:
    """Targets (name, value, relation, bound) with their verdict; ``passed`` is None where nothing is asked."""
    judged = []
    for name, value, relation, bound in targets:
        passed = None
        if bound is not None:
            passed = bool(value >= bound if relation == ">=" else value <= bound)
        judged.append({"name": name, "value": value, "relation": relation, "bound": bound, "passed": passed})
    return judged
