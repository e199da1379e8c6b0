# What the batch scripts share; they source it.
# Packages: activate the environment before sbatch, or set VENV to one. Data: with HF_HUB_OFFLINE=1 compute nodes take
# what the cache has.
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
MASTER_PORT=${MASTER_PORT:-29500}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
if [[ -n ${VENV:-} ]]; then source "$VENV/bin/activate"; fi

# start_training NODES STAGE RECIPE [key=value ...]: one launcher a node, which starts a process for each of its GPUs.
# --resume starts a new run where there is none, --skip-finished does nothing where it is done.
start_training() {
  local nodes=$1 stage=$2 recipe=$3
  shift 3
  local count first
  count=$(scontrol show hostnames "$nodes" | wc -l)
  first=$(scontrol show hostnames "$nodes" | head -n 1)
  # SLURM_PROCID is counted in each srun anew: among these nodes, from 0.
  exec srun --nodes "$count" --ntasks "$count" --ntasks-per-node 1 --nodelist "$nodes" --kill-on-bad-exit=1 \
    bash -c 'exec accelerate launch --config_file "recipes/accelerate/$1.yaml" --num_machines "$2" \
      --num_processes "$3" --machine_rank "$SLURM_PROCID" --main_process_ip "$4" --main_process_port "$5" \
      -m posttrain "${@:6}" --resume --skip-finished' \
    launch "${CONFIG:-zero3_nodes}" "$count" "$((count * GPUS_PER_NODE))" "$first" "$MASTER_PORT" \
    "$stage" "$recipe" "$@"
}

# Slurm sends TERM to this script some minutes before the time is over, or when it takes the nodes away.
requeue_on_term() {
  was_told_to_stop=0
  trap 'was_told_to_stop=1' TERM
}

# wait_for TRAINING [SERVER]: to the end of the training; the exit code is its own. Where the job was told to stop, the
# training is interrupted as by ^C, and the job goes back into the queue.
wait_for() {
  local training=$1 server=${2:-} code=0
  while kill -0 "$training" 2>/dev/null && ((!was_told_to_stop)); do
    wait -n "$training" ${server:+"$server"} || code=$?
    if [[ -n $server ]] && ! kill -0 "$server" 2>/dev/null; then break; fi  # without its server RL ends by itself
  done
  if ((was_told_to_stop)); then
    kill -TERM "$training" 2>/dev/null || true
    wait "$training" || true
    if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
  code=0
  wait "$training" || code=$?
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
  exit "$code"
}
