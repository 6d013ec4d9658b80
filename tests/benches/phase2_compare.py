"""Phase-II against PyTorch on the same banks, and against what the machine allows: the figures of
docs/results.md.

Usage: phase2_compare.py [--threads 2] [--repeats 3] [--channels 512] [FOLDER]

Run it with a Python that has torch, pyarrow and numpy (`make bench` makes one). Banks of synthetic
maps are made in FOLDER (target/phase2) once. The programs take turns; medians are printed. The floor
is the bare matrix products plus the bytes that must move over the memory's bandwidth
(tests/benches/floor.rs).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Name, K, H, W, C, rows, iterations of ours and of PyTorch's.
SHAPES = [
    ("K 128, L 16, C 10", 128, 4, 4, 10, 12400, 6400, 6400),
    ("K 512, L 16, C 100", 512, 4, 4, 100, 10900, 6400, 2000),
    ("K 2048, L 49, C 8142 (iNaturalist 2018)", 2048, 7, 7, 8142, 9000, 200, 192),
]
BATCH, FUSED, DRAWN = 128, 48, 80  # samples, fused and real ones in a batch
LAST_CACHE_BYTES = 32 << 20


def ours(folder, shape, threads):
    """Timing of three runs of `cargo bench --bench phase2`, the bank being made on the first."""
    command = ["cargo", "bench", "--quiet", "--no-default-features", "--bench", "phase2", "--"]
    command += [str(folder), *map(str, shape)]
    env = {"RAYON_NUM_THREADS": str(threads)}
    output = run(command, env)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


# The way most would write it, a faster one with autograd, and one without: see phase2_pytorch.py.
PYTORCH = {
    "bmm": ["--fusion", "bmm", "--chunk", "1"],
    "bags": [],
    "hand": ["--step", "hand"],
}


def pytorch(folder, options, iterations, threads):
    """Timing of one run of the PyTorch script."""
    script = [sys.executable, HERE / "phase2_pytorch.py", folder / "shards", "--json"]
    script += ["--iterations", str(iterations), "--threads", str(threads), *options]
    return json.loads(run(script, {}).splitlines()[-1])


def floor_secs(channels, locations, classes, threads):
    """Seconds an iteration cannot beat, and what of them are matrix products."""
    command = ["cargo", "bench", "--quiet", "--no-default-features", "--bench", "floor", "--"]
    command += [str(channels), str(classes), str(BATCH)]
    env = {"RAYON_NUM_THREADS": str(threads)}
    found = json.loads(run(command, env).splitlines()[-1])
    weights = 4 * classes * channels
    # Weights and momentum, read and written; of those that stay in the cache nothing moves.
    moved = 4 * weights if 2 * weights > LAST_CACHE_BYTES else 0
    # Maps are held in two bytes a value; a draw takes one vector of K.
    moved += FUSED * locations * channels * 2 + DRAWN * channels * 4
    return found["gemm_secs"] + moved / found["bytes_per_sec"], found["gemm_secs"]


def backbone_rate(threads):
    """Iterations a second with the backbone in every one."""
    script = [sys.executable, HERE / "backbone_pytorch.py", "--json", "--threads", str(threads)]
    return json.loads(run(script, {}).splitlines()[-1])["iterations_per_sec"]


def run(command, env):
    """Standard output of a command; stops with its messages where it fails."""
    finished = subprocess.run(
        command, env={**os.environ, **env}, cwd=HERE.parent.parent, capture_output=True, text=True
    )
    if finished.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{finished.stderr}")
    return finished.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="target/phase2", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--channels", type=int, nargs="*", help="only the shapes with these K")
    args = parser.parse_args()
    print(f"iterations a second (seconds to load the bank), {args.threads} threads; medians")
    for name, k, h, w, c, rows, our_iterations, their_iterations in SHAPES:
        if args.channels and k not in args.channels:
            continue
        folder = (args.folder / f"{k}-{h}-{w}-{c}").absolute()
        mine, theirs, floors = [], {name: [] for name in PYTORCH}, []
        for _ in range(args.repeats):
            mine += ours(folder, (k, h, w, c, rows, our_iterations), args.threads)
            floors.append(floor_secs(k, h * w, c, args.threads))
            for way, options in PYTORCH.items():
                theirs[way].append(pytorch(folder, options, their_iterations, args.threads))
        rate, load = median(mine, "iterations_per_sec"), median(mine, "load_secs")
        print(f"{name}: fsa-bank {rate:.0f} ({load:.2f} s), {FUSED * rate:.0f} fused vectors a second")
        floor, gemm = sorted(floors)[len(floors) // 2]
        print(
            f"  floor {1e6 * floor:.0f} us an iteration, of it matrix products {1e6 * gemm:.0f}; "
            f"share reached {floor * rate:.2f}",
            flush=True,
        )
        for way, runs in theirs.items():
            their_rate, load = median(runs, "iterations_per_sec"), median(runs, "load_secs")
            ratio = rate / their_rate
            print(f"  PyTorch, {way}: {their_rate:.1f} ({load:.2f} s), ratio {ratio:.2f}", flush=True)
        if k == 512:
            backbone = statistics.median(backbone_rate(args.threads) for _ in range(args.repeats))
            print(f"  ResNet-18 in every iteration, bf16: {backbone:.2f}, ratio {rate / backbone:.0f}")


def median(runs, key):
    """Median of one figure of several runs."""
    return statistics.median(run[key] for run in runs)


if __name__ == "__main__":
    main()
