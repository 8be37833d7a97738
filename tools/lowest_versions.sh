#!/usr/bin/env bash
# Do the bounds in pyproject.toml hold? Makes a fresh environment with the lowest (or highest) versions that they allow,
# runs the fast tests there, and removes it.
#   bash tools/lowest_versions.sh [PYTHON [lowest-direct|highest]]      (default: 3.10 lowest-direct)
# Needs uv. UV_ARGS: more arguments of `uv pip install`, such as an index. KEEP=1 keeps the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-3.10} resolution=${2:-lowest-direct}
venv=$(mktemp -d)/venv
[ -n "${KEEP:-}" ] || trap 'rm -rf "$(dirname "$venv")"' EXIT
read -r -a arguments <<<"${UV_ARGS:-}"

uv venv --quiet --python "$python" "$venv"
# The core with the bounds under test; what tests need beside it, at any version that fits.
uv pip install --quiet --python "$venv" --resolution "$resolution" "${arguments[@]}" . pytest hypothesis
uv pip list --quiet --python "$venv" | grep -iE '^(torch|numpy|numba|pillow|rich|typer|safetensors|imageio-ffmpeg|ftfy|regex) '
# only the installed copy, not the checkout
PYTHONSAFEPATH=1 OMP_NUM_THREADS=2 "$venv/bin/python" -m pytest -q -p no:cacheprovider -m "not slow and not soak" \
  --ignore-glob='*test_solver*' tests
echo "Python $python, $resolution: the fast tests pass."
