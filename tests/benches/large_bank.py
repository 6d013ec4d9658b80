"""Phase-II on a bank far larger than its memory, and on one of twice that size.

Usage: large_bank.py [--gigabytes 20] [--memory 1GiB] [--iterations 200] [FOLDER]

Makes banks of synthetic maps of iNaturalist's shape (K 2048, L 49, C 8142, its class sizes scaled) in
FOLDER (target/large): one of about the given size of raw f32 maps and one of about twice that (each
class has one row at least, which adds some), a third of it on disk. Runs `fsa-bank finetune` with the limit on both, and prints peak memory, bytes read, and
seconds. Uses Python's standard library alone.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHANNELS, HEIGHT, WIDTH, CLASSES = 2048, 7, 7, 8142
MAP_BYTES = 4 * CHANNELS * HEIGHT * WIDTH
BANK_ONLY = ["--release", "--locked", "--no-default-features"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="target/large", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--iterations", type=int, default=200)
    args = parser.parse_args()
    subprocess.run(["cargo", "build", "--quiet", *BANK_ONLY], cwd=ROOT, check=True)
    for factor in (1, 2):
        rows = round(factor * args.gigabytes * 1e9 / MAP_BYTES)
        folder = (args.folder / f"{rows}").absolute()
        make(folder, rows)
        measure(folder / "shards", args)


def make(folder, rows):
    """Makes the bank, unless it is there."""
    shape = [CHANNELS, HEIGHT, WIDTH, CLASSES, rows, 0]
    command = ["cargo", "bench", "--quiet", "--no-default-features", "--bench", "phase2", "--"]
    begin = time.perf_counter()
    subprocess.run([*command, folder, *map(str, shape)], cwd=ROOT, check=True)
    print(f"bank ready after {time.perf_counter() - begin:.0f} s", flush=True)


def measure(shards, args):
    """One run of Phase-II in a process of its own; fails where it takes more than it may."""
    rows = json.loads((shards / "manifest.json").read_text())["splits"]["train"]["rows"]
    command = [ROOT / "target/release/fsa-bank", "--json", "--quiet", "finetune", shards]
    command += ["--overwrite", "--memory", args.memory, "--iterations", str(args.iterations)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"exit status {status}")
    timing = json.loads(output)["timing"]
    on_disk = sum(path.stat().st_size for path in shards.iterdir())
    print(
        f"{rows} rows, {rows * MAP_BYTES / 1e9:.1f} GB of maps as f32, {on_disk / 1e9:.1f} GB on disk: "
        f"peak {usage.ru_maxrss / 1024:.0f} MiB with --memory {args.memory}, "
        f"{timing['bytes_read'] / 1e9:.2f} GB read, {wall:.1f} s "
        f"({timing['load_secs']:.1f} to load and plan, {timing['train_secs']:.1f} for "
        f"{args.iterations} iterations, {timing['waiting_secs']:.1f} of them waiting for vectors)",
        flush=True,
    )
    if usage.ru_maxrss * 1024 > limit_bytes(args.memory):
        raise SystemExit(f"peak memory is above {args.memory}")


def limit_bytes(text):
    """1GiB as bytes."""
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    return float(text[:-3]) * units[text[-3:]]


if __name__ == "__main__":
    main()
