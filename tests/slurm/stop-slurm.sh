#!/usr/bin/env bash
# Stop what start-slurm.sh STATE started, by the pids it noted, its jobs first. The folder stays, for its logs.
#   stop-slurm.sh STATE
set -uo pipefail

[ $# = 1 ] && [ -d "$1" ] || { echo "stop-slurm: say which folder holds the state: stop-slurm.sh STATE" >&2; exit 1; }
STATE=$(cd "$1" && pwd)
RUN=$STATE/run
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$STATE/etc/slurm.conf

ours() { # PID: it runs, and carries our folder in its command line or environment
    [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null &&
        grep -zqsF "$STATE" "/proc/$1/cmdline" "/proc/$1/environ"
}
noted() { cat "$RUN/$1.pid" 2>/dev/null; }

if ours "$(noted slurmctld)"; then
    timeout 20 scancel --user="$(id -un)" 2>/dev/null
    for _ in $(seq 1 100); do
        [ -n "$(timeout 10 squeue -h -t PD,R,S,CG,CF -o %A)" ] || break
        sleep 0.1
    done
fi

stop_all() { # NAME...: TERM to each, then wait, then KILL
    local name pid
    for name in "$@"; do
        pid=$(noted "$name")
        ! ours "$pid" || kill -TERM "$pid"
    done
    for name in "$@"; do
        pid=$(noted "$name")
        for _ in $(seq 1 150); do
            ours "$pid" || break
            sleep 0.1
        done
        ! ours "$pid" || kill -KILL "$pid"
        rm -f "$RUN/$name.pid"
    done
}
workers=()
for file in "$RUN"/slurmd-*.pid; do
    case $file in *.self.pid) ;; *) [ ! -e "$file" ] || workers+=("$(basename "$file" .pid)") ;; esac
done
stop_all "${workers[@]}"
stop_all slurmctld
stop_all munged
