#!/usr/bin/env bash
# A Python environment with links, and pip install from a wheel; without an index.
. "$(dirname "$0")/common.sh"

PYTHON=/usr/bin/python3

# wheel FOLDER: a wheel with modules and a program.
wheel() {
  (cd "$1" && MODULES=$((30 * SCALE)) $PYTHON - <<'END'
import base64, hashlib, os, zipfile
files = {"greeting/__init__.py": 'def main():\n    print("hello from the wheel")\n'}
for number in range(int(os.environ["MODULES"])):
    files[f"greeting/part_{number}.py"] = f"number = {number}\n"
about = "greeting-1.0.dist-info/"
files[about + "METADATA"] = "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
files[about + "WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
files[about + "entry_points.txt"] = "[console_scripts]\ngreet = greeting:main\n"
record = ""
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(text)}\n"
files[about + "RECORD"] = record + about + "RECORD,,\n"
with zipfile.ZipFile("greeting-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
END
  )
}

work() {
  local here=$1 local=$2
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1 PIP_CACHE_DIR=$local/cache
  wheel "$local"
  $PYTHON -m venv "$here/venv"
  [ -L "$here/venv/bin/python" ] || fails "venv made no link to the interpreter"
  "$here/venv/bin/pip" install --quiet "$local/greeting-1.0-py3-none-any.whl"
  [ "$("$here/venv/bin/greet")" = "hello from the wheel" ] || fails "the installed program said something else"
  "$here/venv/bin/python" -c 'import greeting.part_3; assert greeting.part_3.number == 3'
  "$here/venv/bin/pip" check
  mkdir "$local/unpacked"
  $PYTHON -m zipfile -e "$local/greeting-1.0-py3-none-any.whl" "$local/unpacked"
  diff -r -x __pycache__ "$local/unpacked/greeting" "$(echo "$here"/venv/lib/python3*/site-packages/greeting)"
  "$here/venv/bin/pip" uninstall --quiet --yes greeting
  [ ! -e "$here/venv/bin/greet" ] || fails "pip has not removed the program"
  "$here/venv/bin/pip" install --quiet "$local/greeting-1.0-py3-none-any.whl"
}

check() {
  same_files "$2/unpacked/greeting" "$(echo "$1"/venv/lib/python3*/site-packages/greeting)"
}

start "$@"
