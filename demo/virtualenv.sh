#!/bin/sh
# virtualenv.sh PYTHON DIR LOCK: a virtualenv that holds exactly what LOCK names, hashes checked,
# and this checkout on its path. Each thing that can be missing is one clear line.
set -eu
python=$1 dir=$2 lock=$3

command -v "$python" >/dev/null || {
    echo "make: $python not found: Nearcast needs Python 3.11 (Debian: apt-get install python3 python3-venv; another: make PYTHON=/path/to/python)" >&2
    exit 2
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "make: $python is $("$python" -V): Nearcast needs 3.11 or newer" >&2
    exit 2
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "make: $python cannot make a virtualenv (Debian: apt-get install python3-venv)" >&2
    exit 2
}

echo "Building $dir from $lock"
# One whose making was interrupted has a python and no pip.
"$dir/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$dir"
# A line for each package: some hundred MB come over the network, and who waits wants to see it.
{
    "$dir/bin/python" -m pip install --disable-pip-version-check --no-color --progress-bar off --require-hashes -r "$lock" ||
        echo "pip failed"
} | awk -v of="$(grep -c '==' "$lock")" '
    /^(Collecting|Processing) / { sub(".*/", "", $2); printf "  %2d of %d  %s\n", ++count, of, $2; fflush() }
    /^Installing collected/ { print "  installing them"; fflush() }
    /^pip failed$/ { failed = 1 }
    END { exit failed }' || {
    echo "make: not all that $lock names could be installed; why, pip says above" >&2
    exit 1
}
# A path file rather than an editable install: no build step, no network, and the commands
# below are the same entry points that the wheel installs.
"$dir/bin/python" - <<'PY'
import pathlib, sys, sysconfig, tomllib

purelib = pathlib.Path(sysconfig.get_path("purelib"))
(purelib / "nearcast.pth").write_text(str(pathlib.Path.cwd()) + "\n")
scripts = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["scripts"]
for name, target in scripts.items():
    module, function = target.split(":")
    script = pathlib.Path(sysconfig.get_path("scripts")) / name
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
PY
