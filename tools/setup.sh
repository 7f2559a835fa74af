#!/usr/bin/env bash
# Brings a bare Debian 12 machine to where npuvp builds and runs: Debian packages (by apt where
# permitted, otherwise the exact command), a virtual environment in the tree, the extension module.
# Idempotent: a call that finds everything in place takes about a second.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ make cmake ninja-build git python3-venv python3-dev libhwy-dev doctest-dev gtkwave)
if [ -z "${SYSTEMC_HOME:-}" ]; then
    packages+=(libsystemc-dev)
elif [ ! -f "$SYSTEMC_HOME/include/tlm.h" ]; then
    echo "set-up: SYSTEMC_HOME is '$SYSTEMC_HOME', and there is no include/tlm.h in it." >&2
    echo "        Point it at an installed SystemC 2.3.4 or newer, or unset it to use Debian's." >&2
    exit 1
fi

# A machine with a Python of its own (pyenv, conda) needs neither python3-venv nor python3-dev.
python=${PYTHON:-python3}
if "$python" -c 'import sys, venv, ensurepip, sysconfig, pathlib
sys.exit(not (sys.version_info >= (3, 11) and (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()))' 2>/dev/null; then
    packages=("${packages[@]/python3-venv/}")
    packages=("${packages[@]/python3-dev/}")
fi

# A tree of Ramulator once given is kept, so that a later `make test` without the variable neither drops
# the backend nor rebuilds for it; RAMULATOR_ROOT= (set, and empty) drops it.
ramulator_file=.venv/npuvp-ramulator
export RAMULATOR_ROOT="${RAMULATOR_ROOT-$(cat "$ramulator_file" 2>/dev/null || true)}"
if [ -n "$RAMULATOR_ROOT" ] && [ ! -d "$RAMULATOR_ROOT" ]; then
    echo "set-up: RAMULATOR_ROOT is '$RAMULATOR_ROOT' (now, or in an earlier set-up): there is no such folder." >&2
    echo "        Point it at a built tree of Ramulator 2.1, or leave the backend out: RAMULATOR_ROOT= make setup" >&2
    exit 1
fi

missing=()
for package in ${packages[@]}; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    command="apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" = 0 ]; then
        sudo=()
    elif sudo -n true 2>/dev/null; then
        sudo=(sudo)
    else
        echo "set-up: Debian packages are missing and this user may not install them. Run:" >&2
        echo "    sudo apt-get update && sudo $command" >&2
        exit 1
    fi
    echo "set-up: $command"
    mkdir -p build
    if ! { "${sudo[@]}" apt-get update && DEBIAN_FRONTEND=noninteractive "${sudo[@]}" $command; } > build/apt.log 2>&1; then
        tail -n 20 build/apt.log >&2
        echo "set-up: apt failed (whole log: build/apt.log). The command was: $command" >&2
        exit 1
    fi
fi

if [ ! -x .venv/bin/python ]; then
    echo "set-up: virtual environment .venv"
    "$python" -m venv .venv
fi
mkdir -p build
stamp=.venv/npuvp-setup
want=$(sha256sum pyproject.toml tools/setup.sh | sha256sum; echo "${SYSTEMC_HOME:-debian} ${RAMULATOR_ROOT:-none} $PWD")
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    echo "set-up: Python packages and the extension module (log: build/pip.log)"
    rm -f "$stamp"  # what fails below is done again
    requirements=$(.venv/bin/python - <<'PY'
import tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
print(*p["build-system"]["requires"], *p["project"]["dependencies"], *p["project"]["optional-dependencies"]["dev"], sep="\n")
PY
)
    if ! { .venv/bin/python -m pip install $requirements && rm -rf build/cmake && \
           .venv/bin/python -m pip install --no-build-isolation --no-deps -e . ; } > build/pip.log 2>&1; then
        # Of CMake's errors the text, which stands below the line that says so; of others their line.
        if grep -q "CMake Error" build/pip.log; then
            sed -n '/CMake Error/,/Call Stack\|Configuring incomplete/p' build/pip.log | grep -v "Call Stack" | head -n 30 >&2
        else
            grep -E "SystemC|error|Error" build/pip.log | head -n 20 >&2 || true
        fi
        echo "set-up: pip failed (whole log: build/pip.log)" >&2
        exit 1
    fi
    echo "$want" > "$stamp"
    echo "$RAMULATOR_ROOT" > "$ramulator_file"
    if [ -n "$RAMULATOR_ROOT" ]; then
        echo "set-up: memory backend ramulator: from $RAMULATOR_ROOT"
    else
        echo "set-up: memory backend ramulator: left out (RAMULATOR_ROOT is not set)"
    fi
elif [ "${1:-}" != "--no-build" ]; then
    # The editable install maps npuvp._core to this file; rebuilding and copying it is all that an
    # edited model needs.
    if ! { cmake --build build/cmake && \
           cmake --install build/cmake --prefix "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"; } > build/build.log 2>&1; then
        cat build/build.log >&2
        exit 1
    fi
fi

# Extras of pyproject.toml that are too large for everybody (accuracy: PyTorch), named by the caller.
for extra in ${NPUVP_EXTRAS:-}; do
    requirements=$(.venv/bin/python - "$extra" <<'PY'
import sys
import tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
if sys.argv[1] not in extras:
    sys.exit(f"set-up: NPUVP_EXTRAS names {sys.argv[1]!r}, allowed: {', '.join(extras)}")
print(*extras[sys.argv[1]], sep="\n")
PY
)
    if [ "$(cat ".venv/npuvp-extra-$extra" 2>/dev/null)" != "$requirements" ]; then
        echo "set-up: extra $extra (log: build/pip.log)"
        if ! .venv/bin/python -m pip install $requirements >> build/pip.log 2>&1; then
            tail -n 20 build/pip.log >&2
            exit 1
        fi
        echo "$requirements" > ".venv/npuvp-extra-$extra"
    fi
done
