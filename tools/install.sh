# Sourced by scripts that need a Python with EmoTalk: `installed VENV EXTRAS` prints nothing and sets `python`.
#
# Makes VENV where there is none, installs this checkout there (again after each change of pyproject.toml or of the
# commit), and says what comes and how large it is. Where no NVIDIA driver is found it asks PyTorch's index of CPU
# builds first (200 MB instead of 2.5 GB), and the default one where that cannot be reached.

installed() {
  local venv=$1 extras=$2 root state found
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  python=$venv/bin/python
  if [ ! -x "$python" ]; then
    found=$(command -v python3 || command -v python) || { echo "Python 3.10 or newer is needed." >&2; return 1; }
    "$found" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      { echo "Python 3.10 or newer is needed; $found is older." >&2; return 1; }
    "$found" -m venv "$venv"
  fi
  state="$extras $(cksum <"$root/pyproject.toml") $(git -C "$root" rev-parse HEAD 2>/dev/null || true)"
  [ "$(cat "$venv/emotalk-installed" 2>/dev/null)" != "$state" ] || return 0
  if ! "$python" -c 'import torch' 2>/dev/null; then
    if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; then
      echo "Installing EmoTalk into $venv: about 6 GB with CUDA's libraries, 5 to 20 minutes." >&2
    else
      echo "Installing EmoTalk into $venv: about 1.2 GB, 2 to 10 minutes (no NVIDIA driver: the CPU build of PyTorch)." >&2
      "$python" -m pip install --index-url "${EMOTALK_CPU_INDEX:-https://download.pytorch.org/whl/cpu}" \
        --timeout 15 --retries 1 torch ||
        echo "That index cannot be reached; the default one may bring CUDA's libraries (6 GB in all)." >&2
    fi
  else
    echo "Updating EmoTalk in $venv." >&2
  fi
  "$python" -m pip install --upgrade-strategy only-if-needed "$root${extras:+[$extras]}" || return 1
  printf '%s\n' "$state" >"$venv/emotalk-installed"
}
