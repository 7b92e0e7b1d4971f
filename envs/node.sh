# pyright runs on Node 20 or newer; where there is none, a wheel brings one into the environment.
set -eu

version=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${version:-0}" -lt 20 ]; then
    pyright=$(sed -n 's/^pyright==//p' envs/data.txt)
    .venv/bin/pip install --quiet --disable-pip-version-check "pyright[nodejs]==$pyright"
fi
