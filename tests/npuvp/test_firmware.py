"""Firmware files: what binutils and pyelftools read, what comes back, and malformed files."""

import contextlib
import hashlib
import json
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from npuvp import Firmware, FirmwareError, assemble
from npuvp.dwarf import DwarfError, LineRow, Unit, read_line_tables, write_sections
from npuvp.firmware import ALL_CORES, DataSegment, Image, Tensor, Text
from npuvp.isa import assemble_text

SOURCE = """
.tensor logits, hbm, 0x40, mxfp8_e4m3, 2, 40, in
.tensor out, core1.int, 3, raw32, 2, out
.macro twice r
  S_ADDI_INT \\r, \\r, 1
  S_ADDI_INT \\r, \\r, 2
.endm
start:
  twice gp1
  C_BNE gp1, gp2, start
.core 1
  NOP
go: C_HALT gp0
.entry go
.core all
  C_TRAP gp1
.data hbm
.org 0x1000
table: .byte 1, 2, 3
.data core0.fp
  .float 0.5, -1
"""


@pytest.fixture
def firmware():
    return assemble_text(SOURCE, "dir/f.s")


@pytest.fixture
def elf(firmware, tmp_path):
    return firmware.save(tmp_path / "f.elf")


def test_everything_comes_back(firmware, elf):
    loaded = Firmware.load(elf)
    for name in ("cores", "segments", "tensors", "symbols", "sources", "images"):
        assert getattr(loaded, name) == getattr(firmware, name), name
    assert [str(f) for f in loaded.location(0, 1).frames()] == ["dir/f.s:6", "dir/f.s:9"]
    assert loaded.location(0, 1).via == "in macro twice"
    assert loaded.source_line(loaded.location(1, 1)) == "go: C_HALT gp0"
    assert loaded.cores[1].entry == 1
    assert loaded.label(0, 2) == ("start", 2)
    assert loaded.label(1, 1) == ("go", 0)
    assert loaded.label(1, 0) is None


def test_saving_twice_gives_the_same_bytes(firmware, elf, tmp_path):
    assert Firmware.load(elf).save(tmp_path / "g.elf").read_bytes() == elf.read_bytes()


