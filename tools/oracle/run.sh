#!/usr/bin/env bash
# The oracle run: makes a Python environment with the reference implementations, makes the golden files
# anew and fails when one of them differs from the committed one; then compares whole conversions.
#
#   tools/oracle/run.sh ORACLES CONVERTER SHARED
#
# ORACLES: the folder of gguf_oracle.py and libllama.py; CONVERTER: convert_hf_to_gguf.py (in the source package
# of llama-cpp-python 0.3.36, vendor/llama.cpp); SHARED: the folder that holds models/ and tokenizers/.
set -euo pipefail
cd "$(dirname "$0")/../.."
oracles=${1:?folder of gguf_oracle.py} converter=${2:?path of convert_hf_to_gguf.py} shared=${3:?folder of models/}

venv=build/oracle
if [ ! -x $venv/bin/python ]; then
  python3 -m venv $venv
  $venv/bin/pip install -q llama-cpp-py-sync==0.11739 numpy==2.4.6 safetensors==0.8.0 xxhash sentencepiece protobuf tiktoken
  $venv/bin/pip install -q torch==2.13.0
  $venv/bin/pip install -q transformers==5.23.0
fi
# gguf-py beside the converter knows the newest types.
export PYTHONPATH="$(dirname "$converter")/gguf-py"

$venv/bin/python tools/golden/make_codec_goldens.py "$oracles"
$venv/bin/python tools/golden/make_mix_goldens.py --oracles "$oracles"
$venv/bin/python tools/golden/make_artifact_goldens.py --oracles "$oracles" --converter "$converter" --shared "$shared"
git diff --exit-code --stat tests/golden
