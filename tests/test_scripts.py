"""Every script that users copy from runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "sampling_widths.py": ((), "2048"),
    "python_target.py": ((), "[  1   4   9 100] in 49 cycles"),
    "split_sampling.py": ((), "cycles"),
    "many_cores.py": ((), " 16 cores: product"),
    "hbm_characterise.py": (("--requests", "1000", "--output", "{tmp}"), "sequential"),
}


def test_no_script_is_forgotten():
    found = {path.name for path in (ROOT / "pyscripts").glob("*.py")}
    assert found == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name, tmp_path):
    arguments, expected = SCRIPTS[name]
    done = subprocess.run(
        [sys.executable, ROOT / "pyscripts" / name, *(a.format(tmp=tmp_path) for a in arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr and "leak" not in done.stderr
    assert expected in done.stdout
