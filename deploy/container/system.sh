#!/bin/sh
# What the image has of Debian, and whom it runs as: system.sh UID GID
set -eu
uid=$1 gid=$2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates python3 tini
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/log/apt /var/log/dpkg.log
groupadd --gid "$gid" atelier
useradd --uid "$uid" --gid "$gid" --home-dir /var/lib/atelier --no-create-home --shell /usr/sbin/nologin atelier
# Anybody may write here: `docker run --user` names an account that is not known yet, and new volumes begin as copies.
install -d -m 1777 /var/lib/atelier /var/cache/atelier
install -d -m 755 /opt/atelier
