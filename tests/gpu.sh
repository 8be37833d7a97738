#!/usr/bin/env bash
# What needs a graphics card, in under five minutes: tests that are skipped without one, the paper from its data set to
# its tables on that card, and speed. Needs the repository and its wheels (pip install '.[dev]'), no other data.
#
#   bash tests/gpu.sh [FOLDER]    # of the log and figures; default: a temporary one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-$(mktemp -d)}"
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python - <<'PYTHON'
import torch
assert torch.cuda.is_available(), "There is no graphics card here; the tests of the CPU are: pytest"
print(torch.cuda.get_device_name(), "torch", torch.__version__)
PYTHON
{
  EMOTALK_TEST_DEVICE=cuda python -m pytest -q tests/test_paper.py
  python -m pytest -q tests/test_hef.py -k "card or cuda or graph"
  python -m emotalk_cli eval bench --device cuda --generator hef,hef:graphs,geometry --repeats 3 --json "$out/bench.json"
} 2>&1 | tee "$out/gpu.log"
echo "$out"
