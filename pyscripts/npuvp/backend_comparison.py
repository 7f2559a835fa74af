"""The same firmware on every memory backend: results must be equal, only time may differ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npuvp.platform import Platform
from npuvp.run import Result
from npuvp.sampling import sample, seeded_logits, workload

__all__ = ["BACKENDS", "BackendRun", "compare_backends"]

BACKENDS = ("builtin", "ideal", "ramulator")
_BATCH, _POSITIONS, _VOCABULARY = 1, 8, 16_384


@dataclass(frozen=True)
class BackendRun:
    """One backend's run of the firmware.

    Attributes:
        backend: its name.
        missing: why it did not run, and what would make it; empty where it ran.
        cycles: of the platform's clock.
        time_ps: simulated.
        bandwidth: bytes per second that the memory moved, over the whole run.
        seconds: time of the host.
        differences: names of the outputs that are not those of the first backend, bit for bit.
    """

    backend: str
    missing: str = ""
    cycles: int = 0
    time_ps: int = 0
    bandwidth: float = 0.0
    seconds: float = 0.0
    differences: tuple[str, ...] = ()


def _missing(memories: list[dict[str, Any]], backend: str) -> str:
    import npuvp._core as _core

    for memory in memories if backend != "ideal" else ():
        if not memory["parameters"]["preset"]:
            return (
                f"{memory['name']} names no preset, whose geometry and timing it needs: choose one, "
                "such as --set hbm.preset=HBM2E"
            )
    missing: str = _core.memory_backend_unavailable(backend)
    return missing


def compare_backends(load: Callable[[str], Platform]) -> list[BackendRun]:
    """Runs one sampling step (1 x 8 positions, 16,384 logits each, seeded) on every backend.

    The platform's cores, interconnect and firmware stay the same; the first backend that runs is what
    the others' outputs are compared with.

    Args:
        load: makes the platform with a backend in place of its memories' own.

    Returns:
        One entry per backend of `BACKENDS`.

    Raises:
        PlatformError: the platform has faults.
    """
    work = workload(seeded_logits(_BATCH, _POSITIONS, _VOCABULARY))
    reference: Result | None = None
    # The ideal memory needs nothing that could be missing.
    memories = load("ideal").description()["hbms"]
    runs = []
    for backend in BACKENDS:
        missing = _missing(memories, backend)
        if missing:
            runs.append(BackendRun(backend, missing=missing))
            continue
        result = sample(load(backend), work, progress=False)
        if reference is None:
            reference = result
        differences = tuple(
            name
            for name, value in result.outputs.items()
            if not np.array_equal(value.view(np.uint8), reference.outputs[name].view(np.uint8))
        )
        runs.append(
            BackendRun(
                backend,
                cycles=result.cycles,
                time_ps=result.time_ps,
                bandwidth=sum(result.stats[memory["name"]]["bandwidth"] for memory in memories),
                seconds=result.seconds,
                differences=differences,
            )
        )
    return runs
