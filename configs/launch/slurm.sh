#!/usr/bin/env bash
# One training on several nodes of a Slurm cluster, which goes on by itself after preemption, its time limit, a lost node.
#
#   sbatch --nodes=4 slurm.sh shallow-water training.batch_size=null training.global_batch_size=64
#
#SBATCH --job-name=meshcast
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4        # processes on a node, one a GPU: becomes training.devices
#SBATCH --gpus-per-node=4          # leave it away on nodes without
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@300          # to every task, five minutes before the time is up: longer than a validation takes
#SBATCH --requeue                  # after a node has failed, Slurm starts the job again itself
#SBATCH --open-mode=append         # one log for all starts
#SBATCH --output=%x-%j.log

set -u
most=${MOST_STARTS:-50}            # so that a job that can never go on does not start for ever
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# Where nodes have several networks, say which one processes speak over:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

echo "start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST at $(date -u)"
srun --kill-on-bad-exit=1 "${MESHCAST:-meshcast}" train "$@" resume=auto \
    "training.devices=$SLURM_NTASKS_PER_NODE" "training.num_nodes=$SLURM_JOB_NUM_NODES"
code=$?

# 75: training.max_time, or a process that is gone; 137: that process itself, killed; 129, 138, 143: SIGHUP, SIGUSR1,
# SIGTERM, after which the state is kept. All else is a mistake that another start would repeat.
case $code in
    75 | 129 | 137 | 138 | 143)
        if [ "${SLURM_RESTART_COUNT:-0}" -lt "$most" ]; then
            echo "ended with $code: the job is queued again"
            scontrol requeue "$SLURM_JOB_ID"
            sleep 60               # Slurm ends this script meanwhile
        fi
        ;;
esac
exit $code
