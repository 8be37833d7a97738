#!/usr/bin/env bash
# Many videos from a manifest, two of whose rows are broken on purpose: the others are made, the exit code is 3, and
# the results file says why.
#   bash examples/batch.sh [FACE [AUDIO [FOLDER]]]
# Give more options of `emotalk batch` with OPTIONS, the number of rows (24) with ROWS, the command with EMOTALK.
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
face=$(realpath "${1:-$examples/portrait.png}")
audio=$(realpath "${2:-$examples/speech.wav}")
folder=${3:-$examples/../out/batch}
rows=${ROWS:-24}
emotalk=(emotalk)
command -v emotalk >/dev/null || emotalk=("$examples/../.venv/bin/python" -m emotalk_cli)
[ -z "${EMOTALK:-}" ] || read -r -a emotalk <<<"$EMOTALK"
read -r -a options <<<"${OPTIONS:-}"
moods=(neutral happy sad angry surprised disgusted fearful "sadly surprised" "happily surprised" "barely contained rage"
  "quiet joy")

mkdir -p "$folder"
printf 'face\taudio\temotion\tintensity\tout\n' >"$folder/manifest.tsv"
for ((row = 1; row <= rows; row++)); do
  picture=$face intensity=$((1 + row % 3))
  [ "$row" -ne 2 ] || picture=no-such-face.png
  [ "$row" -ne "$rows" ] || intensity=11
  printf '%s\t%s\t%s\t%s\t%02d.mp4\n' "$picture" "$audio" "${moods[row % ${#moods[@]}]}" "$intensity" "$row"
done >>"$folder/manifest.tsv"

status=0
"${emotalk[@]}" batch "$folder/manifest.tsv" --resume "${options[@]}" || status=$?
echo "Exit code $status. Rows that failed, of all runs:"
grep '"status": "failed"' "$folder/manifest.tsv.results.jsonl" || true
exit "$status"
