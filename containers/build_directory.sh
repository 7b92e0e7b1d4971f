#!/bin/bash
# Build the image of an island as a directory, which Apptainer runs as it is: faster to start than a SIF, and possible
# where `%post` is not. Debian comes by mmdebstrap, the Python packages from the island's lock file.
#
# usage: containers/build_directory.sh ISLAND DIRECTORY      (root; Debian's python3.11, so a 3.11 pip on the host)
#   EXTRA=git,bubblewrap    more Debian packages, separated by commas
#   PIP="python -m pip"     the pip to install with
set -euo pipefail

island=${1:?usage: build_directory.sh ISLAND DIRECTORY}
target=${2:?usage: build_directory.sh ISLAND DIRECTORY}
root=$(cd "$(dirname "$0")/.." && pwd)
lock=$root/envs/$island.txt
pip=${PIP:-python3 -m pip}

[ -f "$lock" ] || { echo "error: there is no lock file $lock; the islands are the .txt files of envs/" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "error: mmdebstrap is not installed; type: apt-get install mmdebstrap" >&2; exit 1; }
if [ -f "$target/.island" ] && cmp -s "$target/.island" "$lock"; then
    echo "$target is up to date"
    exit 0
fi

# The directory appears only when it is complete.
part=$target.part
rm -rf "$part"
mkdir -p "$part"
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
mmdebstrap --quiet --variant=minbase --include="python3,bubblewrap${EXTRA:+,$EXTRA}" bookworm - "${mirror:-http://deb.debian.org/debian}" |
    tar -x -C "$part" --exclude='./dev/*' --numeric-owner
torch=$(sed -n 's/^torch==/torch==/p' "$lock")
packages=$part/usr/local/lib/python3.11/dist-packages
mkdir -p "$packages"
# torch first and alone, so that nothing else chooses another build of it.
[ -z "$torch" ] || $pip install --quiet --disable-pip-version-check --no-compile --target "$packages" "$torch"
$pip install --quiet --disable-pip-version-check --no-compile --upgrade --target "$packages" -r "$lock"
rm -rf "$part"/var/cache/apt "$part"/var/lib/apt/lists
chmod -R a+rX "$packages"
cp "$lock" "$part/.island"
rm -rf "$target"
mv "$part" "$target"
echo "built $target"
