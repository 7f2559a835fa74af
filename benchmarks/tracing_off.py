"""What tracing costs a run that is not traced, in host instructions under callgrind.

The base is the same machine built with `-DNPUVP_TRACE=OFF`, where modules report nothing: no hook
asks whether somebody listens. It is built in `build/untraced` when first needed. Instructions are
counted while a machine runs, not while Python starts and compiles.
"""

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measurement import Measurement

NAME = "tracing_off_instructions"
_ROOT = Path(__file__).resolve().parents[1]
_BUILD = _ROOT / "build" / "untraced"
_SWITCH = """
#include <valgrind/callgrind.h>
extern "C" void begin() { CALLGRIND_START_INSTRUMENTATION; }
extern "C" void end() { CALLGRIND_STOP_INSTRUMENTATION; }
"""
_COLLECTED = re.compile(r"Collected : (\d+)")


def untraced_module() -> Path:
    """The extension module without hooks, built where it is missing or stale.

    Raises:
        RuntimeError: It cannot be built; the message ends with what the compiler said.
    """
    options = ["-DNPUVP_TRACE=OFF", f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (
        ["cmake", "-S", str(_ROOT), "-B", str(_BUILD), "-G", "Ninja", *options],
        ["cmake", "--build", str(_BUILD), "--target", "_core"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}"
            )
    (module,) = (_BUILD / "tlm").glob("_core*.so")
    return module


def count(module: Path | None, switch: Path) -> int:
    """Host instructions of the runs of `child`, with this extension module or the installed one."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-m",
        "benchmarks.tracing_off",
        str(switch),
        *([] if module is None else [str(module)]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    found = _COLLECTED.search(done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"callgrind failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def child(switch: Path, module: Path | None) -> None:
    """One generation of the shipped model; callgrind counts while the machine runs."""
    if module is not None:
        spec = importlib.util.spec_from_file_location("npuvp._core", module)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules["npuvp._core"] = loaded
        spec.loader.exec_module(loaded)
    import npuvp as vp
    from npuvp.compiler.runtime import prepare
    from npuvp.run import prepare_run

    callgrind = ctypes.CDLL(str(switch))
    platform = vp.Platform.load("platform/edge.yaml")
    plan = vp.GenerationPlan(gen_length=16, block_length=16, steps=4, cache="dual")
    job = prepare("models/llada-mini", "1234567+7654321=", plan, platform)
    machine = prepare_run(platform, job.firmware, inputs=job.inputs).machine
    callgrind.begin()
    machine.run(progress=False)
    callgrind.end()


def measure() -> dict[str, Measurement]:
    """The figure of this file."""
    with tempfile.TemporaryDirectory() as name:
        source, switch = Path(name) / "switch.cpp", Path(name) / "switch.so"
        source.write_text(_SWITCH)
        missing = [tool for tool in ("valgrind", "cmake", "ninja", "c++") if not shutil.which(tool)]
        if not missing:
            command = ["c++", "-shared", "-fPIC", "-o", str(switch), str(source)]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                missing = ["valgrind/callgrind.h"]
        if missing:
            note = f"not measured: {', '.join(missing)} not found (Debian: apt install valgrind)"
            return {NAME: Measurement(None, 1.02, "lower", note=note)}
        base = count(untraced_module(), switch)
        usual = count(None, switch)
    return {
        NAME: Measurement(
            usual / base,
            1.02,
            "lower",
            note=f"llada-mini untraced, {usual:,} host instructions to {base:,} without hooks",
        )
    }


if __name__ == "__main__":
    child(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
