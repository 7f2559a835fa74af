"""Set-up on machines that lack something: what the user is told."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def setup(env, **kwargs):
    return subprocess.run(
        ["bash", ROOT / "tools" / "setup.sh"], capture_output=True, text=True, env=env, **kwargs
    )


def test_systemc_home_without_systemc():
    done = setup({**os.environ, "SYSTEMC_HOME": "/nowhere"})
    assert done.returncode == 1
    assert "SYSTEMC_HOME is '/nowhere', and there is no include/tlm.h in it" in done.stderr
    assert "or unset it to use Debian's" in done.stderr


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("/nowhere", "SYSTEMC_HOME is /nowhere: it must hold include/tlm.h and"),
        ("", "apt-get install libsystemc-dev"),
    ],
)
def test_cmake_names_the_missing_systemc(tmp_path, home, message):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(probe LANGUAGES CXX)\n"
        f'list(APPEND CMAKE_MODULE_PATH "{ROOT}/cmake")\n'
        'set(CMAKE_FIND_ROOT_PATH "/nowhere")\nset(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)\n'
        "find_package(SystemC REQUIRED)\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "SYSTEMC_HOME"}
    if home:
        env["SYSTEMC_HOME"] = home
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "b"], capture_output=True, text=True, env=env
    )
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert "SystemC was not found." in text and message in text


def test_without_permission_the_exact_command_is_printed(tmp_path):
    """A user who is not root, on a machine that lacks two packages."""
    for name, body in {
        "id": "echo 1000",
        "sudo": "exit 1",
        "dpkg-query": 'case "$*" in *libsystemc-dev|*libhwy-dev) exit 1;; esac; '
        'echo "install ok installed"',
    }.items():
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k != "SYSTEMC_HOME"}
    done = setup({**env, "PATH": f"{tmp_path}:{env['PATH']}"})
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].endswith("this user may not install them. Run:")
    command = "apt-get install -y --no-install-recommends libhwy-dev libsystemc-dev"
    assert lines[1].strip() == f"sudo apt-get update && sudo {command}"


def test_a_second_call_prints_nothing():
    done = setup(dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
