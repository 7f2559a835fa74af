"""Where everything stands in the 64-bit address space."""

from collections.abc import Sequence
from dataclasses import dataclass

from npuvp.parameters import Fault

__all__ = ["CORE_SPACES", "SLOTS", "Region", "overlaps"]

CORE_SPACES = ("csr", "vector", "matrix", "fp", "int")
"""Spaces of a core's window, in the order of its slots."""

SLOTS = 8
"""Equal slots of a core's window."""


@dataclass(frozen=True)
class Region:
    """A range of addresses.

    Attributes:
        name: "hbm", "core0.vector", "host", ...
        owner: the component.
        space: "memory", "csr", "vector", "matrix", "fp", "int", "peripheral".
        base, size: bytes.
        place: where the owner was made, for messages.
    """

    name: str
    owner: str
    space: str
    base: int
    size: int
    place: str

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.base + self.size

    def __str__(self) -> str:
        return f"{self.name} [{self.base:#x}, {self.end:#x})"


def overlaps(regions: Sequence[Region]) -> list[Fault]:
    """One fault per pair of regions that share an address."""
    faults = []
    ordered = sorted(regions, key=lambda region: (region.base, region.end))
    for index, region in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other.base >= region.end:
                break
            message = f"{region} overlaps {other} (made at {other.place})"
            faults.append(Fault(region.place, "memory map", None, message))
    return faults
