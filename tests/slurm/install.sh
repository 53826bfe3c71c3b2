#!/usr/bin/env bash
# Install the packages that tests/slurm needs, where that is possible: as root, with apt-get. Never fails; says in one
# line why the SLURM test will be skipped.
set -uo pipefail
packages=(munge slurmctld slurmd slurm-client)

skip() { echo "SLURM test skipped: $*"; exit 0; }
complete() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null 2>&1 || return 1
    done
}

complete && exit 0
command -v apt-get >/dev/null 2>&1 || skip "${packages[*]} are not installed and there is no apt-get to install them."
[ "$(id -u)" = 0 ] || skip "not root; run 'apt-get install --no-install-recommends ${packages[*]}' once."

echo "Installing ${packages[*]} for the SLURM test."
log=$(mktemp)
# Debian starts the services it installs; the test starts its own, so a policy of this name keeps them down meanwhile.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=$policy
fi
trap 'rm -f "$log" $made' EXIT
export DEBIAN_FRONTEND=noninteractive
get() { timeout 300 apt-get -qq -o Acquire::Retries=1 -o DPkg::Lock::Timeout=60 "$@" >>"$log" 2>&1; }
get install -y --no-install-recommends "${packages[@]}" ||
    { get update && get install -y --no-install-recommends "${packages[@]}"; } ||
    skip "apt-get could not install ${packages[*]}: $(grep -m 1 '^E:' "$log" || tail -n 1 "$log")"
complete || skip "${packages[*]} were installed but not all of munged, slurmctld, slurmd and sbatch are there."
