#!/usr/bin/env bash
# The same face and speech in many moods, one video and one contact sheet each.
#   bash examples/emotions.sh [FACE [AUDIO [FOLDER]]]
# Choose other moods with EMOTIONS, one a line; give more options of `emotalk generate` with OPTIONS.
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
face=${1:-$examples/portrait.png}
audio=${2:-$examples/speech.wav}
folder=${3:-$examples/../out/emotions}
emotions=${EMOTIONS:-"neutral
happy
sad
angry
surprised
disgusted
fearful
sadly surprised
happy:0.5+surprised:0.5"}
emotalk=(emotalk)
command -v emotalk >/dev/null || emotalk=("$examples/../.venv/bin/python" -m emotalk_cli)
read -r -a options <<<"${OPTIONS:-}"

mkdir -p "$folder"
failed=0
while IFS= read -r emotion; do
  [ -n "$emotion" ] || continue
  name=${emotion//[^[:alnum:]]/-}
  echo "== $emotion"
  "${emotalk[@]}" generate --face "$face" --audio "$audio" --emotion "$emotion" --intensity 3 \
    --out "$folder/$name.mp4" --preview "$folder/$name.png" "${options[@]}" </dev/null || failed=$((failed + 1))
done <<<"$emotions"
[ "$failed" -eq 0 ] || { echo "$failed failed." >&2; exit 1; }
echo "The videos are in $folder."
