#!/usr/bin/env bash
# Make .venv match the lock: `make setup` (EXTRA=cpu or gpu, PYTHON=python3.11). Does nothing if the stamp says that it
# already does. The stamp is written last, so an interrupted install is repeated, not trusted.
set -euo pipefail
cd "$(dirname "$0")/.."

EXTRA=${EXTRA:-cpu}
PYTHON=${PYTHON:-python3.11}
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
venv=.venv
lock=requirements/$EXTRA.txt
stamp=$venv/.genrm-rl-stamp

fail() {
    echo "error: $*" >&2
    exit 1
}

[ -f "$lock" ] || fail "EXTRA=$EXTRA has no lock; use EXTRA=cpu or EXTRA=gpu"
# The path is part of the stamp because a virtual environment works only where it was made, the list of packages
# because an editable install knows those that it saw.
wanted="$EXTRA $(cat "$lock" pyproject.toml requirements/install.sh | sha256sum | cut -d' ' -f1) $PWD $(echo */__init__.py)"
is_current() { [ -x "$venv/bin/genrm-rl" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }
is_current && exit 0

command -v "$PYTHON" >/dev/null ||
    fail "$PYTHON is not on this machine; install Python 3.11 or name it: make PYTHON=/path/to/python3.11"
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
3.11 | 3.12) ;;
3.13) echo "Python 3.13: there is no OpenRLHF for it, so nothing can be trained here; 3.11 and 3.12 can" >&2 ;;
*) fail "$PYTHON is Python $version; name one of 3.11 to 3.13: make PYTHON=/path/to/python3.11" ;;
esac
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$PYTHON has no venv module; install it (on Debian and Ubuntu: apt-get install python$version-venv)"
command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    fail "no C++ compiler, which vLLM needs on first use; install one (on Debian and Ubuntu: apt-get install g++)"
[ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
    fail "$PYTHON has no header files, which that compiler needs; install them (Debian, Ubuntu: apt-get install python$version-dev)"
[ "$EXTRA" != cpu ] || [ "$(uname -sm)" = "Linux x86_64" ] ||
    fail "the locks are for Linux on x86_64, this is $(uname -sm); EXTRA=cpu can't be installed here"

if command -v flock >/dev/null; then # two calls at once: the second waits and finds the work done
    mkdir -p .cache
    exec 9>.cache/install.lock
    flock 9
    is_current && exit 0
fi
rm -f "$stamp"
# A copied, moved or half-made environment, or one of another Python, is made anew.
[ "$("$venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.prefix), "%d.%d" % sys.version_info[:2])' \
    2>/dev/null)" = "$(realpath -m "$venv") $version" ] &&
    head -n 3 "$venv/bin/pip" 2>/dev/null | grep -qF "$PWD/$venv" || "$PYTHON" -m venv --clear "$venv"

# The same setuptools for the one source build (deepspeed) as for everything else; pip 25.3 renamed the variable.
constraint=$(mktemp) torch=$(mktemp) rest=$(mktemp)
trap 'rm -f "$constraint" "$torch" "$rest"' EXIT
grep -oE '^setuptools==[^ ]+' "$lock" >"$constraint"
sed -n '/^torch==/,/[^\\]$/p' "$lock" >"$torch" # its pin and hashes
cp "$lock" "$rest"
[ "$version" != 3.13 ] || sed -i '/^openrlhf==/,/[^\\]$/d' "$rest"
export PIP_BUILD_CONSTRAINT=$constraint PIP_CONSTRAINT=$constraint
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
install() { "$venv/bin/python" -m pip install --quiet --no-deps --no-compile "$@"; }

echo "setting up $venv from $lock (about 3 minutes)" >&2
if [ "$EXTRA" = cpu ] && [ "$version" != 3.11 ]; then
    # The lock has the hash of CPU torch for 3.11 alone. The CUDA build does as well, and needs packages of its own.
    sed -i '/^torch==/,/[^\\]$/d' "$rest"
    pin=$(grep -oE '^torch==[^ ]+' "$torch")
    if ! install --retries 1 --extra-index-url "$TORCH_CPU_INDEX" "$pin" 2>/dev/null; then
        echo "pip does not find $pin for Python $version; taking the CUDA build (5 GB)" >&2
        "$venv/bin/python" -m pip install --quiet --no-compile "${pin%+cpu}"
    fi
elif [ "$EXTRA" = cpu ] && ! install -r "$torch" 2>/dev/null; then
    # PyPI has only the CUDA build of torch for Linux.
    pin=$(grep -oE '^torch==[^ ]+' "$torch")
    echo "pip does not find $pin where it looks now; trying PyTorch's own index" >&2
    install --retries 1 --extra-index-url "$TORCH_CPU_INDEX" -r "$torch" ||
        fail "pip can't get the CPU build of torch ($pin; its words above); if it finds none, add PyTorch's CPU index, for example with" \
            "PIP_EXTRA_INDEX_URL=$TORCH_CPU_INDEX make setup"
fi
install --require-hashes -r "$rest"
unset PIP_BUILD_CONSTRAINT PIP_CONSTRAINT # without isolation the installed setuptools builds, and newer pips refuse the variable
install --no-build-isolation --editable .
# Byte code now and on all cores: else every process compiles it again where PYTHONDONTWRITEBYTECODE is set. A template
# among the packages that is no valid Python is no reason to stop.
"$venv/bin/python" -m compileall -q -j 0 -x '/(tests?|testing|rllib)/' "$("$venv/bin/python" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null || true

echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
