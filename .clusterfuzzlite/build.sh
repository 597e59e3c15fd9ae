#!/bin/bash -eu
# Builds the fuzz targets into $OUT, as ClusterFuzzLite and OSS-Fuzz have it.
cd "$SRC/eventdiff"
export PYTHONPATH=$PWD

for target in .clusterfuzzlite/fuzz_*.py; do
    # Variants are imported by name.
    compile_python_fuzzer "$target" --collect-submodules variants \
        --add-data "$PWD/corpus/known.yaml:fuzz/corpus"
    # Nothing is compiled, so there is nothing to sanitize; and a libFuzzer that is loaded before
    # Python looks for the custom mutator too early. Atheris brings its own.
    sed -i 's/LD_PRELOAD=[^ ]*//' "$OUT/$(basename -s .py "$target")"
done

python3 .clusterfuzzlite/seed_corpus.py "$OUT"
