#!/bin/sh
# All that is to be known of facekit on a GPU, in eight minutes and one file: sh benchmarks/gpu.sh [gpu.json]
# The rows are told in benchmarks/gpu.py.
exec "${PYTHON:-python}" "$(dirname "$0")/gpu.py" --device cuda --compile --whole-call --minutes 7 --json "${1:-gpu.json}"
