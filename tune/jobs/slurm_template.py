"""The parts of a Slurm job's script: its words in Bash, put together by `slurm_script.py`."""

TOP = """\
#!/usr/bin/env bash
# `sentinel-tune {verb}` as a Slurm job, written by `sentinel-tune slurm`; `sbatch THIS_FILE` sends it.
# {promise}
#
# shellcheck disable=SC2016,SC2317  # what is quoted stays as it is; traps and srun call the functions
"""

GOES_ON = """\
Before its time is over, or when it is preempted, it stops where nothing is lost, goes back into the queue and later
# goes on from there. It ends with the exit status of that command."""

STARTS_OVER = "It ends with the exit status of that command; preempted, it starts over."

COMMAND = """
set -eo pipefail
cd -- {folder}
{setup}set -u
unset RAY_ADDRESS  # the environment that sbatch passes on may name another cluster

python={python}
command=({command})
"""

WORKERS = """\
command+=(--workers "${SLURM_CPUS_ON_NODE:-1}")
"""

STUDY = """\
study={study}
"""

SIGNALS = """
# -- signals: passed on to what runs

n_warnings=0     # Slurm's, and our own last one
is_cancelled=no  # by scancel, or preempted: then Slurm itself puts the job back
child=""
alarm=""

say() { printf '%s  job %s: %s\\n' "$(date '+%F %T')" "$SLURM_JOB_ID" "$*" >&2; }

interrupt() { [ -z "$child" ] || kill -INT "$child" 2>/dev/null || true; }

on_warning() {
  n_warnings=$((n_warnings + 1))
  interrupt  # once: finish the running epochs; twice: stop now
  [ "$n_warnings" = 1 ] || return 0
  say "the time is nearly over"
  (sleep @half@; kill -USR1 $$) &
  alarm=$!
  disown "$alarm"  # bash is not to tell how it ended
}

on_cancel() { is_cancelled=yes; interrupt; }

trap on_warning USR1
trap on_cancel TERM
set -m  # else what runs in the background never hears of an interrupt

# Run a command; returns its exit status, or 130 without running it when the time is over already.
supervise() {
  local status=0
  [ "$n_warnings$is_cancelled" = 0no ] || return 130
  "$@" &
  child=$!
  while kill -0 "$child" 2>/dev/null; do wait "$child" || sleep 0.2; done
  wait "$child" || status=$?
  child=""
  return "$status"
}

status=0
"""

OWN_RAY = """
RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXXXX)  # Ray is started by the command; the usual folder may belong to another user
export RAY_TMPDIR
trap 'rm -rf -- "$RAY_TMPDIR"' EXIT
"""

RAY = """
# -- Ray on all nodes: whoever reaches it runs code as you, so it asks for a token that is made for this job alone

logs=@logs@
private=$(mktemp -d -- "$logs/ray-$SLURM_JOB_ID.XXXXXX")  # only you can look inside
(umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > "$private/token")
port=$((12000 + 2 * (SLURM_JOB_ID % 10000)))  # below the ports that systems give away
export python RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token" RAY_USAGE_STATS_ENABLED=0
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # nothing runs any more when Ray is stopped
steps=()

address_of() {  # a node's address as Slurm knows it
  local name address
  name=$(scontrol show node --oneliner "$1" | tr ' ' '\\n' | sed -n 's/^NodeAddr=//p')
  address=$(getent ahostsv4 "$name" | awk 'NR == 1 { print $1 }')
  if [[ $address == 127.* && $name != 127.* ]]; then  # a host that knows itself by a loopback address only
    address=$(hostname -I | awk '{ print $1 }')
  fi
  printf '%s' "$address"
}

ray_on_this_node() {  # ADDRESS OPTIONS...
  local folder status=0
  folder=$(mktemp -d /tmp/ray-XXXXXX)  # short, as paths of sockets must be
  trap : TERM  # meant for Ray; the folder is still to be removed
  "$python" -m ray.scripts.scripts start --block --node-ip-address="$1" --temp-dir="$folder" \\
    --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --object-store-memory=536870912 \\
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 "${@:2}" || status=$?
  rm -rf -- "$folder"
  return "$status"
}
export -f ray_on_this_node

start_ray_on() {  # NODE ADDRESS OPTIONS...
  srun --export=ALL --nodes=1 --ntasks=1 --nodelist="$1" --cpus-per-task="$SLURM_CPUS_PER_TASK" \\
    bash -c 'ray_on_this_node "$@"' bash "${@:2}" > "$logs/ray-$SLURM_JOB_ID-$1.log" 2>&1 &
  steps+=($!)
}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(address_of "${nodes[0]}")
start_ray_on "${nodes[0]}" "$head" --head --port="$port" --ray-client-server-port="$((port + 1))" \\
  --include-dashboard=false
for node in "${nodes[@]:1}"; do
  start_ray_on "$node" "$(address_of "$node")" --address="$head:$port"
done

stop_ray() {
  [ "${#steps[@]}" != 0 ] || return 0
  scancel --signal=TERM "$SLURM_JOB_ID" || kill "${steps[@]}" || true  # to the steps on the nodes, not to this script
  (sleep 20; kill "${steps[@]}") 2>/dev/null &  # for good, since the job is still to be requeued
  disown $!
  wait "${steps[@]}" 2>/dev/null || true
  kill -- -$! 2>/dev/null || true
  steps=()
  rm -rf -- "$private"
}
trap stop_ray EXIT

supervise "$python" -m tune.verbs.await_nodes "$head:$port" "${#nodes[@]}" || status=$?
[ "$status" = 0 ] || [ "$status" = 130 ] || say "Ray did not start; see $logs/ray-$SLURM_JOB_ID-*.log"
command+=(--address "$head:$port")
"""

RUN = """
# -- the {verb}
{resume}
[ "$status" != 0 ] || supervise "$python" -m tune "${{command[@]}}" || status=$?
[ -z "$alarm" ] || kill -- "-$alarm" 2>/dev/null || true
"""

RESUME = """
if [ "$status" = 0 ] && "$python" -m tune status "$study" > /dev/null 2>&1; then
  say "resuming $study"
  command+=(--resume "$study")
fi"""

LEAVE_RAY = "stop_ray\n"

REQUEUE = """
if [ "$status" = 130 ] && [ "$n_warnings" != 0 ] && [ "$is_cancelled" = no ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -lt @max@ ]; then
    say "back into the queue, to go on"
    trap '' TERM  # Slurm's answer to the next line
    scontrol requeue "$SLURM_JOB_ID" && exit "$status"
  fi
  say "not put back into the queue (again); sbatch sends this script once more to go on"
fi
"""

END = """
say "{verb} ended with exit status $status"
exit "$status"
"""
