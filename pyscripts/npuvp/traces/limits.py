"""What limited a part of a run, in words: the array, the memory, or what kept both from working."""

from collections.abc import Mapping
from typing import Any

__all__ = ["NEAR", "achievable_bandwidth", "limit_of"]

#: Share of a roof from which on a part of a run is said to be at it.
NEAR = 0.85
#: Below it a part of a run is under no roof.
_HALF = 0.5
#: Shares of the time below this are not worth a word.
_LEAST = 0.05
_CAUSES = {
    "own": "issuing instructions",
    "operand": "waiting for results",
    "unit": "waiting for a busy unit",
    "dma": "waiting for the DMA engine",
    "noc": "waiting for the NoC",
    "memory": "waiting for memory",
    "synchronisation": "waiting for other cores",
    "idle": "halted",
    # Where only the counters at marks are known: what instructions and their results took.
    "scalar": "scalar instructions",
    "vector": "vector instructions",
    "control": "loops and branches",
}
_MOST_CAUSES = 3


def achievable_bandwidth(description: Mapping[str, Any]) -> float:
    """Bytes per second that all memories together give at best: what refresh leaves of their peak, and
    no more than the cores' DMA ports carry.

    Args:
        description: `Platform.description()`.
    """
    memories = 0.0
    for memory in description["hbms"]:
        share = 1.0
        if memory["parameters"]["backend"] != "ideal" and memory["parameters"]["refresh"] != "none":
            timing = memory["config"]["timing"]
            share -= timing["rfc"] / timing["refi"]
        memories += share * float(memory["parameters"]["bandwidth"])
    clock = description["platform"]["clock"]
    ports = sum(
        core["parameters"]["dma_ports"] * core["parameters"]["dma_port_bits"] / 8 * clock
        for core in description["cores"]
    )
    return float(min(memories, ports))


def limit_of(matrix: float, memory: float, vector: float, shares: Mapping[str, float]) -> str:
    """Which roof a part of a run is under, how near it came, and where the rest of the time went.

    Args:
        matrix: Multiply-accumulates, as a share of what the array could have done in the time.
        memory: Bytes, as a share of what the memories could have moved in the time.
        vector: Share of the time in which the vector unit worked.
        shares: Shares of core time: ``own`` (issue), stall causes, ``idle``; or by class of
            instructions.
    """
    reached = max(matrix, memory, vector)
    if reached < _HALF:
        roof = f"under no roof: array {matrix:.0%}, memory {memory:.0%}"
        roof += f", vector unit {vector:.0%}" if vector else ""
    elif reached == matrix:
        roof = f"compute-bound, array {matrix:.0%}"
    elif reached == memory:
        roof = f"memory-bound, {memory:.0%} of its bandwidth"
    else:
        roof = f"vector unit {vector:.0%}"
    if reached >= NEAR:
        return roof
    # A core that waits for the unit at work loses nothing by it.
    busy = {"unit"} if matrix > _LEAST or vector > _LEAST else set()
    causes = sorted(
        ((share, name) for name, share in shares.items() if name not in busy and share >= _LEAST),
        reverse=True,
    )
    if not causes:
        return roof
    words = ", ".join(f"{_CAUSES[name]} {share:.0%}" for share, name in causes[:_MOST_CAUSES])
    return f"{roof}; {words}"
