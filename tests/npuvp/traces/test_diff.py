"""`npuvp diff`: two logs, and the machine against the golden model."""

import json
import zlib

import numpy as np
import pytest

import npuvp as vp
from npuvp.cli import main
from npuvp.golden.machine import GoldenMachine
from npuvp.sampling import sample, seeded_logits, workload
from npuvp.traces.golden_diff import diverges_from_golden, value_at
from npuvp.traces.log import read_log

PROGRAM = """
    .tensor x, core0.vector, 0, bf16, 64, in
    C_CSRR gp3, cycle_lo
    S_ADDI_INT gp3, gp3, 1
    V_RED_SUM f1, gp0
    V_EXP_V gp0, gp0, 0
    S_ST_FP f1, gp0, 2
    S_ADDI_INT gp4, gp0, {last}
    S_ST_INT gp4, gp0, 5
"""
EDGE = ["--platform", "platform/edge.yaml"]


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(64, dtype=np.float32) / 64)
    for name, last in (("good", 7), ("bad", 8)):
        (tmp_path / f"{name}.s").write_text(PROGRAM.format(last=last))
    return tmp_path


def run(folder, name, log):
    inputs = ["--input", f"x={folder / 'x.npy'}"]
    assert main(["run", str(folder / f"{name}.s"), *EDGE, *inputs, "--log", str(folder / log)]) == 0


def test_logs_hold_results_in_both_forms(files):
    run(files, "good", "a.log")
    run(files, "good", "a.bin")
    text, binary = read_log(files / "a.log"), read_log(files / "a.bin")
    assert [e.results for e in text] == [e.results for e in binary]
    results = dict(pair for e in text for pair in e.results)
    x = (np.arange(64, dtype=np.float32) / 64).astype(np.float32)
    assert results["f1"] == int(np.float32(x.sum()).view(np.uint32)) == results["fp[2]"]
    assert results["int[5]"] == 7 and results["gp3"] == 1
    assert {"v[0]"} == {name for name in results if name.startswith("v")}


def test_first_divergence_of_two_logs(files, capsys):
    run(files, "good", "a.log")
    run(files, "bad", "b.bin")
    capsys.readouterr()
    assert main(["diff", str(files / "a.log"), str(files / "a.log")]) == 0
    assert capsys.readouterr().out == "the same: 7 instructions\n"
    program = ["--program", str(files / "good.s")]
    assert main(["diff", str(files / "a.log"), str(files / "b.bin"), *program]) == 1
    out = capsys.readouterr().out
    assert "core0: 5 instructions agree, the next differs (word)" in out
    assert "-> gp4 = 0x00000007" in out and "-> gp4 = 0x00000008" in out
    assert "good.s:8" in out


def test_the_machine_agrees_with_the_golden_model(files, capsys):
    inputs = ["--input", f"x={files / 'x.npy'}"]
    assert main(["diff", "--golden", str(files / "good.s"), *EDGE, *inputs]) == 0
    assert capsys.readouterr().out == "the same: 7 instructions\n"


@pytest.mark.parametrize(
    ("place", "index"), [("gp3", 1), ("f1", 2), ("v[0]", 3), ("fp[2]", 4), ("int[5]", 6)]
)
def test_a_wrong_result_of_any_kind_is_found(files, capsys, place, index):
    run(files, "good", "a.log")
    log = files / "a.log"
    lines = log.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if f"-> {place} = " in line and i > index)
    before, value = lines[at].rsplit("0x", 1)
    lines[at] = f"{before}0x{int(value, 16) ^ 1:08x}"
    log.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    inputs = ["--input", f"x={files / 'x.npy'}", "--json"]
    assert main(["diff", str(log), "--golden", str(files / "good.s"), *EDGE, *inputs]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["agree"] and found["instructions"] == index
    assert found["divergence"]["differs"] == "results"


@pytest.mark.parametrize("platform", ["edge", "quad"])
def test_sampling_agrees_instruction_by_instruction(tmp_path, platform, monkeypatch):
    p = vp.Platform.load(f"platform/{platform}.yaml")
    work = workload(seeded_logits(2, 3, 3000), mask_id=2999)
    seen = {}
    original = p.run

    def capture(firmware, **more):
        seen.update(firmware=firmware, inputs=more["inputs"])
        return original(firmware, **more)

    monkeypatch.setattr(p, "run", capture)
    with p.trace(log=tmp_path / "s.bin"):
        result = sample(p, work)
    golden = GoldenMachine(p.description(), seen["firmware"])
    golden.load_inputs({k: np.asarray(v) for k, v in seen["inputs"].items()})
    found, compared = diverges_from_golden(read_log(tmp_path / "s.bin"), golden)
    assert found is None
    assert compared == sum(c["instructions"] for c in result.stats["cores"].values()) > 1000


def test_filters(tmp_path):
    p = vp.Platform.load("platform/quad.yaml")
    work = workload(seeded_logits(1, 4, 3000), mask_id=2999)
    with p.trace(log=tmp_path / "s.log", log_only=["V_RED_*"], cores=["core1"]):
        result = sample(p, work)
    log = read_log(tmp_path / "s.log")
    assert {e.core for e in log} == {"core1"}
    counts = result.stats["cores"]["core1"]["instructions_by_mnemonic"]
    assert len(log) == sum(n for name, n in counts.items() if name.startswith("V_RED_")) > 0
    with (
        pytest.raises(ValueError, match="mnemonic pattern 'V_NONE' matches nothing"),
        p.trace(log=tmp_path / "t.log", log_only=["V_NONE"]),
    ):
        sample(p, work)


def test_places(tmp_path):
    golden = GoldenMachine(
        vp.Platform.load("platform/edge.yaml").description(), vp.assemble("C_HALT gp0\n")
    )
    core = golden.cores[0]
    core.int_sram[3:5] = 1, 2
    assert value_at(core, "int[3]") == 1
    assert value_at(core, "int[3:5]") == zlib.crc32(b"\1\0\0\0\2\0\0\0")
    with pytest.raises(ValueError, match=r"place 'x\[3\]'"):
        value_at(core, "x[3]")


def test_bad_usage(files, capsys):
    run(files, "good", "a.log")
    capsys.readouterr()
    for arguments, message in (
        (["diff", str(files / "a.log")], "1 logs given"),
        (["diff", "--golden", str(files / "good.s")], "--golden needs --platform"),
        (["diff", str(files / "a.log"), str(files / "x.npy")], "no line of an instruction log"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
