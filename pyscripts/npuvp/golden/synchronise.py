"""Semaphores and barriers that the cores share."""

from dataclasses import dataclass, field

from npuvp.golden.faults import Fault

__all__ = ["Barriers", "Semaphores"]

_MOST = (1 << 32) - 1


class Semaphores:
    """Counters; cores that wait for one are served in the order of their arrival."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._queues: dict[int, list[int]] = {}

    def signal(self, index: int, count: int) -> None:
        """Adds to a semaphore.

        Raises:
            Fault: It would exceed 2^32 - 1.
        """
        value = self._values.get(index, 0) + count
        if value > _MOST:
            raise Fault("semaphore overflow", f"semaphore {index} + {count} is above {_MOST}")
        self._values[index] = value

    def take(self, index: int, core: int, count: int) -> bool:
        """Takes `count`, if there is as much and it is this core's turn; else it queues."""
        queue = self._queues.setdefault(index, [])
        if core not in queue:
            queue.append(core)
        if queue[0] != core or self._values.get(index, 0) < count:
            return False
        queue.pop(0)
        self._values[index] = self._values.get(index, 0) - count
        return True

    def describe(self, index: int, count: int) -> str:
        """What a core that needs `count` waits for."""
        return f"semaphore {index} (needs {count}, has {self._values.get(index, 0)})"


@dataclass
class _Barrier:
    expected: int = 0
    arrived: list[int] = field(default_factory=list)
    released: set[int] = field(default_factory=set)


class Barriers:
    """Places where a number of cores meet."""

    def __init__(self) -> None:
        self._barriers: dict[int, _Barrier] = {}

    def pass_through(self, index: int, core: int, count: int) -> bool:
        """Arrives at a barrier; whether the core may go on.

        Raises:
            Fault: Those who wait there expect another number.
        """
        barrier = self._barriers.setdefault(index, _Barrier())
        if core in barrier.released:
            barrier.released.remove(core)
            return True
        if core in barrier.arrived:
            return False
        if barrier.arrived and barrier.expected != count:
            raise Fault(
                "cores disagree on the size of a barrier",
                f"barrier {index}: {count} here, {barrier.expected} where others wait",
            )
        barrier.expected = count
        barrier.arrived.append(core)
        if len(barrier.arrived) < count:
            return False
        barrier.released |= set(barrier.arrived) - {core}
        barrier.arrived = []
        return True

    def describe(self, index: int) -> str:
        """What a core at the barrier waits for."""
        barrier = self._barriers[index]
        return f"barrier {index} ({len(barrier.arrived)} of {barrier.expected} cores have arrived)"
