#!/usr/bin/env bash
# Start a real SLURM on this machine for tests: munged, slurmctld and one slurmd per emulated node, every socket on
# 127.0.0.1, all state in one folder, no systemd, no accounting database. Written for Debian 12 (SLURM 22.05); on it:
#   apt-get install --no-install-recommends munge slurmctld slurmd slurm-client
#
#   start-slurm.sh STATE     a folder for state and logs, without spaces
#   export SLURM_CONF=STATE/etc/slurm.conf PATH=STATE/bin:$PATH
#
# A second call starts what does not run. stop-slurm.sh STATE stops it. No file outside STATE is written.
#
# Environment: SLURM_NODES=2, each with SLURM_CPUS=2, SLURM_MEM_MB=64000 and SLURM_GPUS=2, which need not exist;
# SLURM_BASE_PORT=26817; SLURM_WAIT_S=60 to come up.
set -euo pipefail

die() { echo "start-slurm: $*" >&2; exit 1; }
[ $# = 1 ] || die "say where to keep the state: start-slurm.sh STATE"
case $1 in *[[:space:]]*) die "the folder '$1' has a space in its name; choose another" ;; esac
mkdir -p "$1"
STATE=$(cd "$1" && pwd)
NODES=${SLURM_NODES:-2} CPUS=${SLURM_CPUS:-2} MEM=${SLURM_MEM_MB:-64000} GPUS=${SLURM_GPUS:-2}
PORT=${SLURM_BASE_PORT:-26817} WAIT=${SLURM_WAIT_S:-60}
ME=$(id -un) HOST=$(hostname -s 2>/dev/null || hostname)
RUN=$STATE/run LOG=$STATE/log
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$STATE/etc/slurm.conf

missing=()
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
[ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]} (Debian: munge slurmctld slurmd slurm-client)"

# slurmctld wants SlurmctldHost to be this machine's name, and NoInAddrAny binds the daemons to what the name resolves to.
address=$(getent ahostsv4 "$HOST" 2>/dev/null | awk 'NR == 1 {print $1}' || true)
case $address in
    127.*) ;;
    *) die "the host name $HOST resolves to '$address', not to 127.x; put '127.0.0.1 $HOST' first in /etc/hosts" ;;
esac

# ---------------------------------------------------------------- processes, by noted pid
alive() { # NAME: does the process that we noted under this name still run, and is it ours?
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
    # Without a pipe: grep ends at the first match, and what still writes into the pipe would fail for it.
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -zqsF "$STATE" "/proc/$pid/cmdline" "/proc/$pid/environ"
}
spawn() { # NAME COMMAND...: start in the background, detached, and note the pid
    local name=$1
    shift
    setsid "$@" </dev/null >>"$LOG/$name.out" 2>&1 &
    echo $! >"$RUN/$name.pid"
    disown
}
wait_for() { # NAME COMMAND...: poll until COMMAND succeeds, as long as the process NAME lives
    local name=$1 end=$((SECONDS + WAIT))
    shift
    until "$@" >/dev/null 2>"$LOG/probe.err"; do
        alive "$name" || { tail -n 15 "$LOG/$name.out" >&2; die "$name died (logs: $LOG)"; }
        [ $SECONDS -lt $end ] || { tail -n 15 "$LOG/$name.out" "$LOG/probe.err" >&2; die "$name is not ready in ${WAIT} s"; }
        sleep 0.1
    done
}
port_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

umask 022
mkdir -p "$RUN" "$LOG" "$STATE/etc" "$STATE/bin" "$STATE/ctld" "$STATE/spool" "$STATE/dev"
mkdir -p -m 0755 "$STATE/munge"

# ---------------------------------------------------------------- configuration
node_lines='' gres_lines='' names=()
for n in $(seq 1 "$NODES"); do
    names+=("node$n")
    node_lines+="NodeName=node$n NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 10 + n)) CPUs=$CPUS Boards=1 "
    node_lines+="SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM Gres=gpu:$GPUS State=UNKNOWN"$'\n'
    for i in $(seq 0 $((GPUS - 1))); do
        # A GPU is a device file of its own; where none can be made a plain file is counted, but not named to the job.
        file=$STATE/dev/nvidia$(((n - 1) * GPUS + i))
        [ -e "$file" ] || mknod -m 666 "$file" c 1 3 2>/dev/null || : >"$file"
        gres_lines+="NodeName=node$n Name=gpu File=$file"$'\n'
    done
done
all=$(IFS=,; echo "${names[*]}")
cat >"$STATE/etc/slurm.conf.new" <<CONF
ClusterName=dmin
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$STATE/munge/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$RUN/slurmctld.self.pid
SlurmdPidFile=$RUN/slurmd-%n.self.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/slurmd-%n.log
# no cgroups, pinning, MPI, mail or accounting
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$LOG/jobs.log
JobAcctGatherType=jobacct_gather/none
# believe this file, not the hardware
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=1
ReturnToService=2
SlurmdTimeout=60
KillWait=5
# seconds that squeue shows a job that has ended
MinJobAge=7200
${node_lines}PartitionName=main Nodes=$all Default=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
CONF
if alive slurmctld && ! cmp -s "$STATE/etc/slurm.conf.new" "$STATE/etc/slurm.conf"; then
    die "it runs with another configuration; stop it first (stop-slurm.sh $STATE)"
fi
mv "$STATE/etc/slurm.conf.new" "$STATE/etc/slurm.conf"
printf '%s' "$gres_lines" >"$STATE/etc/gres.conf"

# Inside a job the Snakemake plugin drops SLURM_CONF, which only a cluster without /etc/slurm/slurm.conf notices.
srun=$(PATH=${PATH//$STATE\/bin:/} command -v srun)
printf '#!/bin/sh\nexport SLURM_CONF=%s\nexec %s "$@"\n' "$SLURM_CONF" "$srun" >"$STATE/bin/srun"
chmod 755 "$STATE/bin/srun"

# ---------------------------------------------------------------- munged, slurmctld, slurmd
if ! alive munged; then
    key=$STATE/munge/munge.key
    [ -s "$key" ] || (umask 077; dd if=/dev/urandom of="$key" bs=1 count=1024 status=none)
    chmod 400 "$key"
    rm -f "$STATE/munge/munge.socket"*
    spawn munged munged --foreground --key-file="$key" --socket="$STATE/munge/munge.socket" \
        --pid-file="$STATE/munge/munged.pid" --log-file="$LOG/munged.log" \
        --seed-file="$STATE/munge/munged.seed" --num-threads=4
fi
munge_ready() { munge -n -S "$STATE/munge/munge.socket" | unmunge -S "$STATE/munge/munge.socket"; }
wait_for munged munge_ready
if ! alive slurmctld; then
    ! port_busy "$PORT" || die "port $PORT is taken; choose another with SLURM_BASE_PORT"
    spawn slurmctld slurmctld -D -f "$SLURM_CONF"
fi
controller_ready() { port_busy "$PORT" && timeout 5 scontrol ping </dev/null; }
wait_for slurmctld controller_ready
for name in "${names[@]}"; do
    mkdir -p "$STATE/spool/$name"
    alive "slurmd-$name" || spawn "slurmd-$name" slurmd -D -N "$name" -f "$SLURM_CONF"
done
nodes_ready() { [ "$(sinfo -h -N -o %T | grep -cE '^(idle|mixed|allocated|completing)$')" = "$NODES" ]; }
wait_for "slurmd-${names[-1]}" nodes_ready
echo "export SLURM_CONF=$SLURM_CONF PATH=$STATE/bin:\$PATH"
