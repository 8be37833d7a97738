#!/usr/bin/env bash
# Do the bounds in pyproject.toml hold? Makes a fresh environment with the lowest (or highest) versions that they allow,
# runs the fast tests there, with a few slow ones that lean on others' code, and removes it.
#   bash tools/lowest_versions.sh [PYTHON [lowest-direct|highest [TESTS ...]]]      (default: 3.10 lowest-direct tests)
# PYTHON may be a path. Needs uv. UV_ARGS: more arguments of `uv pip install`, such as an index. KEEP=1 keeps the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-3.10} resolution=${2:-lowest-direct} tests=("${@:3}")
venv=$(mktemp -d)/venv
[ -n "${KEEP:-}" ] || trap 'rm -rf "$(dirname "$venv")"' EXIT
unset PYTHONDONTWRITEBYTECODE # or each process compiles again what it imports
read -r -a arguments <<<"${UV_ARGS:-}"

uv venv --quiet --python "$python" "$venv"
uv pip install --quiet --python "$venv" --resolution "$resolution" "${arguments[@]}" '.[clip,landmarks,eval]'
uv pip freeze --quiet --python "$venv" | grep -v '^emotalk' >"$venv/held.txt"
# what only tests need, at any version that goes with those
uv pip install --quiet --python "$venv" --constraint "$venv/held.txt" "${arguments[@]}" \
  pytest pytest-xdist hypothesis librosa opencv-python-headless scikit-image scipy httpx fastapi python-multipart uvicorn tomli
grep -iE '^(torch|torchvision|numpy|numba|pillow|rich|typer|safetensors|imageio-ffmpeg|ftfy|regex|open.clip.torch|matplotlib)=' \
  "$venv/held.txt"
program=$venv/bin/python
[ -x "$program" ] || program=$venv/Scripts/python.exe  # Windows
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$program" -m pytest -q -n "${WORKERS:-2}" --dist loadfile -p no:cacheprovider -m "(not slow or versions) and not soak" "${tests[@]:-tests}"
echo "Python $python, $resolution: the tests pass."
