"""Memories of the golden machine: sparse bytes, and the map through which DMA reaches them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.golden.faults import Fault

__all__ = ["MemoryMap", "SparseMemory", "Window"]

Bytes = NDArray[np.uint8]
_PAGE = 1 << 16


class SparseMemory:
    """`size` bytes, 0 until written; only touched pages exist."""

    def __init__(self, size: int):
        self.size = size
        self.pages: dict[int, Bytes] = {}

    def read(self, offset: int, count: int) -> Bytes:
        """A copy of `count` bytes from `offset` on, all inside."""
        out = np.zeros(count, np.uint8)
        for page, at, begin, end in _pieces(offset, count):
            if page in self.pages:
                out[begin:end] = self.pages[page][at : at + end - begin]
        return out

    def write(self, offset: int, data: Bytes) -> None:
        """Stores bytes from `offset` on, all inside."""
        for page, at, begin, end in _pieces(offset, len(data)):
            if page not in self.pages:
                self.pages[page] = np.zeros(_PAGE, np.uint8)
            self.pages[page][at : at + end - begin] = data[begin:end]


def _pieces(offset: int, count: int) -> list[tuple[int, int, int, int]]:
    """(page, offset in it, first and end byte of the data) for a range of bytes."""
    found = []
    done = 0
    while done < count:
        page, at = divmod(offset + done, _PAGE)
        length = min(_PAGE - at, count - done)
        found.append((page, at, done, done + length))
        done += length
    return found


class Window:
    """An SRAM as bytes of the memory map, over the array that holds it.

    Args:
        array: The SRAM's storage, any shape.
        narrow: The array holds float32 numbers that stand as BF16 in the map.
    """

    def __init__(self, array: NDArray[Any], narrow: bool = False):
        self.array = array.reshape(-1)
        self.narrow = narrow
        self.size = self.array.size * (2 if narrow else self.array.itemsize)

    def read(self, offset: int, count: int) -> Bytes:
        """A copy of `count` bytes from `offset` on, all inside."""
        if not self.narrow:
            return self.array.view(np.uint8)[offset : offset + count].copy()
        first, last = offset // 2, -(-(offset + count) // 2)
        words = (self.array[first:last].view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return words.view(np.uint8)[offset - 2 * first :][:count].copy()

    def write(self, offset: int, data: Bytes) -> None:
        """Stores bytes from `offset` on, all inside."""
        if not self.narrow:
            self.array.view(np.uint8)[offset : offset + len(data)] = data
            return
        first, last = offset // 2, -(-(offset + len(data)) // 2)
        whole = self.read(2 * first, 2 * (last - first))
        whole[offset - 2 * first :][: len(data)] = data
        words = whole.view(np.uint16).astype(np.uint32) << np.uint32(16)
        self.array[first:last] = words.view(np.float32)


class MemoryMap:
    """All that has a global address: memories and SRAM windows by base address."""

    def __init__(self, regions: list[Mapping[str, Any]]):
        self.regions = regions
        self._storage: list[tuple[int, SparseMemory | Window]] = []

    def add(self, base: int, storage: SparseMemory | Window) -> None:
        """Puts a storage at a global address."""
        self._storage.append((base, storage))

    def read(self, address: int, count: int) -> Bytes:
        """Bytes from a global address on.

        Raises:
            Fault: Not all of them are storage.
        """
        return self._access(address, count, lambda storage, at: storage.read(at, count))

    def write(self, address: int, data: Bytes) -> None:
        """Stores bytes from a global address on.

        Raises:
            Fault: Not all of them are storage.
        """

        def store(storage: SparseMemory | Window, at: int) -> Bytes:
            storage.write(at, data)
            return data

        self._access(address, len(data), store)

    def _access(
        self, address: int, count: int, do: Callable[[SparseMemory | Window, int], Bytes]
    ) -> Bytes:
        for base, storage in self._storage:
            if base <= address and address + count <= base + storage.size:
                return do(storage, address - base)
        at = address
        while at < address + count:
            holds = (r for r in self.regions if r["base"] <= at < r["base"] + r["size"])
            region = next(holds, None)
            if region is None:
                raise Fault(
                    "DMA beyond every memory and peripheral",
                    f"address {at:#x}  ->  {self.owner_of(at)}",
                )
            at = region["base"] + region["size"]
        raise Fault(
            "DMA refused by its target", f"address {address:#x}  ->  {self.owner_of(address)}"
        )

    def owner_of(self, address: int) -> str:
        """Region and offset of an address, or that there is none."""
        for region in self.regions:
            if region["base"] <= address < region["base"] + region["size"]:
                return f"{region['name']} + {address - region['base']:#x}"
        known = ", ".join(
            f"{r['name']} {r['base']:#x}..{r['base'] + r['size'] - 1:#x}" for r in self.regions
        )
        return f"in no region ({known})"
