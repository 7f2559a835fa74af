"""Descriptors that cannot be carried out: 2-D, gathered, scattered, copied and multicast ones. Each
names what, where and what was allowed, and the golden machine refuses it with the same words."""

import pytest
from core_machine import platform, run

import npuvp as vp
from npuvp.golden import GoldenMachine

END = 1 << 20  # of the memory
CSRS, INT = 1 << 40, (1 << 40) + (4 << 29)  # windows of core 0
NOWHERE = "in no region (hbm 0x0..0xfffff, core0.csr 0x10000000000.."
BEYOND = "DMA beyond every memory and peripheral"
REFUSED = "DMA refused by its target"
BF16, MXFP8 = 8, 0


def program(
    transfer: str,
    csrs: dict[str, int] | None = None,
    numbers: tuple[int, ...] = (),
    **registers: int,
) -> str:
    """A transfer behind its CSRs, its numbers from INT SRAM 0 on, and its registers."""
    lines = [f"LI gp9, {n}\nLI gp10, {i}\nS_ST_INT gp9, gp10, 0" for i, n in enumerate(numbers)]
    lines += [f"LI gp9, {value}\nC_CSRW {name}, gp9" for name, value in (csrs or {}).items()]
    for name, value in registers.items():
        wide = f"LIA {name}, {value}, gp9, gp10" if name[0] == "a" else f"LI {name}, {value}"
        lines.append(wide)
    return "\n".join([*lines, transfer, "C_FENCE 0xff", "C_HALT gp0"])


LD, ST = "H_LD_V gp1, gp2, a1, gp3, 3", "H_ST_V gp1, gp2, a1, gp3, 3"
GATHER, SCATTER = "H_GATHER_V gp1, gp2, a1, gp3, 3", "H_SCATTER_V gp1, gp2, a1, gp3, 3"
COPY, MCAST = "H_COPY a2, gp2, a1, gp3, 3", "H_MCAST gp1, gp2, gp4, gp3, 3"
FLAT = {"dma_format": BF16}
BLOCKS = {"dma_format": MXFP8, "dma_block": 8}

