#!/usr/bin/env bash
# Run an experiment on one GPU of this machine.
#
#     scripts/one_gpu.sh experiments.decay_values --seeds 16
#     scripts/one_gpu.sh -g 1 experiments.article.data_regimes      # the GPU that nvidia-smi calls 1
#
# The first call installs the environment with JAX for CUDA: Python $PYTHON (python3), folder $VENV (.venv). Without -g
# it takes the first GPU in $CUDA_VISIBLE_DEVICES, or number 0 where that is not set. The run goes into runs/, as ever.
# This process becomes the run, so signals reach it and its exit code is the run's. JAX's memory settings are left as
# they are: it takes most of the memory at its start, which is right for a GPU that it has to itself.
#
# Tried: with a stand-in for Python (tests/test_launchers.py), and with JAX where there is no GPU: it says so.
# Not tried: the installation of JAX for CUDA, and a run on a GPU: none was at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

stop() {
    echo "error: $1" >&2
    exit 2
}

usage() {
    echo "usage: scripts/one_gpu.sh [-g GPU_NUMBER] MODULE [FLAGS...], as in" >&2
    echo "       scripts/one_gpu.sh -g 0 experiments.decay_values --seeds 16" >&2
    exit 2
}

installed() { [[ ! pyproject.toml -nt $VENV/cuda && ! constraints.txt -nt $VENV/cuda ]]; }

gpu=${CUDA_VISIBLE_DEVICES-0}
gpu=${gpu%%,*}
while getopts :g: option; do
    [[ $option == g ]] || usage
    [[ $OPTARG =~ ^[0-9]+$ ]] || stop "-g $OPTARG is no number of a GPU: give 0, 1, 2 ..., as nvidia-smi lists them"
    gpu=$OPTARG
done
shift $((OPTIND - 1))
(($#)) || usage
module=$1
shift
[[ -f ${module//.//}.py ]] || stop "no experiment is called $module: there is no file ${module//.//}.py"

if ! installed; then
    mkdir -p "$VENV"
    ( # processes that start together install once
        flock 9
        if ! installed; then
            [[ -x $VENV/bin/python ]] || "$PYTHON" -m venv "$VENV"
            "$VENV/bin/python" -m pip install --quiet -c constraints.txt -e '.[cuda]'
            touch "$VENV/cuda"
        fi
    ) 9>"$VENV/lock"
fi

export CUDA_VISIBLE_DEVICES=$gpu CUDA_DEVICE_ORDER=${CUDA_DEVICE_ORDER:-PCI_BUS_ID} # the order of nvidia-smi
if ! said=$(XLA_PYTHON_CLIENT_PREALLOCATE=false "$VENV/bin/python" -c 'import jax; jax.devices("gpu")' 2>&1); then
    stop "JAX sees no GPU '$gpu' (${said##*$'\n'}): see nvidia-smi for those there are"
fi
exec "$VENV/bin/python" -m "$module" "$@"
