#!/usr/bin/env bash
# The installed set as constraints. torch is held to its minor version only, so that builds for any device match,
# and Triton to none, since each build for CUDA brings its own;
# tensorflow-cpu, which few platforms have, stands for tensorflow too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cat <<'EOF'
# One set that installs together and is tested together; `make constraints` writes this file from the environment.
EOF
"${VENV:-.venv}/bin/python" -m pip --disable-pip-version-check freeze --all --exclude pip --exclude triton --exclude-editable |
    sed -E -e 's/^torch==([0-9]+\.[0-9]+)\..*/torch==\1.*/' -e 's/^([A-Za-z0-9_.-]+==[^+]*)\+.*/\1/' \
        -e 's/^tensorflow_cpu(==.*)/tensorflow\1\n&/'
