#!/bin/sh
# Builds what on-a-gpu.sh needs into a folder and a tar file, on a machine without a GPU: conformance/gpu/make-kit.sh OUT
# On the GPU machine: tar xf OUT.tar; OUT/on-a-gpu.sh
set -eu
out=${1:?usage: make-kit.sh OUT}
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$top"
target=$(rustc -vV | sed -n 's/^host: //p')
cargo build --locked --release -p runtime-cli
cargo build --locked -p fixtures --bin gpu-driver
cp "target/$target/release/runtime" "$out/runtime"
rm -rf "$out/rootfs"
"target/$target/debug/gpu-driver" rootfs "$out/rootfs" debian
cc -O1 -w -o "$out/rootfs/usr/bin/cuda-check" "$here/cuda_check.c" -ldl
mkdir -p "$out/rootfs/tmp" "$out/rootfs/run"
cp "$here/on-a-gpu.sh" "$out/on-a-gpu.sh"
tar -C "$(dirname "$out")" -cf "$out.tar" "$(basename "$out")"
echo "$out.tar"
