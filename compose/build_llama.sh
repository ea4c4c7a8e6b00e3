#!/bin/sh
# build-llama VARIANTS FOLDER: llama-cpp-python as a wheel that runs on any processor of this architecture.
#
# llama.cpp can build its CPU code once for each family of processors and choose when it is loaded. All 14 families of
# x86 would take half an hour; VARIANTS (`a|b|c`) says which are kept. On other architectures all are built.
set -eu
variants=$1
folder=$2
pip="/build/bin/pip --disable-pip-version-check"
PATH=/build/bin:$PATH
mkdir -p /sdist /src
$pip download -q --no-deps --no-build-isolation --no-binary llama-cpp-python --require-hashes -d /sdist -r /locks/requirements-llama.lock
tar xzf /sdist/llama_cpp_python-*.tar.gz -C /src --strip-components=1
families='x64|sse42|sandybridge|ivybridge|piledriver|haswell|skylakex|cannonlake|cascadelake|icelake|cooperlake|zen4|alderlake|sapphirerapids'
sed -i -E "/^ *ggml_add_cpu_backend_variant\(($families)[ )]/{/\(($variants)[ )]/!d}" /src/vendor/llama.cpp/ggml/src/CMakeLists.txt
# Helpers of llama.cpp's own programs, which are not built.
sed -i 's/set(LLAMA_BUILD_COMMON ON/set(LLAMA_BUILD_COMMON OFF/' /src/CMakeLists.txt
# The variants are installed beside the library, where the engine looks for them.
CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON \
  -DCMAKE_INSTALL_BINDIR=llama_cpp/lib -DCMAKE_INSTALL_LIBDIR=llama_cpp/lib" \
  $pip wheel --no-deps --no-build-isolation -w "$folder" /src
ls -la "$folder"
