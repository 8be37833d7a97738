#!/usr/bin/env bash
# From nothing to a talking video of the shipped portrait: makes .venv, installs EmoTalk, renders.
#   bash examples/quickstart.sh [EMOTION]      (default: happy)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
emotion=${1:-happy}
venv=${VENV:-$root/.venv}

python=$(command -v python3 || command -v python) || { echo "Python 3.10 or newer is needed." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed." >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -c 'import emotalk_cli' 2>/dev/null && [ -x "$venv/bin/emotalk" ] ||
  "$venv/bin/python" -m pip install --quiet "$root"

mkdir -p "$root/out"
"$venv/bin/emotalk" generate --face "$root/examples/portrait.png" --audio "$root/examples/speech.wav" \
  --emotion "$emotion" --out "$root/out/quickstart.mp4" --preview "$root/out/quickstart.png"
echo "Watch $root/out/quickstart.mp4; eight of its moments are in $root/out/quickstart.png."