def test_binutils_accept_it(elf):
    for command in (
        ["readelf", "-a", "-W", elf],
        ["readelf", "--debug-dump=info,abbrev,decodedline", "-W", elf],
        ["objdump", "-s", elf],
        ["objdump", "-h", elf],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0
        assert result.stderr == ""
        assert "arning" not in result.stdout
    lines = subprocess.run(
        ["readelf", "--debug-dump=decodedline", "-W", elf], capture_output=True, text=True
    ).stdout
    rows = re.findall(r"f\.s +(\d+) +(0x[0-9a-f]+)", lines)
    base = 1 << 40
    assert ("5", hex(base + 5 * (1 << 29))) in rows
    assert ("10", hex(base + 5 * (1 << 29) + 8)) in rows


def test_pyelftools_reads_it(elf):
    with elf.open("rb") as file:
        parsed = ELFFile(file)
        names = [section.name for section in parsed.iter_sections()]
        assert names[1:6] == [
            ".text.all", ".text.core0", ".text.core1", ".data.hbm", ".data.core0.fp",
        ]  # fmt: skip
        addresses = [s["p_paddr"] for s in parsed.iter_segments() if s["p_type"] == "PT_LOAD"]
        assert addresses[3:] == [0x1000, (1 << 40) + 3 * (1 << 29)]
        (note_segment,) = (s for s in parsed.iter_segments() if s["p_type"] == "PT_NOTE")
        notes = {note["n_type"]: note for note in note_segment.iter_notes()}
        assert {note["n_name"] for note in notes.values()} == {"npuvp"}
        tensors = json.loads(notes[0x101]["n_descdata"])
        assert [t["name"] for t in tensors] == ["logits", "out"]
        symbols = {
            s.name: s["st_value"] for s in parsed.get_section_by_name(".symtab").iter_symbols()
        }
        assert symbols["table"] == 0x1000
        assert symbols["start"] == (1 << 40) + 5 * (1 << 29)
        dwarf = parsed.get_dwarf_info()
        units = list(dwarf.iter_CUs())
        assert len(units) == 3
        program = dwarf.line_program_for_CU(units[1])
        states = [e.state for e in program.get_entries() if e.state]
        assert [(s.address - states[0].address, s.line) for s in states] == [
            (0, 5), (4, 6), (8, 10), (12, 10),
        ]  # fmt: skip
        assert states[-1].end_sequence


# ---------------------------------------------------------------------------------- malformed


def patched(data, offset, new):
    return data[:offset] + new + data[offset + len(new) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: b"", "0 bytes are too few for an ELF file"),
        (lambda d: b"MZ" + d[2:], "not an ELF file"),
        (lambda d: patched(d, 4, b"\x01"), "not a 64-bit little-endian ELF file"),
        (lambda d: patched(d, 5, b"\x02"), "not a 64-bit little-endian ELF file"),
        (lambda d: patched(d, 18, b"\x3e\x00"), "ELF file of machine 0x3e, not npuvp's 0x4e50"),
        (lambda d: patched(d, 16, b"\x01\x00"), "ELF file of type 1, not an executable (2)"),
        (lambda d: patched(d, 54, b"\x20\x00"), "table entries of 32 and 64 bytes (56 and 64)"),
        (lambda d: patched(d, 32, b"\xff" * 8), "program header at 0xffffffffffffffff, 56 bytes"),
        (lambda d: patched(d, 40, struct.pack("<Q", len(d))), "section header at"),
        (lambda d: patched(d, 62, b"\xff\xff"), "section names in section 65535 of"),
        (lambda d: d[:-40], "section header at"),
        (lambda d: patched(d, 64 + 32, b"\xff" * 8), "segment at"),
        (lambda d: d.replace(b'"version":1', b'"version":2'), "firmware version 2 (this"),
        (lambda d: d.replace(b'"direction":"in"', b'"direction":"on"'), "direction 'on' ("),
        (lambda d: d.replace(b'"hbm",4096', b'"hbn",4096'), "space 'hbn' (allowed: hbm,"),
        (lambda d: d.replace(b'"hbm",4096', b'"hbm",-409'), "-409 is no whole number"),
        (lambda d: d.replace(b'"entries":{"-1":0', b'"entries":{"-2":0'), "the layout note is mal"),
        (lambda d: d.replace(b'"0":0,"1":1', b'"0":0,"1":9'), "core 1: entry 9 in a text of"),
        (lambda d: d.replace(b'"shape":[2,40]', b'"shape":[0,40]'), "0 is no whole number in 1.."),
        (lambda d: d.replace(b"npuvp\0\0\0", b"npuvq\0\0\0"), "no note of npuvp"),
        (lambda d: d.replace(b'{"dir/f.s":', b'["dir/f.s":'), "section .npuvp.source is no JSON"),
        (lambda d: d.replace(b'"out",3,', b'"ou",[],'), "section .npuvp.symbols is malformed"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused_with_the_place(elf, change, message):
    data = change(elf.read_bytes())
    with pytest.raises(FirmwareError) as caught:
        Firmware.load("bad.elf", data)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


def test_random_damage_never_crashes(elf):
    good = elf.read_bytes()
    generator = random.Random(1)
    refused = 0
    for _ in range(6000):
        data = bytearray(good)
        for _ in range(generator.choice((1, 3, 20))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        if generator.random() < 0.2:
            del data[generator.randrange(len(data)) :]
        try:
            Firmware.load("f.elf", bytes(data))
        except FirmwareError:
            refused += 1
    assert refused > 2000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_line_table_is_read_or_refused(data):
    with contextlib.suppress(DwarfError):
        read_line_tables(data)


def test_line_table_with_special_opcodes_and_jumps_of_any_size():
    rows = [LineRow(0x1000, 0, 7), LineRow(0x1004, 1, 100000), LineRow(0x9004, 0, 1)]
    unit = Unit("u", 0x1000, 0x9008, ("a.s", "b.s"), tuple(rows))
    (read,) = read_line_tables(write_sections([unit])[".debug_line"])
    assert (read.low, read.high, read.files, list(read.rows)) == (
        0x1000,
        0x9008,
        ("a.s", "b.s"),
        rows,
    )
    body = write_sections([unit])[".debug_line"]
    # Special opcode: 13 + (line 2 - base -3) + 12 * 1 step = line + 2, address + 4.
    at = body.rindex(b"\x00\x01\x01")
    at = body.rindex(b"\x02", 0, at)
    changed = body[:at] + bytes([13 + 5 + 12]) + body[at:]
    changed = struct.pack("<I", len(changed) - 4) + changed[4:]
    (read,) = read_line_tables(changed)
    assert read.rows[-1] == LineRow(0x9008, 0, 3)


# ---------------------------------------------------------------------------------- model


def test_images_are_found_by_hash(tmp_path):
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"weights")
    source = tmp_path / "p.s"
    source.write_text('NOP\n.image "w.bin", 0x2000\n')
    firmware = Firmware.load(assemble(source).save(tmp_path / "p.elf"))
    (image,) = firmware.images
    digest = hashlib.sha256(b"weights").hexdigest()
    assert image == Image("w.bin", 0x2000, 7, digest)
    assert image.find([tmp_path / "nowhere", tmp_path]) == weights
    with pytest.raises(FirmwareError, match=f"{digest}.* is in none of: elsewhere"):
        image.find([Path("elsewhere")])
    weights.write_bytes(b"other")
    with pytest.raises(FirmwareError, match=f"the firmware needs {digest}"):
        image.find([tmp_path])


def test_an_image_cannot_name_a_path(tmp_path):
    firmware = Firmware.from_words([0])
    firmware.images.append(Image("../secret", 0, 1, "0" * 64))
    path = firmware.save(tmp_path / "x.elf")
    with pytest.raises(FirmwareError, match="is no plain file name"):
        Firmware.load(path)


def test_parts_that_contradict_each_other():
    def check(message, **parts):
        with pytest.raises(FirmwareError, match=re.escape(message)):
            Firmware(**parts).check()

    segment = DataSegment("hbm", 0, "raw8", b"1234")
    check(
        "hbm: data up to 0x4 overlaps image w from 0x3 on",
        segments=[segment],
        images=[Image("w", 3, 1, "0" * 64)],
    )
    Firmware(segments=[segment], images=[Image("w", 4, 1, "0" * 64)]).check()
    check("3 bytes are not whole fp32", segments=[DataSegment("core0.fp", 0, "fp32", b"123")])
    check("HBM holds raw8", segments=[DataSegment("hbm", 0, "fp32", b"1234")])
    check("space 'core0.vram'", segments=[DataSegment("core0.vram", 0, "fp32", b"1234")])
    check("core 0: entry 1 in a text of 1 words", cores={0: Text([0], [None], 1)})
    check("a word is not a 32-bit number", cores={0: Text([1 << 32], [None])})


@pytest.mark.parametrize(
    ("element_format", "space", "shape", "pitch", "size", "scales"),
    [
        ("mxfp8_e4m3", "hbm", (3, 100), 0, 300, 12),
        ("mxfp4_e2m1", "hbm", (3, 33), 0, 51, 6),
        ("mxfp6_e3m2", "hbm", (2, 10), 0, 16, 2),
        ("bf16", "hbm", (2, 10), 32, 52, 0),
        ("fp32", "core0.vector", (2, 10), 16, 26, 0),
        ("raw32", "core0.int", (4,), 0, 4, 0),
    ],
)
def test_tensor_sizes(element_format, space, shape, pitch, size, scales):
    tensor = Tensor("t", space, 0, element_format, shape, "in", pitch)
    assert (tensor.size, tensor.scale_size) == (size, scales)


def test_raw_words(tmp_path):
    text = tmp_path / "p.mem"
    text.write_text("0x00008401 22\n\nFFFFFFFF\n")
    firmware = Firmware.load_words(text)
    assert firmware.cores[ALL_CORES].words == [0x8401, 0x22, 0xFFFFFFFF]
    assert firmware.location(0, 0) is None
    binary = tmp_path / "p.bin"
    binary.write_bytes(struct.pack("<II", 1, 2))
    assert Firmware.load_words(binary).text(5).words == [1, 2]
    saved = firmware.save(tmp_path / "p.elf")
    assert Firmware.load(saved).cores == firmware.cores
    for bad, message in (
        ("12 0x123456789", "p.mem:1: '0x123456789' is no hexadecimal 32-bit word"),
        ("12\nzz", "p.mem:2: 'zz' is no hexadecimal 32-bit word"),
        ("", "no words"),
    ):
        text.write_text(bad)
        with pytest.raises(FirmwareError, match=message):
            Firmware.load_words(text)
    binary.write_bytes(b"12345")
    with pytest.raises(FirmwareError, match="5 bytes are not whole 32-bit words"):
        Firmware.load_words(binary)
