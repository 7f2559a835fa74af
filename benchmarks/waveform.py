"""Value changes of a waveform against pyvcd, and what tracing costs a run."""

import io
import tempfile
import time
from pathlib import Path

import pywellen
from npuvp._core import trace as native
from vcd import VCDWriter

import npuvp as vp
from benchmarks.measurement import Measurement, best_of
from npuvp.compiler.runtime import generate_and_run

ROUNDS = 40_000
PROMPT = "1234567+7654321="
WORDS = [f"OP{i}" for i in range(8)]
SIGNALS: dict[str, int | None] = {
    "core0.pc": 32,
    "core0.op": 16,
    "core0.mnemonic": None,
    "core0.vector.busy": 1,
}


def emit(hub: native.Hub, core: int, unit: int) -> float:
    """Seconds for reporting `ROUNDS` instructions from Python."""
    begin = time.perf_counter()
    for i in range(ROUNDS):
        at = 3000 * i
        hub.emit(native.Kind.instruction, core, at, at + 1000, i % 4096, i % 8)
        hub.emit(native.Kind.unit_busy, unit, at, at + 1000, i % 4096)
    hub.finish(3000 * ROUNDS)
    return time.perf_counter() - begin


def write_ours(path: Path) -> float:
    """Seconds that the waveform of `ROUNDS` instructions adds to reporting them."""
    seconds = []
    for traced in (False, True):
        hub = native.Hub()
        core = hub.add_source("core0", "core")
        unit = hub.add_source("core0.vector", "unit")
        session = native.Session(hub)
        if traced:
            names = native.Names(WORDS, [], [[]] * 6)
            chosen = [s for s in native.signal_catalog(hub, names, []) if s.path in SIGNALS]
            session.add_vcd(str(path), chosen, names, 1000)
        seconds.append(emit(hub, core, unit))
    return max(seconds[1] - seconds[0], 1e-3)


def write_pyvcd(path: Path) -> float:
    """Seconds for the same value changes through pyvcd."""
    out = io.StringIO()
    with VCDWriter(out, timescale="1 ns", init_timestamp=0) as writer:
        pc, op, mnemonic, busy = (
            writer.register_var(
                *name.rsplit(".", 1),
                "string" if width is None else "wire",
                size=width,
                init="-" if width is None else 0,
            )
            for name, width in SIGNALS.items()
        )
        begin = time.perf_counter()
        for i in range(ROUNDS):
            writer.change(pc, 3 * i, i % 4096)
            writer.change(op, 3 * i, i % 8)
            writer.change(mnemonic, 3 * i, WORDS[i % 8])
            writer.change(busy, 3 * i, 1)
            writer.change(busy, 3 * i + 1, 0)
        seconds = time.perf_counter() - begin
    path.write_text(out.getvalue())
    return seconds


def contents(path: Path) -> dict[str, dict[int, object]]:
    """Last value of every signal at every instant at which it changes."""
    return {var.full_name: dict(var.tv) for var in pywellen.Waveform(str(path)).all_vars()}


def measure() -> dict[str, Measurement]:
    """The figures of this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = folder / "ours.vcd", folder / "pyvcd.vcd"
        seconds, pyvcd_seconds = best_of(3, lambda: write_ours(ours), lambda: write_pyvcd(theirs))
        if contents(ours) != contents(theirs):
            raise AssertionError("the two waveforms do not hold the same")

        platform = vp.Platform.load("platform/edge.yaml")
        plan = vp.GenerationPlan(gen_length=16, block_length=16, steps=16, cache="dual")

        def untraced() -> float:
            result = generate_and_run("models/llada-mini", PROMPT, plan, platform)[1]
            assert result is not None
            return result.seconds

        def traced(signals: list[str] | None, power: Path | None) -> float:
            with platform.trace(folder / "run.vcd", signals=signals, power=power):
                return untraced()

        plain, usual, everything = best_of(
            5, untraced, lambda: traced(None, None), lambda: traced(["*"], folder / "run.csv")
        )
    return {
        "vcd_against_pyvcd": Measurement(
            pyvcd_seconds / seconds, 5.0, "higher", note="value changes a second, same content"
        ),
        "generation_traced": Measurement(
            usual / plain, 1.5, "lower", note="llada-mini, default signals, to the untraced run"
        ),
        "generation_traced_fully": Measurement(
            everything / plain, 3.0, "lower", note="all signals and power, to the untraced run"
        ),
    }
