#!/usr/bin/env bash
# Run the experiments in a file on a TPU pod slice, each on all chips of one worker. Needs bash 4.4 and gcloud.
#
#     scripts/tpu_pod.sh NAME ZONE FILE
#     PYTHON=python3.12 scripts/tpu_pod.sh NAME ZONE FILE     # where python3 on the workers is older than 3.11
#
# FILE: a module and its flags per row, as in `experiments.decay_values --seeds 16`, quoted as in a shell; rows that are
# empty or begin with # do not count. This repository is copied to every worker (without its environment and runs/) and
# installed there; worker i of n runs rows i, i + n, i + 2n ..., counted from 0, one after the other. At the end folders
# row-0, row-1 ... and logs row-0.log ... come back into runs/tpu-NAME-TIME. If the connection breaks, they are on the
# workers, in ~/wd_research/runs.
#
# No run spans workers. JAX would wait for all of them, because the machine says that it is a part of a slice; the TPU_*
# variables below say that it is alone, with the chips that its metadata give it.
#
# Tried: copying, splitting, running, bringing back, with stand-ins for gcloud, curl and Python
# (tests/test_launchers.py). Not tried: on a TPU, none was at hand; the variables are those that are reported to work,
# as in https://github.com/pytorch/xla/issues/7714.
set -euo pipefail
PYTHON=${PYTHON:-python3}

stop() {
    echo "error: $1" >&2
    exit 2
}

words_of() { # ROW -> words; fails where a quote is open
    text=$(xargs printf '%s\n' <<<"$1" 2>/dev/null) && mapfile -t words <<<"$text"
}

metadata() { # KEY: what the machine knows of itself
    curl -sf -H 'Metadata-Flavor: Google' "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

on_worker() { # RUN WORKERS ROW...: what every worker does, in its copy of the repository
    local run=runs/$1 workers=$2 worker chips said row rows=("${@:3}")
    worker=$(metadata agent-worker-number) || stop "the metadata server of $HOSTNAME does not say which worker it is"
    chips=$(metadata tpu-env | sed -n "s/^ *CHIPS_PER_HOST_BOUNDS: *'\([0-9,]*\)'.*/\1/p") || chips=
    [[ $chips ]] || stop "the metadata server of worker $worker does not say which chips it has"
    export TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=$chips # one process, all chips of this worker
    export TPU_HOST_BOUNDS=1,1,1 TPU_CHIPS_PER_HOST_BOUNDS=$chips       # the same under their older names
    export TPU_WORKER_ID=0 CLOUD_TPU_TASK_ID=0 TPU_WORKER_HOSTNAMES=localhost
    mkdir -p "$run"
    [[ -x .venv/bin/python ]] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet -c constraints.txt -e '.[tpu]'
    said=$(timeout 300 .venv/bin/python -c 'import jax; jax.devices("tpu"); assert jax.process_count() == 1' 2>&1) ||
        stop "worker $worker: within five minutes JAX found no TPU of its own (${said##*$'\n'})"
    for ((row = worker; row < ${#rows[@]}; row += workers)); do
        words_of "${rows[row]}"
        echo "worker $worker: row $row: ${rows[row]}"
        .venv/bin/python -m "${words[@]}" --workdir "$run/row-$row" >"$run/row-$row.log" 2>&1 </dev/null ||
            echo "worker $worker: row $row ended with exit code $?" >&2
    done
}

if [[ ${1-} == --on-worker ]]; then
    cd "$(dirname "$0")/.."
    on_worker "${@:2}"
    exit
fi
if (($# != 3)); then
    echo "usage: scripts/tpu_pod.sh NAME ZONE FILE, with a module and its flags in every row of FILE" >&2
    exit 2
fi
name=$1 zone=$2 file=$3
[[ -f $file ]] || stop "there is no file $file"
mapfile -t rows < <(grep -v '^[[:space:]]*\(#\|$\)' "$file")
((${#rows[@]})) || stop "$file holds no row to run"
cd "$(dirname "$0")/.."
for row in "${!rows[@]}"; do
    words_of "${rows[row]}" || stop "row $row of $file has an open quote: ${rows[row]}"
    [[ -f ${words[0]//.//}.py ]] || stop "row $row of $file: no experiment is called ${words[0]}"
    [[ " ${words[*]}" != *" --workdir"* ]] || stop "row $row of $file names a --workdir: every row has its own"
done

tpu() { gcloud compute tpus tpu-vm "$@" --zone="$zone"; }
workers=$(tpu describe "$name" --flatten='networkEndpoints[]' --format='csv[no-heading](networkEndpoints.ipAddress)' |
    grep -c .) || stop "gcloud finds no TPU called $name in zone $zone"
run=tpu-$name-$(date +%Y%m%d-%H%M%S)
pack=$(mktemp)
trap 'rm -f "$pack"' EXIT
tar czf "$pack" --exclude="./${VENV:-.venv}" --exclude=./runs --exclude=__pycache__ .
tpu scp "$pack" "$name:wd_research.tar.gz" --worker=all
printf -v command '%q ' env "PYTHON=$PYTHON" bash scripts/tpu_pod.sh --on-worker "$run" "$workers" "${rows[@]}"
unpack='mkdir -p wd_research && tar xzf wd_research.tar.gz -C wd_research && cd wd_research'
tpu ssh "$name" --worker=all --command="$unpack && $command" || echo "not all workers came to their end" >&2
mkdir -p runs
for ((worker = 0; worker < workers; worker++)); do
    tpu scp --recurse "$name:wd_research/runs/$run" runs/ --worker="$worker" || echo "worker $worker sent nothing" >&2
done
missing=()
for row in "${!rows[@]}"; do [[ -f runs/$run/row-$row/summary.json ]] || missing+=("$row"); done
if ((${#missing[@]})); then
    echo "error: no answer in runs/$run from rows ${missing[*]}: see their logs there" >&2
    exit 1
fi
echo "all ${#rows[@]} rows have answered in runs/$run"
