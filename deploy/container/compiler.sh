#!/bin/sh
# What building needs and the image has not: for packages without a wheel.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends g++ python3-dev python3-venv
