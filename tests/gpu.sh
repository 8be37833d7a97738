#!/usr/bin/env bash
# What needs a graphics card, in under five minutes: speed, tests that are skipped without one, and the paper from its
# data set to its tables on that card. Needs the repository and its wheels (pip install '.[dev]'), no other data.
#
#   bash tests/gpu.sh [bench|paper] [FOLDER]    # of the log and figures; default: both parts, a temporary one
#
# A part that fails, or hangs for minutes, does not stop the others; the exit code says whether one did.
# EMOTALK_TEST_DEVICE=cpu tries the script itself, with less of everything.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
part=all
case "${1:-}" in bench | paper) part="$1" && shift ;; esac
out="$(realpath -m "${1:-$(mktemp -d)}")"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" EMOTALK_TEST_DEVICE="${EMOTALK_TEST_DEVICE:-cuda}"
python="$(command -v python3 || command -v python)"
device="$EMOTALK_TEST_DEVICE" failed=()
mkdir -p "$out"

step() { # NAME SECONDS COMMAND...: one part, bounded, its output in the log
  local name="$1" limit="$2" begin=$SECONDS
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@" 2>&1 || failed+=("$name")
  echo "== $name: $((SECONDS - begin)) s"
}

bench() { # each generator by itself: what one does not finish, or cannot do, costs the others nothing
  local generator generators="geometry hef hef:graphs" how="--batch 1,16 --size 512"
  if [ "$device" = cpu ]; then generators="geometry hef" how="--batch 1 --size 256"; fi
  for generator in $generators; do
    # shellcheck disable=SC2086
    step "frames of $generator" 240 "$python" -m emotalk_cli eval bench --device "$device" --generator "$generator" $how \
      --json "$out/frames-${generator/:/-}.json"
  done
}

paper() {
  step card 240 "$python" -m pytest -q tests/test_card.py tests/test_hef.py -k "card or cuda"
  step paper 420 "$python" -m pytest -q --durations=5 tests/test_paper.py
}

main() {
  "$python" -c "
import torch
device = torch.device('$device')
if device.type == 'cuda':
    assert torch.cuda.is_available(), 'There is no graphics card here; the tests of the CPU are: pytest'
    print(torch.cuda.get_device_name(device), end=' ')
print('torch', torch.__version__)" || return 2
  [ "$part" = paper ] || bench
  [ "$part" = bench ] || paper
  echo "== failed: ${failed[*]:-none}"
  [ "${#failed[@]}" = 0 ]
}

main 2>&1 | tee "$out/gpu-$part.log"
code="${PIPESTATUS[0]}"
echo "$out"
exit "$code"
