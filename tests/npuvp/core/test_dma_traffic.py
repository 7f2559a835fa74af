"""What a transfer asks of the memory, burst by burst, as a recording TLM target sees it, and what it
leaves in the SRAM and there; random descriptors also against the golden machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from core_machine import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import npuvp as vp
from npuvp.golden import GoldenMachine
from npuvp.machine import Machine

BASE = 1 << 20
SIZE = 1 << 16
CONTENTS = np.random.default_rng(7).integers(0, 256, SIZE).astype(np.uint8)
VECTOR = np.random.default_rng(8).integers(0, 0x7F00, 64 * 16).astype(np.uint16)  # no NaN
MXINT8, BF16 = 5, 8
ROW = 16  # elements of a row of Vector SRAM
Seen = list[tuple[str, int, int]]


class Recorder(vp.Target):
    """A memory that notes every access as (r or w, offset, bytes)."""

    size = SIZE
    latency = "20ns"

    def __init__(self, name: str) -> None:
        super().__init__(name, base=BASE)
        self.memory = bytearray(CONTENTS.tobytes())
        self.seen: Seen = []

    def read(self, offset: int, length: int) -> bytes:
        self.seen.append(("r", offset, length))
        return bytes(self.memory[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.seen.append(("w", offset, len(data)))
        self.memory[offset : offset + len(data)] = data


@dataclass
class Done:
    seen: Seen
    memory: NDArray[np.uint8]
    vector: NDArray[np.uint16]


def text(
    op: str,
    csrs: dict[str, int],
    numbers: list[int],
    *,
    sram: int,
    rows: int,
    offset: int = 0,
    base: int = 0,
) -> str:
    """A program of one transfer; `base` and `offset` count from the start of the recorder.

    Gathers and scatters have `numbers` (from INT SRAM 0 on) instead of an offset.
    """
    lines = [
        f"LI gp1, {number}\nLI gp2, {i}\nS_ST_INT gp1, gp2, 0" for i, number in enumerate(numbers)
    ]
    lines += [f"LI gp1, {value}\nC_CSRW {name}, gp1" for name, value in csrs.items()]
    lines += [f"LIA a1, {BASE + base}, gp1", f"LI gp1, {sram}", f"LI gp2, {offset}"]
    lines += [f"LI gp3, {rows}", f"{op} gp1, gp2, a1, gp3, 3", "C_FENCE 8", "C_HALT gp0"]
    return "\n".join(lines)


def run(program: str, **core: Any) -> Done:
    p = vp.Platform("recorded")
    p.core("core0", **(SMALL | core))
    p.hbm("hbm", backend="ideal", size="1MiB", bandwidth="32GB/s", latency="10ns")
    target = p.add(Recorder("recorder"))
    machine = Machine(p.description(), vp.assemble(program), targets={"recorder": target})
    machine.write_bytes("core0.vector", 0, VECTOR.view(np.uint8))
    machine.run(progress=False)
    return Done(
        target.seen,
        np.frombuffer(bytes(target.memory), np.uint8),
        machine.read_bytes("core0.vector", 0, VECTOR.nbytes).view(np.uint16),
    )


def bursts(kind: str, pieces: list[tuple[int, int]], burst: int = 4096) -> Seen:
    """Pieces (offset, bytes) as they come on the bus: neighbours in one, cut at multiples of `burst`."""
    joined: list[list[int]] = []
    for offset, count in pieces:
        if joined and sum(joined[-1]) == offset:
            joined[-1][1] += count
        elif count:
            joined.append([offset, count])
    found: Seen = []
    for offset, count in joined:
        end = offset + count
        while offset < end:
            cut = min(end, offset // burst * burst + burst)
            found.append((kind, offset, cut - offset))
            offset = cut
    return found


def load_2d(offset: int, pitch: int, rows: int, elements: int = 12, **core: Any) -> Done:
    csrs = {"dma_format": BF16, "dma_len": elements, "dma_pitch": pitch, "dma_fill": 0x40000000}
    return run(text("H_LD_V", csrs, [], sram=32, offset=offset, rows=rows), **core)


@pytest.mark.parametrize(
    ("offset", "pitch", "expected"),
    [
        (64, 24, [("r", 64, 72)]),  # as long as a row: one piece
        (64, 0, [("r", 64, 72)]),  # the same, said otherwise
        (64, 26, [("r", 64, 24), ("r", 90, 24), ("r", 116, 24)]),
        (64, 22, [("r", 64, 24), ("r", 86, 24), ("r", 108, 24)]),  # rows overlap in memory
        (63, 4096, [("r", 63, 24), ("r", 4159, 24), ("r", 8255, 24)]),
        (4096 - 72, 24, [("r", 4024, 72)]),  # ends at a boundary
        (4096 - 71, 24, [("r", 4025, 71), ("r", 4096, 1)]),  # one byte over it
        (4096 - 24, 26, [("r", 4072, 24), ("r", 4098, 24), ("r", 4124, 24)]),
        (4096 - 49, 25, [("r", 4047, 24), ("r", 4072, 24), ("r", 4097, 24)]),
        (4096 - 48, 25, [("r", 4048, 24), ("r", 4073, 23), ("r", 4096, 1), ("r", 4098, 24)]),
    ],
)
def test_rows_of_a_load(offset: int, pitch: int, expected: Seen) -> None:
    done = load_2d(offset, pitch, 3)
    assert done.seen == expected
    rows = [CONTENTS[offset + i * (pitch or 24) :][:24].view(np.uint16) for i in range(3)]
    wanted = VECTOR.copy()
    for i, row in enumerate(rows):
        wanted[32 + 16 * i :][:16] = [*row, *[0x4000] * 4]
    np.testing.assert_array_equal(quiet(done.vector), quiet(wanted))
    np.testing.assert_array_equal(done.memory, CONTENTS)


def quiet(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """BF16 with every NaN as the one that the machine writes."""
    return np.where((values & 0x7FFF) > 0x7F80, 0x7FC0, values).astype(np.uint16)


@pytest.mark.parametrize("offset", [100, 4096 - 48, 4096 - 47])
@pytest.mark.parametrize("pitch", [20, 24, 25, 300])
def test_rows_of_a_store(offset: int, pitch: int) -> None:
    csrs = {"dma_format": BF16, "dma_len": 12, "dma_pitch": pitch}
    done = run(text("H_ST_V", csrs, [], sram=32, offset=offset, rows=3))
    assert done.seen == bursts("w", [(offset + i * pitch, 24) for i in range(3)])
    wanted = CONTENTS.copy()
    for i in range(3):  # of bytes that rows share, the later row's stay
        wanted[offset + i * pitch :][:24] = VECTOR[32 + 16 * i :][:12].view(np.uint8)
    np.testing.assert_array_equal(done.memory, wanted)
    np.testing.assert_array_equal(done.vector, VECTOR)


@pytest.mark.parametrize("sram_pitch", [0, 16, 48])
def test_rows_apart_in_the_sram(sram_pitch: int) -> None:
    csrs = {"dma_format": BF16, "dma_len": 16, "dma_pitch": 40, "dma_sram_pitch": sram_pitch}
    done = run(text("H_ST_V", csrs, [], sram=16, offset=8, rows=3))
    assert done.seen == [("w", 8, 32), ("w", 48, 32), ("w", 88, 32)]
    for i in range(3):
        row = VECTOR[16 + (sram_pitch or 16) * i :][:16]
        np.testing.assert_array_equal(done.memory[8 + 40 * i :][:32].view(np.uint16), row)


NUMBERS = [
    ([5, 0, 3], [(5, 1), (0, 1), (3, 1)]),
    ([2, 3, 4], [(2, 3)]),  # neighbours go together
    ([4, 3, 2], [(4, 1), (3, 1), (2, 1)]),
    ([6, 6, 6], [(6, 1), (6, 1), (6, 1)]),
    ([7], [(7, 1)]),
]


@pytest.mark.parametrize(("numbers", "pieces"), NUMBERS)
def test_gathered_rows(numbers: list[int], pieces: list[tuple[int, int]]) -> None:
    csrs = {"dma_format": BF16, "dma_len": 16}
    program = text("H_GATHER_V", csrs, numbers, sram=64, base=10, rows=len(numbers))
    done = run(program)
    assert done.seen == [("r", 10 + 32 * first, 32 * count) for first, count in pieces]
    for i, number in enumerate(numbers):
        row = CONTENTS[10 + 32 * number :][:32].view(np.uint16)
        np.testing.assert_array_equal(quiet(done.vector[64 + 16 * i :][:16]), quiet(row))


@pytest.mark.parametrize(("numbers", "pieces"), NUMBERS)
@pytest.mark.parametrize("pitch", [0, 40, 30])
def test_scattered_rows(numbers: list[int], pieces: list[tuple[int, int]], pitch: int) -> None:
    csrs = {"dma_format": BF16, "dma_len": 16, "dma_pitch": pitch}
    done = run(text("H_SCATTER_V", csrs, numbers, sram=64, base=4090, rows=len(numbers)))
    step = pitch or 32
    if pitch == 0:
        assert done.seen == bursts("w", [(4090 + 32 * n, 32 * count) for n, count in pieces])
    assert done.seen == bursts("w", [(4090 + step * n, 32) for n in numbers])
    wanted = CONTENTS.copy()
    for i, number in enumerate(numbers):  # of equal numbers the last row stays
        wanted[4090 + step * number :][:32] = VECTOR[64 + 16 * i :][:16].view(np.uint8)
    np.testing.assert_array_equal(done.memory, wanted)


@pytest.mark.parametrize("op", ["H_LD_V", "H_ST_V", "H_LD_INT", "H_ST_INT", "H_LD_M"])
def test_no_rows_is_no_traffic_and_an_end(op: str) -> None:
    done = run(text(op, {"dma_format": BF16}, [], sram=0, offset=64, rows=0))
    assert done.seen == []
    np.testing.assert_array_equal(done.vector, VECTOR)


@pytest.mark.parametrize("op", ["H_GATHER_V", "H_SCATTER_V"])
def test_no_numbers_is_no_traffic(op: str) -> None:
    done = run(text(op, {"dma_format": BF16}, [9], sram=0, rows=0))
    assert done.seen == []


def test_scales_are_fetched_after_the_elements() -> None:
    """Three rows of 16 mxint8 in blocks of 8, 24 bytes apart: their scales are 3 bytes apart."""
    csrs = {"dma_format": MXINT8, "dma_len": 16, "dma_pitch": 24, "dma_block": 8, "scale": 8192}
    program = text("H_LD_V", csrs, [], sram=0, offset=16, rows=3)
    elements = [("r", 16, 16), ("r", 40, 16), ("r", 64, 16)]
    scales = [("r", 8194, 2), ("r", 8197, 2), ("r", 8200, 2)]
    assert run(program).seen == elements + scales
    packed = text("H_LD_V", csrs | {"dma_pitch": 0}, [], sram=0, offset=16, rows=3)
    assert run(packed).seen == [("r", 16, 48), ("r", 8194, 6)]
    stored = text("H_ST_V", csrs, [], sram=0, offset=16, rows=3)
    assert run(stored).seen == [("w", *rest) for _, *rest in elements + scales]


@pytest.mark.parametrize(("beats", "bits", "burst"), [(1, 256, 32), (4, 64, 32), (128, 256, 4096)])
def test_the_burst_size_is_beats_times_width(beats: int, bits: int, burst: int) -> None:
    done = load_2d(30, 0, 3, 16, dma_burst_beats=beats, dma_port_bits=bits)
    assert done.seen == bursts("r", [(30, 96)], burst)
    assert len(done.seen) == (4 if burst == 32 else 1)


@pytest.mark.parametrize("length", [4, 5])
@pytest.mark.parametrize("pitch", [0, 7])
def test_a_copy_reads_all_before_it_writes(length: int, pitch: int) -> None:
    csrs = {"dma_len": length, "dma_rows": 3, "dma_pitch": pitch}
    lines = [f"LI gp1, {value}\nC_CSRW {name}, gp1" for name, value in csrs.items()]
    lines += [f"LIA a1, {BASE + 4090}, gp1", f"LIA a2, {BASE + 4093}, gp1"]
    done = run("\n".join([*lines, "H_COPY a2, gp0, a1, gp0, 3", "C_FENCE 8", "C_HALT gp0"]))
    step = pitch or length
    reads = bursts("r", [(4090 + step * i, length) for i in range(3)])
    writes = bursts("w", [(4093 + step * i, length) for i in range(3)])
    assert done.seen == reads + writes
    wanted = CONTENTS.copy()
    for i in range(3):  # the two places overlap
        wanted[4093 + step * i :][:length] = CONTENTS[4090 + step * i :][:length]
    np.testing.assert_array_equal(done.memory, wanted)


BITS = {0: 8, 3: 6, 4: 4, MXINT8: 8, 6: 4, BF16: 16, 9: 32}


@st.composite
def transfers(draw: st.DrawFn) -> dict[str, Any]:
    """A transfer and the (offset, bytes) of its pieces."""
    op = draw(st.sampled_from(["H_LD_V", "H_ST_V", "H_GATHER_V", "H_SCATTER_V"]))
    form = draw(st.sampled_from(sorted(BITS)))
    scaled = form < BF16
    block = draw(st.sampled_from([8, 16, 32]))
    elements = draw(st.integers(1, 3 * ROW))
    rows = draw(st.integers(0, 4))
    row_bytes = -(-elements * BITS[form] // 8)
    ratio = BITS[form] * block // 8 if scaled else 1
    pitch = draw(st.integers(1, 3 * row_bytes))
    if scaled:
        pitch = -(-pitch // ratio) * ratio
        if "ST" in op or "SCATTER" in op:  # rows that share a block would share half a scale
            pitch = max(pitch, -(-row_bytes // ratio) * ratio)
    numbers = draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))
    gathers = op in ("H_GATHER_V", "H_SCATTER_V")
    offset = 0 if gathers else draw(st.integers(0, 300)) * ratio
    base = draw(st.integers(4096 - 200, 4096 + 200))
    scale = draw(st.integers(20_000, 30_000))
    step = -(-elements // ROW) + draw(st.integers(0, 2))
    places = [n * pitch for n in (numbers if gathers else range(rows))]
    pieces = [(base + offset + at, row_bytes) for at in places]
    if scaled:
        count = -(-elements // block)
        first = base + scale + offset // ratio
        pieces = [*pieces, *[(first + at // ratio, count) for at in places]]
    return {
        "op": op,
        "csrs": {
            "dma_format": form,
            "dma_block": block,
            "dma_len": elements,
            "dma_pitch": pitch,
            "dma_sram_pitch": step * ROW,
            "scale": scale,
        },
        "numbers": numbers if gathers else [],
        "base": base,
        "offset": offset,
        "rows": rows,
        "sram": draw(st.integers(0, 8)) * ROW,
        "pieces": pieces,
        "beats": draw(st.sampled_from([1, 2, 128])),
    }


@settings(max_examples=120, deadline=None, derandomize=True)
@given(transfers())
def test_random_transfers_ask_for_what_they_should_and_do_as_the_golden_machine(
    t: dict[str, Any],
) -> None:
    firmware = vp.assemble(
        text(
            t["op"],
            t["csrs"],
            t["numbers"],
            sram=t["sram"],
            rows=t["rows"],
            offset=t["offset"],
            base=t["base"],
        )
    )
    options = SMALL | {"dma_burst_beats": t["beats"]}
    plain = vp.Platform("plain")
    plain.core("core0", **options)
    plain.hbm("hbm", backend="ideal", size="2MiB", bandwidth="32GB/s", latency="10ns")
    golden = GoldenMachine(plain.description(), firmware)
    golden.write_global(BASE, CONTENTS)
    golden.write_bytes("core0.vector", 0, VECTOR.view(np.uint8))
    golden.run(10_000)

    p = vp.Platform("recorded")
    p.core("core0", **options)
    p.hbm("hbm", backend="ideal", size="1MiB", bandwidth="32GB/s", latency="10ns")
    target = p.add(Recorder("recorder"))
    machine = Machine(p.description(), firmware, targets={"recorder": target})
    machine.write_bytes("core0.vector", 0, VECTOR.view(np.uint8))
    machine.run(progress=False)

    kind = "r" if t["op"] in ("H_LD_V", "H_GATHER_V") else "w"
    half = t["rows"]  # then the scales
    burst = 32 * t["beats"]
    wanted = bursts(kind, t["pieces"][:half], burst) + bursts(kind, t["pieces"][half:], burst)
    assert target.seen == wanted
    memory = np.zeros(SIZE, np.uint8)
    golden.read_global(BASE, memory)
    np.testing.assert_array_equal(np.frombuffer(bytes(target.memory), np.uint8), memory)
    np.testing.assert_array_equal(
        machine.read_bytes("core0.vector", 0, VECTOR.nbytes),
        golden.read_bytes("core0.vector", 0, VECTOR.nbytes),
    )
