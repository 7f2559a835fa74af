"""The tutorials say what happens: their commands print what the pages show."""

import doctest
import os
import re
import runpy
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vcdvcd import VCDVCD

import npuvp as vp
from npuvp.cli import main

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def sessions(page):
    """(command, what it prints) of a page, in order."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        command, shown = "", []
        lines = block.splitlines()
        at = 0
        while at < len(lines):
            if lines[at].startswith("$ "):
                if command:
                    yield command, "\n".join(shown)
                command, shown = lines[at][2:], []
                while command.endswith("\\"):
                    at += 1
                    command = command[:-1] + lines[at].strip()
            else:
                shown.append(lines[at])
            at += 1
        yield command, "\n".join(shown)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which the tree's paths hold, and which may be written to."""
    for name in ("docs", "platform"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PAGES = sorted(TUTORIALS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_pages_show_what_is_printed(page, folder, capsys):
    checker = doctest.OutputChecker()
    count = 0
    for command, shown in sessions(page):
        program, *arguments = shlex.split(command)
        if program == "python":
            runpy.run_path(arguments[0])
        else:
            assert program == "npuvp", command
            main(arguments)
        captured = capsys.readouterr()
        printed = captured.out + captured.err
        count += 1
        assert checker.check_output(shown + "\n", printed, FLAGS), f"$ {command}\n{printed}"
    assert page.stem == "README" or count >= 3


@pytest.fixture
def edge():
    return vp.Platform.load(ROOT / "platform" / "edge.yaml")


@pytest.fixture
def inputs(folder):
    runpy.run_path(str(TUTORIALS / "firmware" / "make_inputs.py"), run_name="inputs")
    return {name: np.load(f"{name}.npy") for name in ("x", "rows")}


def program(name):
    return vp.assemble(TUTORIALS / "firmware" / f"{name}.s")


def test_the_right_program_is_right(edge, inputs):
    x = inputs["x"]
    y = edge.run(program("normalise"), inputs={"x": x}).outputs["y"]
    np.testing.assert_allclose(y, x / x.sum(axis=1, keepdims=True), rtol=1 / 128)


def test_the_planted_bugs_are_there(edge, inputs):
    x = inputs["x"]
    right = edge.run(program("normalise"), inputs={"x": x}).outputs["y"]
    with pytest.raises(vp.Trap, match="outside Vector SRAM"):
        edge.run(program("pitch"), inputs={"x": x})
    y = edge.run(program("accumulator"), inputs={"x": x}).outputs["y"]
    np.testing.assert_array_equal(y[0], right[0])
    assert y[1].sum() < 0.6
    y = edge.run(program("leftover"), inputs={"x": x}).outputs["y"]
    np.testing.assert_array_equal(y, right)


def test_the_waveform_shows_that_nothing_overlaps(edge, inputs):
    overlap = {}
    for name in ("prefetch", "prefetch_mended"):
        with edge.trace(f"{name}.vcd", signals=["core0.dma.busy", "core0.vector.busy"]):
            edge.run(program(name), inputs={"x": inputs["rows"]})
        wave = VCDVCD(f"{name}.vcd")
        dma, vector = wave["core0.dma.busy"], wave["core0.vector.busy"]
        instants = sorted({at for signal in (dma, vector) for at, _ in signal.tv})
        overlap[name] = sum(
            end - begin
            for begin, end in pairwise(instants)
            if dma[begin] == "1" and vector[begin] == "1"
        )
    assert overlap["prefetch"] < 100_000  # ps: the last rows of a chunk drain
    assert overlap["prefetch_mended"] > 1_500_000  # ps


def test_the_fence_costs_half_of_the_time(edge, inputs):
    slow = edge.run(program("prefetch"), inputs={"x": inputs["rows"]})
    fast = edge.run(program("prefetch_mended"), inputs={"x": inputs["rows"]})
    assert slow.outputs["y"][0] == fast.outputs["y"][0]
    assert fast.cycles < 0.55 * slow.cycles


def test_the_notebook_runs(folder):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(TUTORIALS / "first_run.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # nobody reads their diffs
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    client = nbclient.NotebookClient(
        notebook, timeout=120, startup_timeout=120, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    shown = [
        output["data"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    assert len(pages) >= 3
    assert any("cycles" in page and "core0.vector" in page for page in pages)
