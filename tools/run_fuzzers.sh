#!/usr/bin/env bash
# Builds every fuzz target and runs each for SECONDS (default 60), from seeds taken from the tests'
# data. Usage: tools/run_fuzzers.sh [SECONDS] [NAME ...]   (NAME: safetensors, gguf, ...)
# Corpora and findings stay in build/fuzz/; a finding ends the script with a non-zero status.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true

cmake --preset fuzz > /dev/null
cmake --build --preset fuzz --target fuzzers

golden=tests/golden
corpora=build/fuzz/corpora

# add_seeds TARGET FILE ...: copies the files under names of their own.
add_seeds() {
  local target=$1
  shift
  mkdir -p "$corpora/$target"
  local file
  for file in "$@"; do
    [ -f "$file" ] && cp "$file" "$corpora/$target/$(echo "$file" | tr '/' '_')"
  done
  return 0
}

# Every model of the goldens as one input: config.json, a zero byte, the weights.
add_source_seeds() {
  mkdir -p "$corpora/sources"
  local folder
  for folder in "$golden"/sources/*/; do
    [ -f "$folder/model.safetensors" ] || continue
    { cat "$folder/config.json"; printf '\0'; cat "$folder/model.safetensors"; } \
      > "$corpora/sources/$(basename "$folder")"
  done
}

# Every model of the goldens: its config.json, a zero byte, the list of its tensors.
add_config_seeds() {
  mkdir -p "$corpora/config"
  local folder
  for folder in "$golden"/models/*/; do
    { cat "$folder/config.json"; printf '\0'; cat "$folder/golden.json"; } \
      > "$corpora/config/$(basename "$folder")"
  done
}

# The pickles inside the torch files, which are stored uncompressed.
add_pickle_seeds() {
  mkdir -p "$corpora/pickle"
  local file
  for file in "$golden"/sources/torch-*/*.bin; do
    unzip -p "$file" '*/data.pkl' > "$corpora/pickle/$(echo "$file" | tr '/' '_')" 2> /dev/null || true
  done
}

add_seeds safetensors "$golden"/sources/*/*.safetensors
add_seeds gguf "$golden"/sources/*/*.gguf
add_seeds torch "$golden"/sources/*/*.bin
add_seeds json "$golden"/sources/*/*.json "$golden"/*.json
add_config_seeds
add_seeds tokenizer "$golden"/*/*/tokenizer.json models/*/tokenizer.json tests/data/tokenizers/*.json
add_source_seeds
add_pickle_seeds

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in fuzz/*_fuzzer.cc; do names+=("$(basename "$source" _fuzzer.cc)"); done
fi

for name in "${names[@]}"; do
  mkdir -p "$corpora/$name" "build/fuzz/findings"
  echo "== $name: $seconds s"
  "build/fuzz/${name}_fuzzer" "$corpora/$name" -max_total_time="$seconds" -max_len=65536 \
    -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -print_funcs=0 \
    -artifact_prefix="build/fuzz/findings/$name-"
done
echo "no findings in ${#names[@]} targets"
