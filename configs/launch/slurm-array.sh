#!/usr/bin/env bash
# Several seeds of one experiment as an array job: a training of its own for each, on one device, each goes on by itself.
#
#   sbatch --array=0-9 slurm-array.sh shallow-water
#
#SBATCH --job-name=meshcast-seeds
#SBATCH --array=0-2
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1                   # leave it away on nodes without
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A-%a.log

set -u
most=${MOST_STARTS:-50}
seed=$SLURM_ARRAY_TASK_ID
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}

srun "${MESHCAST:-meshcast}" train "$@" resume=auto "name=${NAME:-$SLURM_JOB_NAME}-seed$seed" "training.seed=$seed"
code=$?

case $code in
    75 | 129 | 137 | 138 | 143)
        if [ "${SLURM_RESTART_COUNT:-0}" -lt "$most" ]; then
            scontrol requeue "${SLURM_ARRAY_JOB_ID}_$seed"
            sleep 60
        fi
        ;;
esac
exit $code
