"""`npuvp debug`: scripts, a pipe, a terminal."""

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

import npuvp as vp
from npuvp.cli import main
from npuvp.debug.shell import Shell


@pytest.fixture
def arguments(sum_program):
    program, x = sum_program
    return ["debug", str(program), "--platform", "platform/edge.yaml", "--input", f"x={x}"]


def commands(*lines):
    return [item for line in lines for item in ("-c", line)]


def test_a_script_of_commands(arguments, capsys, tmp_path):
    script = tmp_path / "script"
    script.write_text("# comment\n\nbreak sum.s:15 if gp6 == 2\nwatch gp3\ncontinue\ndelete 2\nc\n")
    looks = commands(
        "where",
        "list 3",
        "info breakpoints",
        "info registers",
        "info loops",
        "info dma",
        "info cores",
        "info marks",
        "info tensors",
        "sram vector 0:1",
        "sram int 3",
        "hbm 0x1080 4 bf16",
        "tensor y",
        "print gp1 + 1",
        "p f1 == 0",
        "assert step == 2 and fp[8] == 486",
        "rstep",
        "step 1",
        "next",
        "mark step",
        "to 170",
        "rto 130",
        "rcontinue",
        "help break",
        "step all",
        "core core0",
        "delete",
        "continue",
    )
    assert main([*arguments, "-x", str(script), *looks]) == 0
    out = capsys.readouterr().out
    assert "watch 2: core0.gp3: 0 -> 4  by core0 pc 0x0008  C_LOOP_START gp3, 4" in out
    assert "breakpoint 1: core0 pc 0x000a  V_RED_SUM f1, gp1" in out
    assert "in iteration 3 of 4 of the loop on gp3" in out
    assert "=>* 0x000a  V_RED_SUM f1, gp1" in out
    assert " gp1 = 0x00000080" in out
    assert "no dma" in out
    assert "x: hbm 0x1000, bf16, 4 x 64, in" in out
    assert "[13. 14. 15. 16.]" in out
    assert "gp1 + 1 = 129 (0x81)" in out
    assert "f1 == 0 = True" in out
    assert "finished after 181 cycles" in out
    assert out.index("(npuvp) where") < out.index("(npuvp) continue\nfinished")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("assert gp4 == 7", "AssertionFailed: gp4 == 7 does not hold\n  core0 pc 0x0000"),
        ("brek 3", "no command 'brek'"),
        ("re", "no command 're'"),
        ("r0", "no command 'r0'"),
        ("st", ""),
        ("step x", "COUNT 'x' is no number"),
        ("break", "PLACE is missing"),
        ("break rwo", "near: row"),
        ("delete 3", "no breakpoint or watchpoint 3 (there are: none)"),
        ("info", "info '' (allowed: breakpoints, registers, loops"),
        ("sram vector 9:5", "rows 0..511, not 9..4"),
        ("hbm 0", "hbm ADDRESS COUNT [FORMAT]"),
        ("hbm 0 4 bf17", "format 'bf17'"),
        ("checkpoint", "FILE is missing"),
        ("core c", "no core 'c' (cores: core0)"),
        ("to 0\nto -1", "'to 0\\nto -1'"),
    ],
)
def test_a_command_that_fails_ends_a_script(arguments, capsys, line, message):
    if not message or "\n" in line:
        assert main([*arguments, *commands(line.partition("\n")[0])]) == 0
        return
    assert main([*arguments, *commands(line, "continue")]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "finished" not in captured.out


def test_a_trap_is_a_stop(sum_program, capsys):
    program, x = sum_program
    program.write_text(program.read_text().replace("LI gp4, 64 ", "LI gp4, 0x300000 "))
    run = ["debug", str(program), "--platform", "platform/edge.yaml", "--input", f"x={x}"]
    assert main([*run, *commands("c", "rstep", "where", "c")]) == 0
    out = capsys.readouterr().out
    assert out.count("trap: core0 access outside Vector SRAM") == 2


def test_checkpoint_and_restore(arguments, capsys, tmp_path):
    file = tmp_path / "a.ckpt"
    assert main([*arguments, *commands("break row", "c", "c", f"checkpoint {file}", "c")]) == 0
    assert f"written: {file}" in capsys.readouterr().out
    restore = [*arguments[:4], "--restore", str(file)]
    assert main([*restore, *commands("where", "assert step == 0 and gp6 == 1", "c")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("restored: core0 pc 0x0009  C_MARK step, gp6")
    assert "finished after 181 cycles" in out
    assert main([*arguments, "--restore", str(file)]) == 1
    assert "leave --input out" in capsys.readouterr().err


def test_lines_from_a_pipe(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("break row\nc\nquit\nnonsense\n"))
    assert main(arguments) == 0
    assert "breakpoint 1: core0 pc 0x0009" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("nonsense\nc\n"))
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "no command 'nonsense'" in captured.err
    assert "finished" not in captured.out


def test_a_terminal_completes_repeats_and_remembers(arguments, tmp_path):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from npuvp.cli import main; sys.exit(main())",
            *arguments,
        ],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    seen = ""

    def wait_for(text, then=""):
        # A key pressed before the next prompt stands would get lost.
        nonlocal seen
        end = time.monotonic() + 60
        while then not in seen.partition(text)[2] or text not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096).decode(errors="replace")

    def send(text):
        nonlocal seen
        seen = ""
        os.write(master, text.encode())

    wait_for("(npuvp)")
    send("break V_R\t")
    wait_for("ED_SUM")  # what is completed, after what was typed
    send("\r")
    wait_for("breakpoint 1: V_RED_SUM", "(npuvp)")
    send("continue\r")
    wait_for("breakpoint 1: core0 pc 0x000a", "(npuvp)")
    send("\r")
    wait_for("breakpoint 1: core0 pc 0x000a", "(npuvp)")
    send("print gp6\r")
    wait_for("gp6 = 1", "(npuvp)")
    send("nonsense\r")
    wait_for("no command 'nonsense'", "(npuvp)")
    send("\x04")
    assert process.wait(60) == 0
    os.close(master)
    history = (tmp_path / "npuvp" / "debug_history").read_text()
    assert "+break V_RED_SUM" in history
    assert "+print gp6" in history


def test_completion(sum_program):
    debugger = vp.Platform.load("platform/edge.yaml").debug(
        vp.assemble(sum_program[0]), inputs={"x": [[0.0] * 64] * 4}
    )
    complete = Shell(debugger, lambda text: None).completions
    assert complete("wa") == ["watch"]
    assert complete("r") == ["rcontinue", "rstep", "rto"]
    assert complete("break ro") == ["row"]
    assert complete("b V_RED") == ["V_RED_SUM"]
    assert "sum.s:15" in complete("break sum.s:")
    assert complete("break row if gp1") == [f"gp{i}" for i in (1, 10, 11, 12, 13, 14, 15)]
    assert complete("watch vec") == ["vector["]
    assert complete("info l") == ["loops"]
    assert complete("hbm 0 4 bf") == ["bf16"]
    assert complete("nonsense x") == []
