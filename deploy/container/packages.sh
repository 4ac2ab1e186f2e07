#!/bin/sh
# The image's Python packages, in the versions of the locks: packages.sh cpu | gpu [ENVIRONMENT…]; EXTRAS=japanese too
set -eu
cd "$(dirname "$0")/../.."
kind=$1
shift
export UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1
sh deploy/venv.sh "$kind" ${EXTRAS:-}
for environment in "$@"; do
    sh deploy/environment.sh "$environment"
done
# Installers have nothing to do in the image.
rm -f .venv/bin/uv .venv/bin/uvx .venv/bin/pip*
rm -rf .venv/lib/python*/site-packages/pip .venv/lib/python*/site-packages/pip-*.dist-info
find .venv -name '*.a' -delete
