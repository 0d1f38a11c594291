#!/usr/bin/env bash
# Make the virtual environment and install Meshcast in it: scripts/setup.sh [EXTRA ...], extras as in pyproject.toml.
#
# PYTHON                  the interpreter to start from; by default the first of 3.11 to 3.13 that is found
# VENV                    where the environment goes; .venv by default
# MESHCAST_SKIP_SCATTER   1 leaves torch-scatter out, as on a machine without a compiler
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
supported='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
quiet=()
[ -t 1 ] || quiet=(--quiet)

say() { printf 'setup: %s\n' "$*"; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
install() { pip install "${quiet[@]}" -c constraints.txt "$@"; }

# A compiled torch-scatter can be there and yet not load: pip keeps the wheel without noting for which torch it was made.
scatter_works() {
    "$venv/bin/python" - 2>/dev/null <<'EOF'
import torch, torch_scatter
sums = torch_scatter.segment_csr(torch.ones(3), torch.tensor([0, 2, 3]), reduce="sum")
assert sums.tolist() == [2.0, 1.0]
EOF
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c "$supported" 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || break # a choice is not silently replaced
    done
    {
        echo "setup: no suitable Python found: Meshcast needs 3.11, 3.12 or 3.13, with its venv module and pip."
        for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python; do
            command -v "$candidate" >/dev/null 2>&1 || continue
            echo "  found $(command -v "$candidate"): $("$candidate" --version 2>&1 | head -n 1)"
        done
        echo "Install one (on Debian and Ubuntu: apt install python3 python3-venv python3-dev), or name it: make setup PYTHON=python3.12"
    } >&2
    return 2
}

make_venv() {
    if "$venv/bin/python" -c "$supported" 2>/dev/null; then
        return
    fi
    local python
    python=$(find_python) || exit 2
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

# Run pip with a sign of life, since the compiler says nothing for minutes; the log stays for whoever needs it.
compile_scatter() {
    local pid
    pip install --no-build-isolation --no-deps -c constraints.txt "$@" torch-scatter >"$venv/torch-scatter.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        [ $((++seconds % 20)) -ne 0 ] || printf '.'
    done
    [ "$seconds" -lt 20 ] || echo
    wait "$pid"
}

install_scatter() {
    if [ "${MESHCAST_SKIP_SCATTER:-0}" = 1 ]; then
        say "torch-scatter left out, as MESHCAST_SKIP_SCATTER=1 asks; torch's own operations take its place"
        return
    fi
    if scatter_works; then
        return
    fi
    local seconds=0
    install setuptools wheel
    say "compiling torch-scatter against the torch just installed; this takes about 4 minutes, once"
    if compile_scatter && scatter_works; then
        return
    fi
    if "$venv/bin/python" -m pip show --quiet torch-scatter 2>/dev/null; then
        say "the torch-scatter that pip kept was made for another torch; compiling it anew, about 4 minutes"
        if compile_scatter --no-cache-dir --force-reinstall && scatter_works; then
            return
        fi
    fi
    pip uninstall --quiet --yes torch-scatter >/dev/null 2>&1 || true
    {
        echo "setup: WARNING: torch-scatter cannot be compiled here. Everything works without it, through torch's own"
        echo "  operations, with equal results. It needs a C++ compiler and Python's headers (on Debian and Ubuntu:"
        echo "  apt install g++ python3-dev); to try again: make clean-stamps setup. From $venv/torch-scatter.log:"
        grep -E '(error|Error|ERROR): ' "$venv/torch-scatter.log" | grep -v subprocess-exited | head -n 3 || true
    } >&2
}

make_venv
say "installing torch"
install torch
install_scatter
extras=$(IFS=,; printf '%s' "$*")
say "installing meshcast${extras:+ with $extras}"
install hatchling setuptools wheel # torch-harmonics builds from source, with what is installed
install --no-build-isolation -e ".${extras:+[$extras]}"
pip check
say "compiling the message kernel, some seconds, once"
"$venv/bin/python" -m emulator.networks.message_kernel.compilation || true # without it, sparse products
say "done"
