"""Programs of people's kind against float64, and the golden machine against the machine."""

from __future__ import annotations

import numpy as np
import pytest

from npuvp import Platform, golden
from npuvp.cli import main
from npuvp.golden.codec import GoldenCodec

from . import plena_text
from .reference import FOLDER, PROGRAMS, Machine, topk_routing

MACHINES = {
    "plena": Machine(64, 4, weights=7, block=8, narrow_registers=True),
    "edge": Machine(64, 16, weights=0),
    "wide": Machine(128, 16, matrix_rows=2, weights=5),
    "int4": Machine(32, 8, weights=6),
}


def platform(name: str) -> Platform:
    if name in ("plena", "edge"):
        return Platform.load(f"platform/{name}.yaml", set=["core.matrix_sram_bytes=64KiB"])
    m = MACHINES[name]
    made = Platform(name)
    made.hbm("hbm", backend="ideal", size="1GiB", latency="100ns", bandwidth="400GB/s")
    made.core(
        "core0",
        vlen=m.vlen,
        blen=m.blen,
        matrix_rows=m.matrix_rows,
        vector_sram_bytes="2MiB",
        matrix_sram_bytes=8 * m.vlen**2,
        fp_sram_words=1024,
        int_sram_words=1024,
    )
    return made


def close(case, outputs):
    for name, expected in case.expected.items():
        error = np.abs(outputs[name].astype(float) - expected)
        bound = np.broadcast_to(case.bounds[name], error.shape)
        worst = float(np.max(error - bound))
        assert worst <= 0, f"{case.program}.{name}: {worst:g} beyond its bound"
        if bound.any():  # a bound that nothing comes near proves little
            assert np.max(error / np.where(bound == 0, np.inf, bound)) > 0.02


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program, name):
    case = PROGRAMS[program](MACHINES[name], np.random.default_rng(7))
    made = platform(name)
    firmware = case.firmware(MACHINES[name])
    wanted = golden.run(made, firmware, inputs=case.inputs)
    close(case, wanted.outputs)
    found = made.run(firmware, inputs=case.inputs, progress=False)
    for output in case.expected:
        assert found.outputs[output].tobytes() == wanted.outputs[output].tobytes(), output
    assert found.stats["cores"]["core0"]["instructions"] == wanted.instructions[0]


def test_weights_of_the_selected_add_up_to_one():
    machine = MACHINES["edge"]
    case = topk_routing(machine, np.random.default_rng(8), mode=0)
    outputs = golden.run(platform("edge"), case.firmware(machine), inputs=case.inputs).outputs
    close(case, outputs)
    assert np.abs(outputs["weights"].sum(axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize("program", PROGRAMS)
def test_from_the_command_line(program, tmp_path, capsys):
    machine = MACHINES["plena"]
    case = PROGRAMS[program](machine, np.random.default_rng(9))
    arguments = ["run", str(FOLDER / f"{program}.s"), "--platform", "platform/plena.yaml"]
    for name, value in {**machine.defines, **case.defines}.items():
        arguments += ["-D", f"{name}={value}"]
    for name, value in case.inputs.items():
        np.save(tmp_path / f"{name}.npy", value)
        arguments += ["--input", f"{name}={tmp_path / name}.npy"]
    for name in case.expected:
        arguments += ["--output", f"{name}={tmp_path / name}_out.npy"]
    assert not main(arguments), capsys.readouterr().err
    outputs = {name: np.load(tmp_path / f"{name}_out.npy") for name in case.expected}
    close(case, outputs)
    wanted = golden.run(platform("plena"), case.firmware(machine), inputs=case.inputs).outputs
    assert all(outputs[name].tobytes() == wanted[name].tobytes() for name in outputs)


def test_public_text_runs_unmodified():
    """A linear layer of public PLENA instructions alone, on the machine of the fact sheet.

    The result is quantised: its mantissa has three bits and does not round up into the next
    exponent (up to 2^-3 of a number), and below 2^-7 of a block's largest only eighths of that
    remain.
    """
    rng = np.random.default_rng(11)
    x, w = rng.normal(size=(8, 128)), rng.normal(size=(128, 128)) / 11
    firmware, expected, place = plena_text.linear_firmware(x, w)
    made = Platform.load("platform/plena.yaml")
    wanted = golden.GoldenMachine(made.description(), firmware)
    wanted.run()
    made.run(firmware, progress=False)
    size = place.stop - place.start
    stored = wanted.read_bytes("hbm", place.start, size)
    assert made.machine.read_bytes("hbm", place.start, size).tobytes() == stored.tobytes()
    codec = GoldenCodec()
    rows, columns = expected.shape
    elements, scales = np.split(stored, [rows * columns])
    y = codec.decode_rows(elements, scales, "plena_e4m3", 8, rows, columns)
    largest = np.abs(expected).reshape(rows, -1, 8).max(axis=2, keepdims=True)
    smallest = np.broadcast_to(largest, (rows, columns // 8, 8)).reshape(rows, columns)
    bound = (2.0**-3 + 2.0**-8) * np.abs(expected) + 2.0**-7 * smallest
    error = np.abs(y - expected)
    assert (error <= bound).all()
    assert (error / bound).max() > 0.5
