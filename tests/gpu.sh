#!/usr/bin/env bash
# What needs a graphics card, in under five minutes: tests that are skipped without one, speed, and the paper from its
# data set to its tables on that card. Needs the repository and its wheels (pip install '.[dev]'), no other data.
#
#   bash tests/gpu.sh [bench|paper] [FOLDER]    # of the logs and figures; default: both parts, a temporary one
#
# A part that fails, or hangs, does not stop the others; the exit code says whether one did, a table at the end which.
# EMOTALK_TEST_DEVICE=cpu tries the script itself, with less of everything.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
part=all
case "${1:-}" in bench | paper) part="$1" && shift ;; esac
out="$(realpath -m "${1:-$(mktemp -d)}")"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" EMOTALK_TEST_DEVICE="${EMOTALK_TEST_DEVICE:-cuda}" COLUMNS=120
python="$(command -v python3 || command -v python)"
device="$EMOTALK_TEST_DEVICE" end=$((SECONDS + 285))
if [ "$device" = cpu ]; then end=$((SECONDS + 1200)); fi
mkdir -p "$out" && rm -f "$out"/*.log "$out"/frames-*.json "$out/steps"

step() { # NAME SECONDS COMMAND...: bounded, its output in NAME.log, a line of how it went in `steps`
  local name="$1" limit="$2" begin=$SECONDS code
  shift 2
  limit=$((limit < end - SECONDS ? limit : end - SECONDS))
  if [ "$limit" -lt 5 ]; then code=124; else
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
  fi
  echo "$name $code $((SECONDS - begin))" | tee -a "$out/steps"
}

bench() { # graphs by themselves: what they cannot do costs the others nothing
  local generators how="--batch 1,16 --size 512"
  local all=(geometry,hef:eager hef:graphs)
  if [ "$device" = cpu ]; then all=(geometry,hef) how="--batch 1 --size 256"; fi
  for generators in "${all[@]}"; do
    # shellcheck disable=SC2086
    step "frames-${generators//[,:]/-}" 100 "$python" -m emotalk_cli eval bench --device "$device" $how \
      --generator "$generators" --json "$out/frames-${generators//[,:]/-}.json"
  done
}

paper() { # the slowest, beside the card's own tests
  step paper 420 "$python" -m pytest -p no:cacheprovider --tb=short --durations=5 tests/test_paper.py &
  step card 240 "$python" -m pytest -p no:cacheprovider --tb=short --durations=5 tests/test_card.py tests/test_hef.py \
    -k "card or cuda"
  wait
}

summary() { # short, and last: all that is left of a long output
  "$python" - "$out" <<'PYTHON'
import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
steps = [line.split() for line in (out / "steps").read_text().splitlines()]
for name, code, _ in steps:
    if code != "0" and (log := out / f"{name}.log").exists():
        print(f"\n== the end of {name}.log", log.read_text(errors="replace")[-2500:], sep="\n")
rows = [row for path in sorted(out.glob("frames-*.json")) for row in json.loads(path.read_text())["making"]]
for row in rows:
    if row["kernels"]:
        print(f"\n== {row['generator']}, {row['batch']} at once, ms a frame by kernel, then the driver's calls a frame")
        print(*(f"{ms:7.3f} {name[:70]}" for name, ms in list(row["kernels"].items())[:6]), sep="\n")
        print(", ".join(f"{name} {count:.2f}" for name, count in row["calls"].items()))
print("\n== frames, each: ms from speech to pixels, ms that the card works, kernels, launches, waits; GB of the card")
columns = {"milliseconds": "ms", "busy_milliseconds": "busy ms"} | {
    name: name for name in ("kernel_count", "launches", "waits", "memory_gb")
}
print(f"{'':14} {'at once':>7}", *(f"{name:>12}" for name in columns.values()))
for row in rows:
    figures = (f"{row[name]:12.2f}" for name in columns)
    print(f"{row['generator']:14} {row['batch']:7}", *figures, row["note"])
print("\n== parts: seconds, and what failed")
for name, code, seconds in steps:
    log = out / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    failed = [line[:150] for line in lines if line.startswith(("FAILED", "ERROR"))]
    said = [line for line in lines if " passed" in line or " failed" in line][-1:] if log.exists() else []
    how = "ok" if code == "0" else "out of time" if code == "124" else f"failed ({code})"
    print(f"{name:22} {seconds:>5} s {how} {' '.join(said).strip('= ')}")
    print(*(f"    {line}" for line in failed), sep="\n", end="\n" if failed else "")
PYTHON
}

main() {
  "$python" -c "
import importlib.util, platform, torch
wanted = 'imageio_ffmpeg', 'matplotlib', 'numba', 'open_clip', 'pytest', 'sklearn', 'torchmetrics'
missing = [name for name in wanted if importlib.util.find_spec(name) is None]
device = torch.device('$device')
if device.type == 'cuda':
    assert torch.cuda.is_available(), 'There is no graphics card here; the tests of the CPU are: pytest'
    print(torch.cuda.get_device_name(device), end=' ')
print('torch', torch.__version__, 'python', platform.python_version(), *(f'without {name}' for name in missing))" || return 2
  [ "$part" = paper ] || bench
  [ "$part" = bench ] || paper
  summary
  ! grep -vq '^[^ ]* 0 ' "$out/steps"
}

main 2>&1 | tee "$out/gpu-$part.txt"
code="${PIPESTATUS[0]}"
echo "$out"
exit "$code"
