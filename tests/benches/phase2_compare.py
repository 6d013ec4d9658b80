"""Phase-II against PyTorch on the same banks: the table of docs/results.md.

Usage: phase2_compare.py [--threads 2] [--repeats 3] [FOLDER]

Run it with a Python that has torch, pyarrow and numpy (`make bench` makes one). Banks of synthetic
maps are made in FOLDER (target/phase2) once. The two programs take turns; medians are printed.
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
]


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
    args = parser.parse_args()
    print("iterations a second, seconds to load the bank; medians")
    for name, k, h, w, c, rows, our_iterations, their_iterations in SHAPES:
        folder = (args.folder / f"{k}-{h}-{w}-{c}").absolute()
        mine, theirs = [], {name: [] for name in PYTORCH}
        for _ in range(args.repeats):
            mine += ours(folder, (k, h, w, c, rows, our_iterations), args.threads)
            for way, options in PYTORCH.items():
                theirs[way].append(pytorch(folder, options, their_iterations, args.threads))
        rate, load = median(mine, "iterations_per_sec"), median(mine, "load_secs")
        print(f"{name}: fsa-bank {rate:.0f} ({load:.2f} s)", flush=True)
        for way, runs in theirs.items():
            their_rate, load = median(runs, "iterations_per_sec"), median(runs, "load_secs")
            ratio = rate / their_rate
            print(f"  PyTorch, {way}: {their_rate:.0f} ({load:.2f} s), ratio {ratio:.2f}", flush=True)


def median(runs, key):
    """Median of one figure of several runs."""
    return statistics.median(run[key] for run in runs)


if __name__ == "__main__":
    main()
