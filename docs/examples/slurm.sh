#!/bin/bash
# Trains on two nodes with four GPUs each: sbatch docs/examples/slurm.sh
# The dataset and the run are in folders that all nodes share.
#SBATCH --job-name=camvid
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Two minutes before the time is over, the workers are told to save their state.
#SBATCH --signal=TERM@120

data=data/camvid
run=runs/camvid

if [ -e "$run/run.json" ]; then
    train=(kerasseg fit --resume --run "$run")
else
    train=(kerasseg fit --recipe camvid-deeplabv3plus --batch-size 16 --strategy multi-worker
        --data "$data" --run "$run")
fi

# If a worker fails, the others are ended, also while they wait for it.
srun --distribution=block --kill-on-bad-exit=1 "${train[@]}"
code=$?

# The state was saved: the same job goes on when it is started again.
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
