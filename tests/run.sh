#!/usr/bin/env bash
# Runs linter and tests. Arguments go to pytest. Uses .venv (VENV names another), or the python at hand if that
# has everything already, or makes .venv and installs EmoTalk there with its extra `dev`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

complete() {
  "$1" -c 'import face_alignment, hypothesis, imageio_ffmpeg, librosa, open_clip, pytest, rich, safetensors, torch, typer' \
    2>/dev/null && "$1" -m ruff --version >/dev/null 2>&1
}

python=$(command -v python3 || command -v python)
if [ -x "$venv/bin/python" ] || ! complete "$python"; then
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  python=$venv/bin/python
  complete "$python" || "$python" -m pip install --quiet '.[dev]'
fi
"$python" -m ruff check .
exec "$python" -m pytest -q --durations=10 "$@"
