"""Firmware files whose parts are moved, cut, swapped and rewritten: one clear error, or a firmware.

hypothesis changes a valid file by its structure: named fields of the file header, of a program or
section header, and the contents of a section or segment.
"""

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npuvp import Firmware, FirmwareError, InputError
from npuvp.golden import GoldenMachine
from npuvp.isa import assemble_text, disassemble

SOURCE = """
.tensor logits, hbm, 0x4000, mxfp8_e4m3, 2, 40, in
.tensor out, core0.int, 3, raw32, 2, out
.macro twice r
  S_ADDI_INT \\r, \\r, 1
.endm
start:
  twice gp1
  C_BNE gp1, gp2, start
.core 1
go: C_HALT gp0
.entry go
.data hbm
.org 0x1000
table: .byte 1, 2, 3
.data core0.fp
  .float 0.5, -1
"""
TIMES = int(os.environ.get("NPUVP_FUZZ", "1"))
#: Fields by name: (offset in the record, struct code).
FILE_HEADER = {
    "magic": (0, "I"), "class": (4, "B"), "data": (5, "B"), "type": (16, "H"), "machine": (18, "H"),
    "entry": (24, "Q"), "phoff": (32, "Q"), "shoff": (40, "Q"), "ehsize": (52, "H"),
    "phentsize": (54, "H"), "phnum": (56, "H"), "shentsize": (58, "H"), "shnum": (60, "H"),
    "shstrndx": (62, "H"),
}  # fmt: skip
PROGRAM_HEADER = {
    "type": (0, "I"), "flags": (4, "I"), "offset": (8, "Q"), "vaddr": (16, "Q"), "paddr": (24, "Q"),
    "filesz": (32, "Q"), "memsz": (40, "Q"), "align": (48, "Q"),
}  # fmt: skip
SECTION_HEADER = {
    "name": (0, "I"), "type": (4, "I"), "flags": (8, "Q"), "addr": (16, "Q"), "offset": (24, "Q"),
    "size": (32, "Q"), "link": (40, "I"), "info": (44, "I"), "align": (48, "Q"), "entsize": (56, "Q"),
}  # fmt: skip


class Parts:
    """Where the tables and contents of a file stand."""

    def __init__(self, data):
        self.data = data
        phoff, shoff = struct.unpack_from("<QQ", data, 32)
        phnum, _, shnum = struct.unpack_from("<HHH", data, 56)
        self.programs = [phoff + 56 * i for i in range(phnum)]
        self.sections = [shoff + 64 * i for i in range(shnum)]
        self.pieces = [struct.unpack_from("<QQ", data, at + 24) for at in self.sections]
        self.pieces += [
            (struct.unpack_from("<Q", data, at + 8)[0], struct.unpack_from("<Q", data, at + 32)[0])
            for at in self.programs
        ]
        self.pieces = [(at, size) for at, size in self.pieces if size and at + size <= len(data)]


GOOD = None


@pytest.fixture(scope="module", autouse=True)
def good(tmp_path_factory):
    global GOOD
    path = tmp_path_factory.mktemp("elf") / "f.elf"
    GOOD = Parts(assemble_text(SOURCE, "f.s").save(path).read_bytes())
    assert len(GOOD.programs) >= 4
    assert len(GOOD.sections) >= 8
    return GOOD


@pytest.fixture(scope="module")
def description():
    from npuvp import Platform

    platform = Platform("small")
    platform.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="64GB/s")
    for index in range(2):
        platform.core(
            f"core{index}", vlen=32, vector_sram_bytes=2048, fp_sram_words=64, int_sram_words=64
        )
    return platform.description()


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 7, 8, 255, 65535, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]),
    st.integers(0, 8192),
    st.integers(0, (1 << 64) - 1),
)
FIELD = st.tuples(
    st.just("field"), st.sampled_from(["file", "program", "section"]), st.integers(0, 63),
    st.integers(0, 63), NUMBERS,
)  # fmt: skip
SPLICE = st.tuples(
    st.just("splice"), st.integers(0, 63), st.integers(0, 4096),
    st.one_of(st.binary(max_size=16), st.sampled_from([b"\xff" * 8, b"\x00" * 8, b"\x80" * 12, b"{", b"]", b'"'])),
)  # fmt: skip
SWAP = st.tuples(
    st.just("swap"), st.sampled_from(["program", "section"]), st.integers(0, 63), st.integers(0, 63)
)
CUT = st.tuples(st.just("cut"), st.integers(0, 1 << 20))
APPEND = st.tuples(st.just("append"), st.binary(max_size=64))
CHANGES = st.lists(
    st.one_of(FIELD, FIELD, SPLICE, SPLICE, SWAP, CUT, APPEND), min_size=1, max_size=4
)


def changed(parts, changes):
    """The file after some changes."""
    data = bytearray(parts.data)
    for kind, *rest in changes:
        if kind == "field":
            which, record, field, number = rest
            fields = {"file": FILE_HEADER, "program": PROGRAM_HEADER, "section": SECTION_HEADER}[
                which
            ]
            base = {"file": [0], "program": parts.programs, "section": parts.sections}[which]
            offset, code = list(fields.values())[field % len(fields)]
            at = base[record % len(base)] + offset
            if at + 8 <= len(data):
                struct.pack_into(f"<{code}", data, at, number % (1 << 8 * struct.calcsize(code)))
        elif kind == "splice":  # contents keep their length: what follows keeps its place
            piece, at, new = rest
            begin, size = parts.pieces[piece % len(parts.pieces)]
            at = begin + at % size
            end = min(at + len(new), begin + size, len(data))
            data[at:end] = new[: max(0, end - at)]
        elif kind == "swap":
            which, one, other = rest
            table, size = (parts.programs, 56) if which == "program" else (parts.sections, 64)
            one, other = table[one % len(table)], table[other % len(table)]
            if max(one, other) + size <= len(data):
                first, second = data[one : one + size], data[other : other + size]
                data[one : one + size], data[other : other + size] = second, first
        elif kind == "cut":
            del data[rest[0] % (len(data) + 1) :]
        else:
            data += rest[0]
    return bytes(data)


@settings(
    max_examples=400 * TIMES,
    deadline=2000,
    derandomize=TIMES == 1,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
def test_changed_files_load_or_are_refused_in_one_line(description, changes):
    data = changed(GOOD, changes)
    try:
        firmware = Firmware.load("f.elf", data)
    except FirmwareError as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) > len("f.elf: ")
        return
    # What loads can be used, by everything that reads a firmware.
    for core, text in firmware.cores.items():
        for pc in range(min(len(text.words), 20)):
            firmware.location(core, pc)
            firmware.label(core, pc)
    disassemble(firmware)
    try:
        GoldenMachine(description, firmware)
    except (InputError, FirmwareError):
        return
    firmware.check()


@pytest.mark.parametrize("which", ["program", "section"])
def test_every_field_at_its_limits(which):
    """Both outcomes are seen, and a header that says too much is named."""
    outcomes = {True: 0, False: 0}
    table = GOOD.programs if which == "program" else GOOD.sections
    fields = PROGRAM_HEADER if which == "program" else SECTION_HEADER
    for record in range(len(table)):
        for field in range(len(fields)):
            for number in (0, 1, len(GOOD.data), (1 << 64) - 1):
                data = changed(GOOD, [("field", which, record, field, number)])
                try:
                    Firmware.load("f.elf", data)
                    outcomes[True] += 1
                except FirmwareError as error:
                    assert str(error).startswith("f.elf")
                    assert "\n" not in str(error)
                    outcomes[False] += 1
    assert min(outcomes.values()) > 20
