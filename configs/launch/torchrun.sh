#!/usr/bin/env bash
# One training on machines without a scheduler: start this on each of them, with the first one's address.
#
#   NODES=2 HOST=node-a:29400 bash torchrun.sh shallow-water training.batch_size=null training.global_batch_size=64
#
# Where a process is lost, torchrun starts all of them again, and resume=auto goes on from the last checkpoint: at most
# `--max-restarts` times. The run folder must lie on a file system that all machines see (output=/shared/runs).

set -u
nodes=${NODES:-1}
devices=${DEVICES:-2}              # processes on a machine, one a GPU
host=${HOST:-localhost:29400}      # where they meet: the first machine, and a port that is free there

exec torchrun --nnodes="$nodes" --nproc-per-node="$devices" --max-restarts="${RESTARTS:-3}" \
    --rdzv-backend=c10d --rdzv-endpoint="$host" --rdzv-id="${NAME:-meshcast}" \
    -m meshcast train "$@" resume=auto "training.devices=$devices" "training.num_nodes=$nodes"
