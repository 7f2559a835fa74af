"""Every script that users copy from runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "baos_cost.py": (
        (
            *("--model", "llada-tiny", "--platform", "platform/edge.yaml", "--prompt-length", "12"),
            *("--block-length", "4", "--batch", "2", "--schemes", "bf16,baos-mxint4"),
        ),
        "baos-mxint4",
    ),
    "sampling_widths.py": ((), "2048"),
    "python_target.py": ((), "[  1   4   9 100] in 49 cycles"),
    "split_sampling.py": ((), "cycles"),
    "host_driven.py": ((), "commits 25 (0.9990), 27 (0.9992)   keys written: [26, 29]"),
    "generation.py": ((), "quad, 4 cores"),
    "many_cores.py": ((), " 16 cores: product"),
    "hbm_characterise.py": (("--requests", "1000", "--output", "{tmp}"), "sequential"),
    "refine_utilisation.py": (
        ("--model", "llada-8b:layers=1", "--batch", "2", "--weights", "mxint4"),
        "memory-bound",
    ),
    "paper_sampling.py": (("--batch", "2", "--output", "{tmp}"), "VLEN 2048, B = 2"),
    "paper_power_area.py": (("--batch", "1", "--output", "{tmp}"), "1,524.53"),
    "paper_sensitivity.py": (("--positions", "2", "--output", "{tmp}"), "chunk = 62, closed form"),
    "paper_end_to_end.py": (
        ("--model", "llada-8b:layers=1", "--batch", "1", "--gen-length", "32", "--output", "{tmp}"),
        "tokens/J over the h100 roofline",
    ),
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
