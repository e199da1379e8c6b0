# What the batch scripts share; they source it.
# Packages: activate the environment before sbatch, or set VENV to its folder. Compute nodes without a network take models
# and data from the cache: HF_HUB_OFFLINE=1.
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
MASTER_PORT=${MASTER_PORT:-29500}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
# Since Slurm 22.05 srun does not take this over from the job, and a task may get a single core.
export SRUN_CPUS_PER_TASK=${SRUN_CPUS_PER_TASK:-${SLURM_CPUS_PER_TASK:-1}}
# Seconds that a launcher gives its processes between TERM and KILL: they write a checkpoint in them. Its own are 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-270}
if [[ -n ${VENV:-} ]]; then source "$VENV/bin/activate"; fi

# start_training NODES STAGE RECIPE [key=value ...]: a launcher on each node, which starts a process for each of its GPUs.
# --resume starts a new run where there is none, --skip-finished does nothing where it is done.
start_training() {
  local nodes=$1 hosts count
  shift
  mapfile -t hosts < <(scontrol show hostnames "$nodes")
  count=${#hosts[@]}
  # SLURM_PROCID counts the tasks of this srun: the trainer's nodes from 0, whatever else the job runs.
  exec srun --nodes "$count" --ntasks "$count" --ntasks-per-node 1 --nodelist "$nodes" --kill-on-bad-exit=1 \
    bash -c 'exec accelerate launch --config_file "recipes/accelerate/$1.yaml" --num_machines "$2" \
      --num_processes "$3" --machine_rank "$SLURM_PROCID" --main_process_ip "$4" --main_process_port "$5" \
      -m posttrain "${@:6}" --resume --skip-finished' \
    launch "${CONFIG:-zero3_nodes}" "$count" "$((count * GPUS_PER_NODE))" "${hosts[0]}" "$MASTER_PORT" "$@"
}

# finish TRAINING: wait for it and exit as it does. Slurm sends this script TERM five minutes before the time is over, and
# when it takes the nodes away: then the training is interrupted, as by ^C, and the job goes back into the queue.
was_told_to_stop=0
trap 'was_told_to_stop=1' TERM
finish() {
  local training=$1 code=0
  wait "$training" || code=$?  # TERM ends the waiting, too
  if ((was_told_to_stop)); then
    scancel --signal=TERM "$SLURM_JOB_ID"  # every step of the job, this script left out
    wait "$training" || true
    scontrol requeue "$SLURM_JOB_ID"
    code=0
  fi
  exit "$code"  # what still runs, as a vLLM server, ends with the job
}
