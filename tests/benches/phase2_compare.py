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
    command = ["cargo", "bench", "--quiet", "--no-default-features", "--target-dir"]
    command += ["target/bank-only", "--bench", "phase2", "--", str(folder), *map(str, shape)]
    env = {"RAYON_NUM_THREADS": str(threads)}
    output = run(command, env)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def pytorch(folder, iterations, threads):
    """Timing of one run of the PyTorch script."""
    script = [sys.executable, HERE / "phase2_pytorch.py", folder / "shards", "--json"]
    script += ["--iterations", str(iterations), "--threads", str(threads)]
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
        mine, theirs = [], []
        for _ in range(args.repeats):
            mine += ours(folder, (k, h, w, c, rows, our_iterations), args.threads)
            theirs.append(pytorch(folder, their_iterations, args.threads))
        rate = [statistics.median(r["iterations_per_sec"] for r in side) for side in (mine, theirs)]
        load = [statistics.median(r["load_secs"] for r in side) for side in (mine, theirs)]
        print(
            f"{name}: fsa-bank {rate[0]:.0f} ({load[0]:.2f} s), PyTorch {rate[1]:.0f} "
            f"({load[1]:.2f} s), ratio {rate[0] / rate[1]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
