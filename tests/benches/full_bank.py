"""A bank of 100,000 rows at K 512, 7 x 7: what `plan` expects of it, what it takes, and what a kill costs.

Usage: full_bank.py PROGRAM CIFAR10 [--views 5] [--folder target/full]

CIFAR10 is the binary archive of CIFAR-10, or a part of it that pipelines/cifar10-lt-im10.toml can be cut
from: 20,431 training images, times the views. The network is one layer of 512 random patches (8 x 8 pixels,
every 4 pixels) with global average pooling and one FC layer, written here as ONNX, so that decoding, encoding
and the disk are what is measured. Prints bytes and seconds beside what `plan` said, peak memory, and the
time of a run that is killed half way and then completed. Uses Python's standard library alone.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PIPELINE = ROOT / "pipelines/cifar10-lt-im10.toml"
CHANNELS, CLASSES = 512, 10


def varint(value):
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def field(number, value):
    """A field of a protocol buffer: a number, or bytes, text and messages."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, shape, draw):
    count = 1
    for size in shape:
        count *= size
    values = struct.pack(f"<{count}f", *(draw() for _ in range(count)))
    dims = b"".join(field(1, size) for size in shape)
    return field(5, dims + field(2, 1) + field(8, name) + field(9, values))


def node(kind, inputs, output, **attributes):
    text = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, list):
            content = b"".join(field(8, number) for number in value) + field(20, 7)
        else:
            content = field(3, value) + field(20, 2)
        text += field(5, field(1, name) + content)
    return field(1, text)


def value_info(number, name, dims):
    dim = lambda size: field(1, field(2, size) if isinstance(size, str) else field(1, size))
    shape = field(2, b"".join(dim(size) for size in dims))
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + shape)))


def write_network(path):
    """Conv, ReLU, pooling and one FC layer over images of 32 x 32: maps of 512 x 7 x 7."""
    rng = random.Random(0)
    draw = lambda scale: lambda: rng.gauss(0, scale)
    graph = b"".join(
        [
            node("Conv", ["images", "patches", "shift"], "conv", kernel_shape=[8, 8], strides=[4, 4]),
            node("Relu", ["conv"], "map"),
            node("GlobalAveragePool", ["map"], "mean"),
            node("Flatten", ["mean"], "vector", axis=1),
            node("Gemm", ["vector", "weight", "bias"], "logits", transB=1),
            field(2, "patches"),
            tensor("patches", [CHANNELS, 3, 8, 8], draw(0.07)),
            tensor("shift", [CHANNELS], draw(0.1)),
            tensor("weight", [CLASSES, CHANNELS], draw(0.05)),
            tensor("bias", [CLASSES], draw(0.1)),
            value_info(11, "images", ["n", 3, 32, 32]),
            value_info(12, "logits", ["n", CLASSES]),
        ]
    )
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 17)))


class Bank:
    def __init__(self, args, name):
        self.args = args
        self.out = args.folder / name
        shutil.rmtree(self.out, ignore_errors=True)

    def command(self, what):
        command = [self.args.program, "--json", "--quiet", what, PIPELINE, "--onnx", self.args.onnx]
        command += ["--data", self.args.cifar, "--out", self.out]
        settings = [f"features.views={self.args.views}", 'dataset.selection="first"']
        return [*command, *(part for setting in settings for part in ("--set", setting))]

    def run(self, what):
        """Seconds, peak MiB and result of a whole command."""
        begin = time.perf_counter()
        process = subprocess.Popen(self.command(what), stdout=subprocess.PIPE)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{what}: exit status {status}")
        return time.perf_counter() - begin, usage.ru_maxrss / 1024, json.loads(output)

    def kill_half_way(self, shards):
        """Seconds until half of the shards are there, and the process is killed."""
        begin = time.perf_counter()
        process = subprocess.Popen(self.command("features"), stdout=subprocess.DEVNULL)
        while len(list(self.out.glob("shards.partial/*-*.json"))) < shards // 2:
            if process.poll() is not None:
                raise SystemExit("the run ended before it was killed")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("cifar", type=pathlib.Path)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("target/full"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    args.onnx = args.folder / "patches.onnx"
    write_network(args.onnx)

    whole, killed = Bank(args, "whole"), Bank(args, "killed")
    plan_secs, _, plan = whole.run("plan")
    print(f"plan, {plan_secs:.1f} s: {json.dumps(plan)}", flush=True)
    secs, peak, made = whole.run("features")
    print(f"bank: {made['rows']} rows, {made['bytes']} bytes, {made['secs']:.1f} s of pass, {secs:.1f} s in all")
    print(f"plan / bank: bytes {plan['bytes'] / made['bytes']:.3f}, "
          f"seconds {plan['to_do']['secs'] / made['secs']:.3f}; peak {peak:.0f} MiB", flush=True)
    first = killed.kill_half_way(plan["state"]["shards"])
    second, _, again = killed.run("features")
    print(f"killed after {first:.1f} s, completed in {second:.1f} s: {(first + second) / secs:.3f} of one run")
    same = (whole.out / "shards/manifest.json").read_bytes() == (killed.out / "shards/manifest.json").read_bytes()
    print("the same bank" if same else "ANOTHER BANK")
    verify = [args.program, "--json", "--quiet", "verify", killed.out / "shards"]
    begin = time.perf_counter()
    subprocess.run(verify, stdout=subprocess.DEVNULL, check=True)
    print(f"verified in {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
