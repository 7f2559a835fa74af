"""The command line, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npuvp.cli import main

SUM = """
    V_RED_SUM f1, gp0
    S_ST_FP f1, gp0, 0
    LI gp1, 7
    S_ST_INT gp1, gp0, 2
    C_HOST_PUSH gp1
    C_HALT gp0
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "sum.s"
    path.write_text(SUM)
    return path


def npuvp(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_sample_prints_and_writes_what_it_promises(capsys, tmp_path):
    status, out, err = npuvp(
        capsys,
        *("sample", "--platform", "platform/edge.yaml", "--batch", 2, "--positions", 4),
        *("--vocabulary", 1000, "--commit", 3, "--vcd", tmp_path / "a" / "s.vcd"),
        *("--power", tmp_path / "p.csv", "--power-plot", tmp_path / "p.png"),
        *("--wave-view", tmp_path / "s.gtkw", "--stats", tmp_path / "s.json"),
        *("--output", tmp_path / "out.npz"),
    )
    assert (status, err) == (0, "")
    assert "row  0: 3 tokens committed" in out and "row  1: 3 tokens committed" in out
    for name in ("a/s.vcd", "p.csv", "p.png", "s.gtkw", "s.json", "out.npz"):
        assert f"written: {tmp_path / name}" in out
        assert (tmp_path / name).stat().st_size > 100
    stats = json.loads((tmp_path / "s.json").read_text())
    assert stats["time_ns"] == stats["cycles"] > 0
    assert sum(stats["cycles_by_class"].values()) == stats["cycles"]
    assert stats["energy_j"] == pytest.approx(sum(stats["energy_by_component_j"].values()))
    assert np.load(tmp_path / "out.npz")["transfer"].sum() == 6


def test_published_table_stands_beside_the_published_workload_only(capsys):
    arguments = ("sample", "--platform", "platform/paper.yaml", "--batch", 1, "--positions", 2)
    _, out, _ = npuvp(capsys, *arguments)
    assert "published" not in out


def test_sample_of_a_users_logits(capsys, tmp_path):
    logits = np.zeros((2, 3, 100), np.float32)
    logits[..., 42] = 9
    np.save(tmp_path / "l.npy", logits)
    arguments = ["sample", tmp_path / "l.npy", "--platform", "platform/edge.yaml"]
    status, out, _ = npuvp(capsys, *arguments, "--json")
    assert status == 0
    assert json.loads(out)["mode"] == "functional"
    status, out, err = npuvp(capsys, *arguments, "--commit", 4)
    assert (status, out) == (1, "")
    assert "k[0]: 4, but row 0 has 3 masked positions" in err
    logits[0, 0, 0] = np.nan
    np.save(tmp_path / "l.npy", logits)
    vcd = tmp_path / "x.vcd"
    status, _, err = npuvp(capsys, *arguments, "--vcd", vcd)
    assert status == 1 and "logits: NaN at [0, 0, 0], and in 1 of 6 positions" in err
    assert not vcd.exists()


def test_run_loads_and_dumps(capsys, tmp_path, source):
    x = np.arange(64, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    status, out, err = npuvp(
        capsys,
        *("run", source, "--platform", "platform/edge.yaml"),
        *("--load", f"core0.vector={tmp_path / 'x.npy'}"),
        *("--dump", f"core0.fp:0:1={tmp_path / 'y.npy'}"),
        *("--dump", f"core0.int:2:1={tmp_path / 'n.npy'}"),
        *("--dump", f"core0.vector:0:4={tmp_path / 'v.bin'}"),
    )
    assert (status, err) == (0, "")
    assert "host word at" in out and "0x00000007 (7)" in out
    y, n = np.load(tmp_path / "y.npy"), np.load(tmp_path / "n.npy")
    assert (y.dtype, y.tolist()) == (np.float32, [x.sum()])
    assert (n.dtype, n.tolist()) == (np.uint32, [7])
    assert np.fromfile(tmp_path / "v.bin", "<u2").tolist() == [0, 0x3F80, 0x4000, 0x4040]
    # Raw bytes in, the same sum out.
    (tmp_path / "x.bin").write_bytes((x.view(np.uint32) >> 16).astype("<u2").tobytes())
    npuvp(
        capsys,
        *("run", source, "--platform", "platform/edge.yaml"),
        *("--load", f"core0.vector@0={tmp_path / 'x.bin'}"),
        *("--dump", f"core0.fp:0:1={tmp_path / 'y2.npy'}"),
    )
    assert np.load(tmp_path / "y2.npy").tolist() == [x.sum()]


def test_asm_disasm_run_of_elf_and_words(capsys, tmp_path, source):
    elf = tmp_path / "sum.elf"
    status, out, _ = npuvp(capsys, "asm", source, "-o", elf)
    assert (status, out) == (0, f"6 words, 0 tensors: {elf}\n")
    _, text, _ = npuvp(capsys, "disasm", elf)
    assert "V_RED_SUM f1, gp0" in text
    again = tmp_path / "again.s"
    again.write_text(text)
    npuvp(capsys, "asm", again, "-o", tmp_path / "again.elf")
    words = tmp_path / "sum.hex"
    from npuvp import Firmware

    program = Firmware.load(elf).text(0).words
    assert Firmware.load(tmp_path / "again.elf").text(0).words == program
    words.write_text("\n".join(f"0x{word:08x}" for word in program))
    cycles = set()
    for path in (source, elf, words):
        status, out, _ = npuvp(capsys, "run", path, "--platform", "platform/edge.yaml", "--json")
        assert status == 0
        cycles.add(json.loads(out)["cycles"])
    assert len(cycles) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--load", "core0.vector"), "--load 'core0.vector' (allowed: SPACE[@ADDR]=FILE)"),
        (("--load", "core0.video=x.npy"), "no space 'core0.video' (spaces: hbm, core0.vector"),
        (("--load", "core7.fp=x.npy"), "no core 'core7' on this platform (cores: core0)"),
        (("--load", "core0.int=x.npy"), "x.npy holds float32, core0.int takes uint32"),
        (("--load", "core0.fp@1023=x.npy"), "core0.fp 1023..1086 lies outside the space"),
        (("--dump", "core0.fp:0=x"), "--dump 'core0.fp:0=x' (allowed: SPACE:ADDR:COUNT=FILE)"),
        (("--dump", "core0.fp:1020:5=x"), "core0.fp 1020..1024 is no range of the space"),
        (("--set", "core.vlen=100"), "core.vlen"),
        (("--set", "core.vlan=64"), "core.vlan"),
        (("--power-plot", "x.png"), "--power-plot draws the power trace: give it a place"),
        (("--vcd", "x.vcd", "--signals", "core9.*"), "core9.*"),
    ],
)  # fmt: skip
def test_bad_options(capsys, tmp_path, monkeypatch, source, arguments, message):
    np.save(tmp_path / "x.npy", np.zeros(64, np.float32))
    platform = Path("platform/edge.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    status, out, err = npuvp(capsys, "run", source, "--platform", platform, *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_missing_files_and_bad_sources(capsys, tmp_path):
    status, _, err = npuvp(capsys, "run", tmp_path / "no.s", "--platform", "platform/edge.yaml")
    assert status == 1 and "no.s" in err
    (tmp_path / "bad.s").write_text("V_ADD_VV gp1, gp2\nFROB gp1\n")
    status, _, err = npuvp(capsys, "asm", tmp_path / "bad.s")
    assert status == 1 and "bad.s:1" in err and "bad.s:2" in err and "FROB" in err
    status, _, err = npuvp(capsys, "check", tmp_path / "no.yaml")
    assert status == 1 and "no.yaml" in err
    status, _, err = npuvp(capsys, "isa", "V_ADDVV")
    assert status == 1 and "V_ADD_VV" in err


def test_a_trap_ends_with_its_text_and_status_1(capsys, tmp_path):
    (tmp_path / "t.s").write_text("LI gp1, 64 * 512\nV_EXP_V gp1, gp1, 0\n")
    status, out, err = npuvp(capsys, "run", tmp_path / "t.s", "--platform", "platform/edge.yaml")
    assert (status, out) == (1, "")
    assert err.startswith(
        "Trap: core0 access outside Vector SRAM\n  pc 0x0001  V_EXP_V gp1, gp1, 0"
    )


def test_check_and_isa(capsys):
    status, out, _ = npuvp(capsys, "check", "platform/paper.yaml", "--set", "core.vlen=512")
    assert status == 0 and "512 lanes" in out and "core0.vector" in out
    status, out, _ = npuvp(capsys, "isa", "V_RED_MAX_IDX")
    assert status == 0 and "first index" in out


@pytest.mark.parametrize("command", ["asm", "check", "disasm", "isa", "run", "sample"])
def test_help_has_an_example(command):
    done = subprocess.run(
        [sys.executable, "-c", "from npuvp.cli import main; main()", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"example:\n  npuvp {command}" in done.stdout


INPUT = """
    .tensor x, core0.vector, 0, bf16, 64, in
    .tensor n, core0.int, 3, int32, 2, in
    V_RED_SUM f1, gp0
    S_ST_FP f1, gp0, 0
    S_LD_INT gp1, gp0, 4
    C_HOST_PUSH gp1
    C_HALT gp0
"""


def test_loaded_memory_is_an_input(capsys, tmp_path):
    program = tmp_path / "input.s"
    program.write_text(INPUT)
    np.save(tmp_path / "x.npy", np.ones(64, np.float32))
    np.save(tmp_path / "half.npy", np.ones(32, np.float32))
    np.save(tmp_path / "n.npy", np.array([8, 9], np.uint32))
    run = ("run", program, "--platform", "platform/edge.yaml")
    numbers = ("--input", f"n={tmp_path / 'n.npy'}")
    status, out, err = npuvp(
        capsys,
        *run,
        *("--load", f"core0.vector={tmp_path / 'x.npy'}"),
        *("--load", f"core0.int@3={tmp_path / 'n.npy'}"),
        *("--dump", f"core0.fp:0:1={tmp_path / 'sum.npy'}"),
    )
    assert (status, err) == (0, "")
    assert "0x00000009 (9)" in out
    assert np.load(tmp_path / "sum.npy").tolist() == [64.0]
    # Two halves are the whole, one is not, nor is all but the first element.
    half = ("--load", f"core0.vector={tmp_path / 'half.npy'}")
    other = ("--load", f"core0.vector@32={tmp_path / 'half.npy'}")
    assert npuvp(capsys, *run, *numbers, *half, *other)[0] == 0
    for partial in (half, other, ("--load", f"core0.vector@1={tmp_path / 'x.npy'}"), ()):
        status, _, err = npuvp(capsys, *run, *numbers, *partial)
        assert status == 1
        assert "x: missing, bf16 of shape (64,)" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("check", "nowhere.yaml"), "npuvp check: nowhere.yaml: no such file or directory\n"),
        (("asm", "nowhere.s"), "npuvp asm: nowhere.s: no such file or directory\n"),
        (("check", "platform"), "npuvp check: platform: is a directory\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(capsys, arguments, message):
    assert npuvp(capsys, *arguments) == (1, "", message)


def test_a_reader_that_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [sys.executable, "-m", "npuvp", "isa"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (found.returncode, found.stderr) == (0, "")
