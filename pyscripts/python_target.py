"""A platform assembled by hand, with a memory-mapped device written in Python.

The firmware stores four words of INT SRAM to the device by DMA and loads their squares back.
Run it from the top of the tree: .venv/bin/python pyscripts/python_target.py
"""

import struct

import npuvp as vp


class Squarer(vp.Target):
    """Keeps 32-bit words and answers with their squares."""

    def __init__(self, name: str):
        super().__init__(name, size=4096, latency="20ns")
        self.words: dict[int, int] = {}

    def write(self, offset: int, data: bytes) -> None:
        """Stores words."""
        for i, (word,) in enumerate(struct.iter_unpack("<I", data)):
            self.words[offset // 4 + i] = word

    def read(self, offset: int, length: int) -> bytes:
        """The squares of the stored words."""
        first = offset // 4
        values = [self.words.get(first + i, 0) ** 2 for i in range(length // 4)]
        return struct.pack(f"<{len(values)}I", *values)


platform = vp.Platform("by_hand", clock="1GHz")
platform.core("core0", vlen=64)
platform.hbm("hbm", backend="ideal", size="1MiB", bandwidth="25.6GB/s")
device = platform.add(Squarer("squarer"))
platform.check()
base = next(r.base for r in platform.memory_map() if r.name == "squarer")

firmware = vp.assemble(
    """
    .tensor words, core0.int, 0, raw32, 4, in
    .tensor squares, core0.int, 4, raw32, 4, out
    .text
    LI gp1, 1
    LI gp2, 4
    C_CSRW dma_len, gp2
    LI gp3, BASE >> 32
    LI gp4, BASE & 0xFFFF_FFFF
    C_SET_ADDR_REG a1, gp3, gp4
    H_ST_INT gp0, gp0, a1, gp1, 0
    C_FENCE 1
    H_LD_INT gp2, gp0, a1, gp1, 0
    C_FENCE 1
    C_HALT gp0
    """,
    defines={"BASE": base},
)
result = platform.run(firmware, inputs={"words": [1, 2, 3, 10]})
print(result.outputs["squares"], f"in {result.cycles} cycles; the device holds {device.words}")