FAULTS = [
    # Ranges over the end of the memory: the first byte that is not there, and whose it would be.
    (program(LD, FLAT, a1=END - 64, gp3=4), BEYOND, f"reading row 2 of 4: address 0x100000  ->  {NOWHERE}"),
    (program(ST, FLAT, a1=END - 40, gp3=4), BEYOND, f"writing row 1 of 4: address 0x100000  ->  {NOWHERE}"),
    (
        program(LD, FLAT | {"dma_pitch": 0x80000}, a1=0, gp3=4),
        BEYOND,
        "reading row 2 of 4: address 0x100000  ->",
    ),
    (program(LD, BLOCKS | {"scale": END - 1}, a1=0, gp3=2), BEYOND, "reading the scales of row 0 of 2: "),
    (program(ST, BLOCKS | {"scale": END - 2}, a1=0, gp3=2), BEYOND, "writing the scales of row 1 of 2: "),
    (
        program(GATHER, FLAT, (3, 40_000, 5), a1=0, gp3=3),
        BEYOND,
        "reading row 1 of 3 (number 40000): address 0x138800  ->",
    ),
    (
        program(SCATTER, FLAT, (3, 5, -1), a1=0, gp3=3),
        BEYOND,
        "writing row 2 of 3 (number 4294967295): address 0x1fffffffe0  ->",
    ),
    (
        program(COPY, {"dma_len": 64}, a1=END - 32, a2=0),
        BEYOND,
        "a2 = 0x0, a1 = 0xfffe0  ->  reading row 0 of 1: address 0x100000  ->",
    ),
    (
        program(COPY, {"dma_len": 8, "dma_rows": 3, "dma_pitch": 0x40000}, a1=0, a2=END // 2),
        BEYOND,
        "writing row 2 of 3: address 0x100000  ->",
    ),
    # Where something is, and takes no such transfer.
    (
        program("H_ST_INT gp1, gp2, a1, gp3, 3", a1=CSRS, gp3=1),
        REFUSED,
        "a1 = 0x10000000000  ->  writing row 0 of 1: address 0x10000000000  ->  core0.csr + 0x0",
    ),
    (
        program(COPY, {"dma_len": 8}, a1=0, a2=INT + 1020),
        BEYOND,
        f"writing row 0 of 1: address 0x10080000400  ->  {NOWHERE}",
    ),
    # Ranges over the end of an SRAM, whatever the counts.
    (program(LD, FLAT, a1=0, gp1=16 * 62, gp3=3), "access outside Vector SRAM", "rows 62..64, the SRAM has rows 0..63"),
    (program(LD, FLAT, a1=0, gp3=0x7FFFFFFF), "access outside Vector SRAM", "rows 0..2147483646, the SRAM"),
    (
        program(LD, FLAT | {"dma_len": 0x7FFFFFFF}, a1=0, gp3=1),
        "access outside Vector SRAM",
        "rows 0..134217727, the SRAM",
    ),
    (
        program(ST, FLAT | {"dma_sram_pitch": 512}, a1=0, gp3=3),
        "access outside Vector SRAM",
        "rows 0..64, the SRAM has rows 0..63",
    ),
    (program(GATHER, FLAT, (0, 1), a1=0, gp1=16 * 63, gp3=2), "access outside Vector SRAM", "rows 63..64"),
    (program(SCATTER, FLAT, a1=0, gp2=255, gp3=2), "access outside INT SRAM", "words 255..256"),
    (
        program("H_LD_M gp1, gp2, a1, gp3, 3", FLAT, a1=0, gp1=256, gp3=17),
        "access outside Matrix SRAM",
        "rows 16..32, the SRAM has rows 0..31",
    ),
    (
        program(
            "H_LD_INT gp1, gp2, a1, gp3, 3",
            {"dma_len": 0x7FFFFFFF, "dma_sram_pitch": 0x7FFFFFFF},
            a1=0,
            gp3=0x7FFFFFFF,
        ),
        "access outside INT SRAM",
        "words 0..4611686014132420608, the SRAM has words 0..255",
    ),
    (program(MCAST, gp1=16 * 63, gp3=2, gp4=1), "access outside Vector SRAM", "rows 63..64, the SRAM has rows 0..63"),
    (program(MCAST, gp2=16 * 63, gp3=2, gp4=2), "access outside Vector SRAM", "rows 63..64, the SRAM of core 1 has rows 0..63"),
    # Strides and places that do not fit.
    (
        program(ST, FLAT | {"dma_sram_pitch": 17}, a1=0, gp3=2),
        "DMA rows overlap in Vector SRAM, or do not begin at a row",
        "dma_sram_pitch = 17, a row takes 16 elements",
    ),
    (
        program(SCATTER, BLOCKS | {"dma_pitch": 20}, (0,), a1=0, gp3=1),
        "a row does not begin at an MX block",
        "offset 0, pitch 20, a block has 8 element bytes",
    ),
    (
        program(LD, FLAT, a1=0, gp1=5, gp3=2),
        "Vector SRAM address is not the start of a row",
        "element address 5, rows are multiples of 16",
    ),
    (program(MCAST, gp2=8, gp3=1, gp4=1), "Vector SRAM address is not the start of a row", "element address 8"),
    (
        program("H_LD_M gp1, gp2, a1, gp3, 3", FLAT, a1=0, gp1=16, gp3=4),
        "Matrix SRAM address is not the start of a block of rows",
        "element address 16, allowed: multiples of 64",
    ),
    (program(COPY, a1=0, a2=64), "copy of rows without a length", "dma_len = 0, allowed: 1 and more"),
    (
        program(COPY, {"dma_len": 8, "dma_rows": 2, "dma_pitch": 7}, a1=0, a2=64),
        "copied rows overlap",
        "dma_pitch = 7, a row has 8 bytes",
    ),
    (
        program(COPY, {"dma_len": 1, "dma_rows": 2**20 + 1, "dma_pitch": 2}, a1=0, a2=64),
        "copy of too many rows",
        "dma_rows = 1048577, allowed: 1048576",
    ),
    (
        program(COPY, {"dma_len": 2**30 + 4}, a1=0, a2=64),
        "copy of too many bytes",
        "1 rows of 1073741828 bytes, allowed: 1073741824 in all",
    ),
    (
        program(MCAST, gp3=1, gp4=5),
        "multicast to a core that does not exist",
        "core 2, the platform has cores 0..1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "detail"), FAULTS)
def test_what_a_descriptor_cannot_ask_for(text: str, message: str, detail: str) -> None:
    transfer = text.splitlines()[-3]
    for mode in ("functional", "timing"):
        with pytest.raises(vp.Trap) as caught:
            run(text, on=platform(cores=2), mode=mode)
        assert caught.value.message == message
        lines = str(caught.value).splitlines()
        assert lines[1].split()[2:] == [*transfer.split(), f"<text>:{text.count(chr(10))}"]
        assert detail in lines[2]
    golden = GoldenMachine(platform(cores=2).description(), vp.assemble(text))
    with pytest.raises(vp.Trap) as refused:
        golden.run(10_000)
    assert (refused.value.message, refused.value.pc) == (message, caught.value.pc)
    # Of memory the golden machine names the same byte, not the row.
    assert detail.partition(": ")[2] in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        program("H_LD_M gp1, gp2, a1, gp3, 3", FLAT, a1=0, gp1=1024),
        program(LD, FLAT, a1=0, gp1=5),
        program(GATHER, FLAT, a1=0, gp2=999),
        program(MCAST, gp1=16 * 63, gp2=16 * 63, gp3=0, gp4=1),
        program(MCAST, gp3=1, gp4=0),
    ],
)
def test_no_rows_and_no_receivers_are_nothing_to_refuse(text: str) -> None:
    r = run(text, on=platform())
    assert r.result.stats["cores"]["core0"]["dma"]["bytes_read"] == 0


def test_a_copy_of_as_many_rows_as_there_may_be() -> None:
    rows = 2**10
    csrs = {"dma_len": 1, "dma_rows": rows, "dma_pitch": 2}
    r = run(program(COPY, csrs, a1=0, a2=END // 2), on=platform())
    assert r.result.stats["cores"]["core0"]["dma"]["bytes_read"] == rows
