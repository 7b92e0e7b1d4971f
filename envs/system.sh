# Programs that pip cannot install: bubblewrap isolates the programs that a model writes, where Apptainer is missing.
set -eu

if command -v bwrap >/dev/null || command -v apptainer >/dev/null; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends bubblewrap >/dev/null
else
    echo "error: neither apptainer nor bubblewrap is installed; type: sudo apt-get install bubblewrap" >&2
    exit 1
fi
