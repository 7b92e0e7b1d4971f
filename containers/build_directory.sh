#!/bin/bash
# Build the image of an island as a directory, which Apptainer runs as it is: faster to start than a SIF, and possible
# where `%post` is not. Debian comes by mmdebstrap, its packages from the island's .def and the Python packages from its
# lock file, so that both ways to an image hold the same.
#
# usage: containers/build_directory.sh ISLAND[,ISLAND…] DIRECTORY  (root; Debian's python3.11, so a 3.11 pip on the host)
#   PIP="python -m pip"     the pip to install with
# Several islands share a directory where their lock files agree: one copy of torch instead of three.
set -euo pipefail

islands=${1:?usage: build_directory.sh ISLAND[,ISLAND…] DIRECTORY}
target=${2:?usage: build_directory.sh ISLAND[,ISLAND…] DIRECTORY}
root=$(cd "$(dirname "$0")/.." && pwd)
pip=${PIP:-python3 -m pip}

locks=() wanted=() system=python3,bubblewrap,ca-certificates
for island in ${islands//,/ }; do
    lock=$root/envs/$island.txt definition=$root/containers/$island.def
    [ -f "$lock" ] && [ -f "$definition" ] || { echo "error: there is no island $island: it needs $lock and $definition" >&2; exit 1; }
    ! grep -q /opt/pinned "$definition" || { echo "error: $island pins an older Python, which only its .def can bring: apptainer build $island.sif $definition" >&2; exit 1; }
    locks+=("$lock")
    wanted+=(-r "$lock")
    packages=$(sed -n 's/^ *apt-get install .*--no-install-recommends //p' "$definition")
    system+=,${packages// /,}
    # pyright needs Node, which a wheel brings.
    if grep -q '^pyright==' "$lock"; then wanted+=("pyright[nodejs]"); fi
done
command -v mmdebstrap >/dev/null || { echo "error: mmdebstrap is not installed; type: apt-get install mmdebstrap" >&2; exit 1; }
if [ -f "$target/.island" ] && cmp -s "$target/.island" <(cat "$0" "${locks[@]}"); then
    echo "$target is up to date"
    exit 0
fi

# The directory appears only when it is complete.
part=$target.part
rm -rf "$part"
mkdir -p "$part"
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
mmdebstrap --quiet --variant=minbase --include="$system" bookworm - "${mirror:-http://deb.debian.org/debian}" |
    tar -x -C "$part" --exclude='./dev/*' --numeric-owner
ln -s python3 "$part/usr/bin/python"
packages=$part/usr/local/lib/python3.11/dist-packages
mkdir -p "$packages"
$pip install --quiet --disable-pip-version-check --no-compile --target "$packages" "${wanted[@]}"
rm -rf "$part"/var/cache/apt "$part"/var/lib/apt/lists
chmod -R a+rX "$packages"
cat "$0" "${locks[@]}" > "$part/.island"
rm -rf "$target"
mv "$part" "$target"
echo "built $target"
