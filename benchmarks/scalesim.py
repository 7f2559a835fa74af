"""SCALE-Sim 3.0.0, installed into an environment of its own, as a yardstick."""

import re
import resource
import subprocess
import sys
from pathlib import Path

__all__ = ["run"]

_ENVIRONMENT = Path("build/scalesim")
_CONFIGURATION = """[general]
run_name = gemm
[architecture_presets]
ArrayHeight = {size}
ArrayWidth = {size}
IfmapSramSzkB = 6144
FilterSramSzkB = 6144
OfmapSramSzkB = 2048
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Bandwidth = 100
Dataflow = os
MemoryBanks = 1
ReadRequestBuffer = 128
WriteRequestBuffer = 128
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def _python() -> Path:
    python = _ENVIRONMENT / "bin" / "python"
    if not (_ENVIRONMENT / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", _ENVIRONMENT], check=True)
        packages = ["scalesim==3.0.0", "numpy<2.4", "setuptools<81"]
        subprocess.run(
            [python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True
        )
        (_ENVIRONMENT / "installed").touch()
    return python.absolute()


def run(m: int, n: int, k: int, size: int = 64) -> tuple[float, int]:
    """Simulates one GEMM on an output-stationary array of size x size.

    Returns:
        Processor seconds of the simulator, and the compute cycles that it reports.

    Raises:
        subprocess.CalledProcessError: It could not be installed, or failed.
        ValueError: Its report could not be read.
    """
    python = _python()
    folder = _ENVIRONMENT / "run"
    folder.mkdir(exist_ok=True)
    (folder / "array.cfg").write_text(_CONFIGURATION.format(size=size))
    (folder / "gemm.csv").write_text(f"Layer,M,N,K,\ngemm,{m},{n},{k},\n")
    # SCALE-Sim demands a layout even where it is not used: a header and as many ones.
    (folder / "layout.csv").write_text("h," * 28 + "\ngemm," + "1," * 29 + "\n")
    arguments = [
        "-c",
        "array.cfg",
        "-t",
        "gemm.csv",
        "-l",
        "layout.csv",
        "-p",
        "out",
        "-i",
        "gemm",
        "-s",
        "N",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python, "-m", "scalesim.scale", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"Compute cycles: (\d+)", done.stdout)
    if found is None:
        raise ValueError("SCALE-Sim printed no compute cycles")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(found[1])
