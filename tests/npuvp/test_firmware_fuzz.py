"""Damaged firmware files: an ELF loader that only ever says FirmwareError, soon."""

import json
import os
import random
import struct
import time

import pytest

from npuvp import Firmware, FirmwareError, InputError
from npuvp.elf import PHDR
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
TIMES = int(os.environ.get("NPUVP_FUZZ", "1"))
NUMBERS = (0, 1, 4, 7, 8, 255, 65535, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("elf") / "f.elf"
    return assemble_text(SOURCE, "f.s").save(path).read_bytes()


@pytest.fixture(scope="module")
def description():
    from npuvp import Platform

    platform = Platform("small")
    platform.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="64GB/s")
    platform.core("core0", vlen=32, vector_sram_bytes=2048, fp_sram_words=64, int_sram_words=64)
    platform.core("core1", vlen=32, vector_sram_bytes=2048, fp_sram_words=64, int_sram_words=64)
    return platform.description()


def use(data, description):
    """Whether the file loads; then everything that reads a firmware must cope with it."""
    begin = time.perf_counter()
    try:
        firmware = Firmware.load("f.elf", data)
    except FirmwareError as error:
        assert "\n" not in str(error)
        return False
    finally:
        assert time.perf_counter() - begin < 2.0
    firmware.summary()
    for core, text in firmware.cores.items():
        for pc in range(-1, min(len(text.words), 20) + 1):
            firmware.location(core, pc)
            firmware.label(core, pc)
    disassemble(firmware)
    try:
        GoldenMachine(description, firmware)
    except (InputError, FirmwareError):
        return False
    return True


def blobs(data):
    """Begin and end of every JSON document in the file."""
    decoder = json.JSONDecoder()
    text = data.decode("latin-1")
    at = 0
    while at < len(text):
        if text[at] in "{[":
            try:
                _, end = decoder.raw_decode(text, at)
            except ValueError:
                at += 1
                continue
            if end - at > 3:
                yield at, end
            at = end
        else:
            at += 1


def mutate(value, generator):
    """Another JSON value of nearly the same shape."""
    if isinstance(value, dict) and value and generator.random() < 0.85:
        key = generator.choice(list(value))
        changed = dict(value)
        kind = generator.random()
        if kind < 0.1:
            del changed[key]
        elif kind < 0.2:
            changed[generator.choice(["", "-1", "0", "99999", key + "x"])] = changed.pop(key)
        else:
            changed[key] = mutate(value[key], generator)
        return changed
    if isinstance(value, list) and value and generator.random() < 0.85:
        changed = list(value)
        index = generator.randrange(len(changed))
        kind = generator.random()
        if kind < 0.1:
            del changed[index]
        elif kind < 0.2:
            changed.insert(index, changed[index])
        else:
            changed[index] = mutate(value[index], generator)
        return changed
    return generator.choice(
        [0, 1, -1, 3, 1 << 40, 1 << 63, -(1 << 63), 1 << 70, 0.5, 1e300, float("nan"), True, None,
         "", "x", "hbm", "core0.vector", "core9.int", "mxint4", "inout", [], [0], {}, {"a": 0},
         ["f.s", 1, ""], [[]], "../x", "\u0663"]
    )  # fmt: skip


def test_damaged_documents(good, description):
    generator = random.Random(5)
    places = list(blobs(good))
    assert len(places) >= 5
    outcomes = {True: 0, False: 0}
    for _ in range(1500 * TIMES):
        data = bytearray(good)
        for _ in range(generator.choice((1, 1, 2))):
            begin, end = generator.choice(places)
            value = mutate(json.loads(good[begin:end]), generator)
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
            if len(text) <= end - begin:
                data[begin:end] = text.ljust(end - begin)
        outcomes[use(bytes(data), description)] += 1
    assert min(outcomes.values()) > 50 * TIMES


def test_damaged_headers(good, description):
    generator = random.Random(6)
    outcomes = {True: 0, False: 0}
    for _ in range(1500 * TIMES):
        data = bytearray(good)
        for _ in range(generator.choice((1, 1, 3))):
            width, code = generator.choice([(1, "B"), (2, "H"), (4, "I"), (8, "Q")])
            # Numbers stand in the header and the tables at the file's two ends.
            near = generator.randrange(0, 1000)
            at = near if generator.random() < 0.6 else len(data) - 1 - near
            at = max(0, min(at // width * width, len(data) - width))
            number = generator.choice(
                [*NUMBERS, len(data), len(data) - 1, generator.randrange(4096)]
            )
            struct.pack_into(f"<{code}", data, at, number % (1 << 8 * width))
        outcomes[use(bytes(data), description)] += 1
    assert min(outcomes.values()) > 50 * TIMES


@pytest.mark.parametrize("kind", [1, 4])
def test_many_program_headers_that_share_bytes_are_refused_at_once(good, kind):
    """65,535 segments of a whole file each would be 240 GB."""
    table = PHDR.pack(kind, 0, 0, 0, 0, 3_600_000, 3_600_000, 1) * 65535
    data = bytearray(good)
    struct.pack_into("<Q", data, 32, len(data))
    struct.pack_into("<H", data, 56, 65535)
    begin = time.perf_counter()
    with pytest.raises(FirmwareError, match="program headers"):
        Firmware.load("f.elf", bytes(data) + table)
    assert time.perf_counter() - begin < 2.0


def test_every_length_of_a_cut_file(good, description):
    step = max(1, len(good) // 400)
    for length in range(0, len(good), step):
        assert not use(good[:length], description)
