#!/bin/sh
# Runs the GPU tests and the GPU benchmarks with whatever torch is installed, and writes
# benchmarks/results/*_gpu.json.
#
#   make gpu                                    with the python3 that is found
#   make gpu PYTHON=python3.12 WHEELS=wheels/   what that Python lacks comes from a folder of wheels
#
# Where there is no package index, make the wheels elsewhere:
#   pip wheel --no-deps -w wheels hydra-core omegaconf antlr4-python3-runtime==4.9.3 lazy_loader \
#     pydantic pydantic_core annotated_types typing_inspection pooch platformdirs google-crc32c
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export OMP_NUM_THREADS=1 PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
  echo "error: $PYTHON has no torch; name another with make gpu PYTHON=…" >&2
  exit 2
fi
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  "$PYTHON" -c 'import torch; print(f"error: PyTorch {torch.__version__} sees no GPU here.")' >&2
  exit 2
fi
if [ -n "${WHEELS:-}" ]; then
  packages=$(mktemp -d)
  trap 'rm -rf "$packages"' EXIT
  "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
  PYTHONPATH="$PYTHONPATH:$packages"  # behind what is installed
fi
"$PYTHON" -m pytest -m gpu tests/test_gpu.py
"$PYTHON" benchmarks/step_time.py --accelerator gpu
"$PYTHON" benchmarks/sweep_time.py --accelerator gpu
