#!/usr/bin/env bash
# The oracle run: makes a Python environment with the reference implementations, makes the golden files
# anew and fails when one of them differs from the committed one; then makes the tiny models and compares
# whole conversions of them with qwodel's, and logits with transformers'.
#
#   tools/oracle/run.sh ORACLES LLAMA_CPP SHARED
#
# ORACLES: the folder of gguf_oracle.py and libllama.py; LLAMA_CPP: the folder of convert_hf_to_gguf.py (in the
# source package of llama-cpp-python 0.3.36, vendor/llama.cpp); SHARED: the folder of models/ and tokenizers/.
# QWODEL_PYTHON names a Python that has the packages already. The goldens of tests/golden/sources need three
# more source packages and are made by hand (tools/golden/make_source_goldens.py).
set -euo pipefail
oracles=$(realpath "${1:?folder of gguf_oracle.py}")
llama_cpp=$(realpath "${2:?folder of convert_hf_to_gguf.py}")
shared=$(realpath "${3:?folder of models/ and tokenizers/}")
cd "$(dirname "$0")/../.."

python=${QWODEL_PYTHON:-build/oracle/bin/python}
if [ ! -x "$python" ]; then
  python3 -m venv build/oracle
  build/oracle/bin/pip install -q llama-cpp-py-sync==0.11739 numpy==2.4.6 safetensors==0.8.0 xxhash \
    sentencepiece protobuf tiktoken pyyaml torch==2.13.0 transformers==5.23.0
fi
# gguf-py beside the converter knows the newest types.
export PYTHONPATH="$llama_cpp/gguf-py"

step() { echo "== $*"; nice "$python" "$@"; }

step tools/golden/make_codec_goldens.py "$oracles"
step tools/golden/make_mix_goldens.py --oracles "$oracles"
step tools/golden/make_artifact_goldens.py --oracles "$oracles" --converter "$llama_cpp/convert_hf_to_gguf.py" \
  --shared "$shared"
step tools/golden/make_metadata_goldens.py --gguf-py "$llama_cpp/gguf-py"
step tools/golden/make_config_goldens.py --llama-cpp "$llama_cpp"
step tools/golden/make_model_goldens.py --llama-cpp "$llama_cpp"
step tools/golden/make_tokenizer_goldens.py --llama-cpp "$llama_cpp" --shared "$shared"
step tools/golden/make_token_goldens.py --oracles "$oracles" --shared "$shared"
git diff --exit-code --stat tests/golden

mkdir -p build
cmake --preset release > build/oracle_configure.log
cmake --build --preset release --target qwodel > build/oracle_build.log
step tools/oracle/compare_tokens.py --oracles "$oracles" --shared "$shared"
step tools/oracle/make_tiny_models.py build/oracle_models --tokenizers "$shared/tokenizers"
step tools/oracle/compare_conversions.py build/oracle_models --llama-cpp "$llama_cpp" \
  --qwodel build/release/qwodel
step tools/oracle/compare_logits.py build/oracle_models --qwodel build/release/qwodel
step tools/oracle/compare_logits.py "$shared/models" --qwodel build/release/qwodel --keep-weights --lengths 60
