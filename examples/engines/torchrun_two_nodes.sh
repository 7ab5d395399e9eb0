#!/usr/bin/env bash
# Two nodes on one machine: `torchrun` is started twice, as it would be once on each of two hosts.
#
#   examples/engines/torchrun_two_nodes.sh                      # 2 nodes with 1 process each
#   PROCESSES=2 examples/engines/torchrun_two_nodes.sh          # 2 nodes with 2 processes each
#   examples/engines/torchrun_two_nodes.sh --epochs 5           # arguments go to train.py
#
# On two hosts, run the one command on each, with its node's number and the address of node 0.
set -euo pipefail

PYTHON=${PYTHON:-python}
PROCESSES=${PROCESSES:-1}
PORT=${PORT:-29500}
TRAIN=$(dirname "$0")/train.py

node() {  # becomes `torchrun`, which is `python -m torch.distributed.run`
  exec "$PYTHON" -m torch.distributed.run \
    --nnodes 2 --node-rank "$1" --nproc-per-node "$PROCESSES" --master-addr 127.0.0.1 --master-port "$PORT" \
    "$TRAIN" --num-nodes 2 --devices "$PROCESSES" "${@:2}"
}

node 1 "$@" &
other=$!
trap 'kill "$other" 2>/dev/null || true' EXIT  # where node 0 fails, node 1 does not wait for it
(node 0 "$@")
wait "$other"
