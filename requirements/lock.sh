#!/usr/bin/env bash
# Regenerate both locks from pyproject.toml and the excluded*.txt files: `make lock`. Pins that still fit are kept;
# `make lock UPGRADE=1` takes the newest versions that the lattice allows. Both locks are for Linux x86_64, and resolve
# on any machine: nothing of them is installed. They are made for Python 3.11; the same pins fit 3.12, and 3.13 without
# openrlhf. Each pin has the hashes of the index that it was found on; the CPU build of torch has the same one wherever
# it comes from.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
python=${PYTHON:-python3.11}

tools=.cache/lock-tools
if [ ! -x "$tools/bin/uv" ] || [ "$("$tools/bin/uv" --version | cut -d' ' -f2)" != "$UV_VERSION" ]; then
    "$python" -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi

# The CPU build of torch is not on PyPI: take it from where pip is told to look (PIP_FIND_LINKS), else from PyTorch.
if [ -n "${PIP_FIND_LINKS:-}" ]; then
    torch_cpu=(--find-links "$PIP_FIND_LINKS")
else
    torch_cpu=(--extra-index-url "${PIP_EXTRA_INDEX_URL:-$TORCH_CPU_INDEX}" --index-strategy unsafe-best-match)
fi

environments=(--extra shop --extra ftwp --extra scienceworld --extra textworld-express)

lock() { # lock NAME UV-OPTIONS...
    local name=$1 output=requirements/$1.txt
    shift
    "$tools/bin/uv" pip compile pyproject.toml --extra "$name" --extra dev "${environments[@]}" --quiet \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --excludes requirements/excluded.txt --annotation-style line --generate-hashes \
        --custom-compile-command "make lock" ${UPGRADE:+--upgrade} --output-file "$output" "$@"
    if grep -nE '(file|https?)://|@ ' "$output"; then
        echo "error: $output names a place instead of a version (lines above); it must not be committed" >&2
        exit 1
    fi
    echo "$output: $(grep -c '^[^ #].*==' "$output") packages"
}

lock cpu --excludes requirements/excluded-cpu.txt "${torch_cpu[@]}"
[ -f requirements/gpu.txt ] || grep -oE '^[^ #]+==[^ ]+' requirements/cpu.txt | grep -v '^torch==' >requirements/gpu.txt # same pins where both fit
lock gpu
