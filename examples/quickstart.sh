#!/usr/bin/env bash
# From nothing to a talking video of the shipped portrait: makes .venv, installs EmoTalk, renders.
#   bash examples/quickstart.sh [EMOTION]      (default: happy)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
emotion=${1:-happy}
# shellcheck source=tools/install.sh
source "$root/tools/install.sh"
installed "${VENV:-$root/.venv}" ""

mkdir -p "$root/out"
"$python" -m emotalk_cli generate "$root/examples/portrait.png" "$root/examples/speech.wav" "$emotion" \
  --out "$root/out/quickstart.mp4" --preview "$root/out/quickstart.png"
echo "Watch $root/out/quickstart.mp4; eight of its moments are in $root/out/quickstart.png."
