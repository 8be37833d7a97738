#!/usr/bin/env bash
# Everything that is checked before a change is kept: linter, format, types, imports, tests, in this order.
#   bash tests/run.sh [--fast|--soak] [arguments of pytest]
# --fast leaves out tests that load models, start commands or train (about a minute); --soak runs only the long ones
# that look for leaks and rare failures. Tests run in two processes of one thread each, a file at a time (WORKERS=0: in
# this one). Uses .venv (VENV names another), or the python at hand if that has everything
# already, or makes .venv and installs EmoTalk there with its extra `dev`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
unset PYTHONDONTWRITEBYTECODE # or each of a hundred processes compiles again what it imports

marked="not soak"
case "${1:-}" in
--fast) marked="not slow and not soak" && shift ;;
--soak) marked="soak" && shift ;;
esac

complete() {
  "$1" -c 'import c2pa, face_alignment, hypothesis, imageio_ffmpeg, librosa, fastapi, matplotlib, mypy, open_clip, playwright, pytest, regex, rich, ruff, safetensors, torch, torchmetrics, typer, xdist' \
    2>/dev/null
}

python=$(command -v python3 || command -v python || true)
if [ -n "${VENV:-}" ] || [ -x .venv/bin/python ] || ! complete "$python"; then
  # shellcheck source=tools/install.sh
  source tools/install.sh
  installed "${VENV:-.venv}" dev
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
[ "$marked" = soak ] || "$python" -m mypy
"$python" tools/check_layers.py
if [ "$marked" = soak ] && [ $# = 0 ]; then # on two cores at a time: parsers are fuzzed beside the rest, half an hour
  "$python" -m pytest -q -m soak tests/soak/test_fuzzing.py &
  others=$!
  code=0
  "$python" -m pytest -q --durations=10 -m soak --ignore=tests/soak/test_fuzzing.py || code=$?
  wait "$others" || code=$?
  exit "$code"
fi
# in the order of their names, or the longest file might come last and alone
exec "$python" -m pytest -q --durations=10 -n "${WORKERS:-2}" --dist loadfile --no-loadscope-reorder -m "$marked" "$@"
