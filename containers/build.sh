#!/bin/bash
# Build images into a folder: as SIF files from their .def, or as directories where `%post` cannot run.
#
# usage: containers/build.sh FOLDER [ISLAND…]      FOLDER: $SELFCODEALIGN_IMAGES, or ~/.cache/selfcodealign/images
#   DIRECTORIES=1    directories at once (root on Debian); the islands with models then share one
#   PIP="…"          the pip that fills directories
# Prints the digest of each image, as config key container_digests takes it.
set -euo pipefail

folder=${1:?usage: build.sh FOLDER [ISLAND…]}
here=$(cd "$(dirname "$0")" && pwd)
shift
if [ $# = 0 ]; then
    set -- data generate sandbox train evaluate
    # Those with an older Python come from their .def only.
    [ -n "${DIRECTORIES:-}" ] || set -- "$@" evaluate-ds1000 evaluate-classeval evaluate-bigcodebench
fi
mkdir -p "$folder"

if [ -z "${DIRECTORIES:-}" ]; then
    command -v apptainer >/dev/null || { echo "error: apptainer is not on PATH; install it, or load its module" >&2; exit 1; }
    # Some machines let nobody run %post, not even root; a definition of two lines shows it in seconds.
    try=$(mktemp -d)
    trap 'rm -rf "$try"' EXIT
    printf 'Bootstrap: docker\nFrom: busybox\n%%post\n    true\n' > "$try/try.def"
    apptainer build "$try/try.sif" "$try/try.def" > "$try/log" 2>&1 || {
        tail -3 "$try/log" >&2
        echo "error: apptainer cannot build here (above: its own words): build on another machine and copy the .sif files to $folder, or, as root on Debian, make directories: make images DIRECTORIES=1" >&2
        exit 1
    }
fi

shared=()
for island; do
    if [ -z "${DIRECTORIES:-}" ]; then
        (cd "$here/.." && apptainer build --force "$folder/$island.sif" "containers/$island.def")
    else
        case $island in
            data | generate | train | evaluate) shared+=("$island") ;;
            *) bash "$here/build_directory.sh" "$island" "$folder/$island" ;;
        esac
    fi
done
if [ ${#shared[@]} -gt 0 ]; then
    name=$(IFS=-; echo "${shared[*]}")
    bash "$here/build_directory.sh" "$(IFS=,; echo "${shared[*]}")" "$folder/$name"
    for island in "${shared[@]}"; do [ "$island" = "$name" ] || ln -sfn "$name" "$folder/$island"; done
fi
for island; do
    image=$folder/$island
    [ -n "${DIRECTORIES:-}" ] || image+=.sif
    PYTHONPATH=$here/.. python3 -c "import sys; from selfcodealign.images import digest; print(f'  {sys.argv[2]}: {digest(sys.argv[1])}')" "$image" "$island"
done
