#!/usr/bin/env bash
#SBATCH --job-name=wd_research
#SBATCH --output=runs/slurm-%A_%a.log
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@300
#
# Run the experiments in a file under Slurm: a job array, one row and one GPU per task. From the repository's root:
#
#     scripts/slurm.sh FILE                       # makes runs/ and submits one task for every row
#     scripts/slurm.sh FILE --time=01:00:00       # with other limits: all that sbatch takes
#     sbatch --array=0-2 scripts/slurm.sh FILE    # the same by hand; runs/ must be there, or Slurm cannot write the log
#
# FILE: a module and its flags per row, as in `experiments.decay_values --seeds 16`, quoted as in a shell; rows that are
# empty or begin with # do not count. Task i runs row i, counted from 0, by scripts/one_gpu.sh, into the folder
# runs/slurm-JOB_i; its log is runs/slurm-JOB_i.log. Five minutes before its time is up a run gets the signal of Ctrl-C
# and saves its position; a task that Slurm starts anew goes on from it. (`python -m wd_research launch` shares one run
# among jobs, and queues them again by itself.) Where compute nodes have no internet, install first on one that has:
# `scripts/one_gpu.sh experiments.decay_values` installs before it looks for a GPU.
#
# Tried: with stand-ins for sbatch and Python (tests/test_launchers.py), and a run on CPU that got the signal by hand.
# Not tried: under Slurm, none was at hand; in particular whether its signal comes.
set -euo pipefail

stop() {
    echo "error: $1" >&2
    exit 2
}

if (($# == 0)); then
    echo "usage: scripts/slurm.sh FILE [SBATCH_FLAGS...], or sbatch --array=0-N scripts/slurm.sh FILE" >&2
    exit 2
fi
file=$1
shift
[[ -f scripts/one_gpu.sh ]] || stop "call it from the repository's root: there is no scripts/one_gpu.sh in $PWD"
[[ -f $file ]] || stop "there is no file $file"
mapfile -t rows < <(grep -v '^[[:space:]]*\(#\|$\)' "$file")
((${#rows[@]})) || stop "$file holds no row to run"

words_of() { # ROW NUMBER -> words, or one sentence
    text=$(xargs printf '%s\n' <<<"${rows[$1]}" 2>/dev/null) || stop "row $1 of $file has an open quote: ${rows[$1]}"
    mapfile -t words <<<"$text"
    [[ -f ${words[0]//.//}.py ]] || stop "row $1 of $file: no experiment is called ${words[0]}"
    [[ " ${words[*]}" != *" --workdir"* ]] || stop "row $1 of $file names a --workdir: every task has its own"
}

if [[ -z ${SLURM_ARRAY_TASK_ID-} ]]; then
    [[ -z ${SLURM_JOB_ID-} ]] || stop "this job is no array: submit it with --array=0-$((${#rows[@]} - 1))"
    for row in "${!rows[@]}"; do words_of "$row"; done
    mkdir -p runs
    exec sbatch --array="0-$((${#rows[@]} - 1))" "$@" scripts/slurm.sh "$file"
fi
task=$SLURM_ARRAY_TASK_ID
((task < ${#rows[@]})) || stop "task $task has no row: those of $file end with row $((${#rows[@]} - 1))"
words_of "$task"
exec scripts/one_gpu.sh "${words[@]}" --workdir "runs/slurm-${SLURM_ARRAY_JOB_ID}_$task" # goes on from what is there
