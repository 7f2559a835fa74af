"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_there_are_examples():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_example_runs(index, tmp_path, monkeypatch, capsys):
    for folder in ("platform", "models"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[index], f"README block {index}", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (3, 1, 10, 3)[index]
    if index == 0:
        assert [line.split()[0] for line in lines] == ["256", "512", "1024"]
        assert (tmp_path / "traces" / "v1024.vcd").stat().st_size > 1000
    elif index == 1:
        assert lines[0].startswith("[2016.]")
    elif index == 2:
        assert [line.split()[0] for line in lines[:8]] == ["full"] + ["refine_dual"] * 7
        assert sum(int(line.split()[-1]) for line in lines[:8]) == 16
    else:
        assert 0.85 < float(lines[0].split()[1]) < 0.95  # refresh takes its share


def test_relative_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
