"""One design point: plain data in, plain data out."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from npuvp.analytical import estimate, hardware_of
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.plan import GenerationPlan
from npuvp.platform import Platform

__all__ = ["evaluate_job", "guarded"]


@lru_cache(maxsize=16)
def _model(name: str) -> Checkpoint:
    return load_model(name)


@lru_cache(maxsize=1024)
def _plan(fields: tuple[tuple[str, type, Any], ...]) -> GenerationPlan:
    return GenerationPlan(**{name: value for name, _, value in fields})


def evaluate_job(job: Mapping[str, Any]) -> dict[str, float]:
    """Evaluates a point.

    Args:
        job: ``model``, ``platform`` (a file), ``set`` (overrides by key), ``plan`` (fields),
            ``formats``, ``cores``, ``prompt_length``, ``batch``, ``calls_per_block``,
            ``experts_per_tile``, and ``mode``: ``analytical``, or ``timing`` for the cycle-level path with replay.

    Returns:
        By the names of `npuvp.sweep.space.METRICS`.
    """
    settings = [f"{key}={value}" for key, value in job["set"].items()]
    platform = Platform.load(job["platform"], set=settings)
    plan = _plan(tuple((name, type(value), value) for name, value in job["plan"].items()))
    checkpoint = _model(job["model"])
    sizes = {
        name: job[name]
        for name in ("prompt_length", "batch", "cores", "formats", "calls_per_block")
    }
    sizes["experts_per_tile"] = job.get("experts_per_tile")
    hardware = hardware_of(platform.description())
    if job["mode"] == "timing":
        from npuvp.replay import time_generation

        timing = time_generation(checkpoint, platform, plan, **sizes)
        cycles, seconds, joules = float(timing.cycles), timing.time, timing.energy
        tokens = timing.tokens
    else:
        closed = estimate(checkpoint.spec, hardware, plan, **sizes)
        cycles, seconds, joules, tokens = closed.cycles, closed.time, closed.energy, closed.tokens
    return {
        "cycles": cycles,
        "time_s": seconds,
        "energy_j": joules,
        "area_mm2": hardware.area.total,
        "tokens_per_s": tokens / seconds,
        "tokens_per_j": tokens / joules,
    }


def guarded(evaluate: Any, jobs: list[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Evaluates points one after the other; what goes wrong with one is its result.

    Args:
        evaluate: As `evaluate_job`.
        jobs: (key, job).

    Returns:
        Per point ``key``, ``status`` (``ok`` or ``failed``), ``seconds``, ``error``, and the metrics.
    """
    rows = []
    for key, job in jobs:
        begin = time.perf_counter()
        row: dict[str, Any] = {"key": key, "status": "ok", "error": ""}
        try:
            row |= evaluate(job)
        except Exception as error:  # a trap, a fault of the point, or a bug that it shows
            row["status"] = "failed"
            row["error"] = f"{type(error).__name__}: {error}"
        row["seconds"] = round(time.perf_counter() - begin, 6)
        rows.append(row)
    return rows
