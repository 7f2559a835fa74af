"""Checkpoint files: what continues is the same run, and nothing else is taken."""

import dataclasses

import numpy as np
import pytest

import npuvp as vp
from npuvp.debug import Checkpoint, CheckpointError

X = np.arange(256, dtype=np.float32).reshape(4, 64) % 17


@pytest.fixture
def edge():
    return vp.Platform.load("platform/edge.yaml")


@pytest.fixture
def firmware(sum_program):
    return vp.assemble(sum_program[0])


@pytest.fixture
def file(edge, firmware, tmp_path):
    with edge.debug(firmware, inputs={"x": X}) as debugger:
        debugger.break_at("V_RED_SUM", condition="gp6 == 2")
        debugger.cont()
        debugger.checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize("cut", [0, 1, 7, 40, 100, 140, 175])
def test_continues_bit_for_bit(edge, firmware, tmp_path, cut):
    with edge.trace(log=tmp_path / "whole.log", power=tmp_path / "whole.csv"):
        whole = edge.run(firmware, inputs={"x": X})
    with edge.debug(firmware, inputs={"x": X}) as debugger:
        if cut:
            debugger.run_to(cut)
        state = debugger.digests()
        debugger.checkpoint(tmp_path / "a.ckpt")
    with edge.trace(log=tmp_path / "restored.log", power=tmp_path / "restored.csv"):
        restored = edge.debug(firmware, checkpoint=tmp_path / "a.ckpt")
    assert restored.stop.reason == "restored"
    assert restored.digests() == state
    assert restored.cont().reason == "finished"
    result = restored.result
    assert (result.cycles, result.energy) == (whole.cycles, whole.energy)
    np.testing.assert_array_equal(result.outputs["y"], whole.outputs["y"])
    for name in ("log", "csv"):
        assert (tmp_path / f"restored.{name}").read_bytes() == (
            tmp_path / f"whole.{name}"
        ).read_bytes()


def test_file_says_where_it_stands(file):
    checkpoint = Checkpoint.load(file)
    assert (checkpoint.platform, checkpoint.core, checkpoint.mode) == (
        "edge",
        "core0",
        "functional",
    )
    assert checkpoint.pc == 10
    np.testing.assert_array_equal(checkpoint.inputs["x"], X)
    assert {"core0.registers", "core0.vector", "core0.timing", "core0.dma", "hbm"} <= set(
        checkpoint.state
    )


def test_a_watch_stop_can_be_restored(edge, firmware):
    with edge.debug(firmware, inputs={"x": X}) as debugger:
        debugger.watch("vector[0:4]")
        assert debugger.cont().by_transfer
        checkpoint = debugger.checkpoint()
    with edge.debug(firmware, checkpoint=checkpoint) as restored:
        assert restored.transfers() == []
        np.testing.assert_array_equal(restored.sram("vector", slice(0, 4)), X)


def test_timing_mode_with_decisions(edge):
    firmware = vp.assemble(
        """
        .tensor x, core0.fp, 0, fp32, 1, in
        S_LD_FP f1, gp0, 0
        S_CMP_FP gp1, f1, f0, gt
        C_BEQ gp1, gp0, small
        LI gp2, 7
    small:
        C_HALT gp2
        """
    )
    decisions = edge.run(firmware, inputs={"x": [3.0]}).decisions
    with edge.debug(firmware, mode="timing", decisions=decisions) as debugger:
        debugger.break_at("C_BEQ")
        debugger.cont()
        checkpoint = debugger.checkpoint()
    with edge.debug(firmware, checkpoint=checkpoint) as restored:
        assert restored.mode == "timing"
        assert restored.step().reason == "step"
        assert restored.registers()["pc"] == 3


@pytest.mark.parametrize("place", [0, 9, 30, 200, -1, -40])
def test_a_damaged_file_is_refused(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 0x40
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a\.ckpt: "):
        Checkpoint.load(file)


def test_every_cut_is_refused(file):
    data = file.read_bytes()
    for length in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            Checkpoint.load(file)


def test_other_versions_platforms_and_firmwares_are_refused(edge, firmware, file):
    data = bytearray(file.read_bytes())
    data[8] = 2
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="version 2, this npuvp reads 1"):
        Checkpoint.load(file)
    data[8] = 1
    file.write_bytes(data)
    other = vp.Platform.load("platform/edge.yaml", core={"vlen": 128})
    with pytest.raises(CheckpointError, match="platform 'edge' is not the one"):
        other.debug(firmware, checkpoint=file)
    with pytest.raises(CheckpointError, match="the firmware is another one"):
        edge.debug(vp.assemble("C_HALT gp0\n"), checkpoint=file)
    with pytest.raises(vp.InputError, match="brings its own inputs"):
        edge.debug(firmware, inputs={"x": X}, checkpoint=file)


def test_another_state_is_refused_by_part(edge, firmware, file):
    checkpoint = Checkpoint.load(file)
    later = dataclasses.replace(checkpoint, position=checkpoint.position + 2)
    with pytest.raises(CheckpointError, match=r"replayed run differs .* core0\.registers"):
        edge.debug(firmware, checkpoint=later)
    other = dataclasses.replace(checkpoint, inputs={"x": X + 1})
    with pytest.raises(CheckpointError, match="the start differs from the checkpoint in hbm"):
        edge.debug(firmware, checkpoint=other)
