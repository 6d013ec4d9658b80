"""Writing and reading a bank against pyarrow: the same rows, columns, encodings, compression level, row
groups, pages and threads.

Usage: bank_io_compare.py [--shape 2048 7 7] [--rows 2600] [--repeats 5] [--folder /dev/shm]

Run it with a Python that has pyarrow and NumPy (`make bench-io`). The programs take turns; medians are
printed, in rows a second. Both sync their files; the folder is in memory by default, so that a disk
does not speak for either. pyarrow writes a file in one thread whatever it is told, so its figure for
two threads is two files side by side, in threads or in processes, whichever is faster. See
bank_io_pyarrow.py for what it is told, and bank_io.rs for our side; `zstd searching` is with the very
settings of zstd that pyarrow uses, which banks are not written with.
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
OURS = ["cargo", "bench", "--quiet", "--locked", "--no-default-features", "--bench", "bank_io", "--"]


def lines(command):
    """The figures a program prints, and the first of its other lines."""
    done = subprocess.run(command, cwd=HERE.parent.parent, check=True, stdout=subprocess.PIPE, text=True)
    printed = done.stdout.splitlines()
    remark = next((line for line in printed if not line.startswith("{")), "")
    return [json.loads(line) for line in printed if line.startswith("{")], remark


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[2048, 7, 7], metavar=("K", "H", "W"))
    parser.add_argument("--rows", type=int, default=2600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, default="/dev/shm")
    args = parser.parse_args()
    rates, sizes = collections.defaultdict(list), {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        ours = [*OURS, folder, *map(str, args.shape), str(args.rows)]
        theirs = [sys.executable, HERE / "bank_io_pyarrow.py", f"{folder}/shards"]
        for turn in range(args.repeats):
            for name, command in [("fsa-bank", ours), ("pyarrow", theirs)]:
                figures, remark = lines(command)
                if turn == 0 and remark:
                    print(remark, flush=True)
                for figure in figures:
                    key = name, figure["what"], figure["threads"]
                    rates[key].append(figure["rows_per_sec"])
                    sizes[key] = figure.get("stored_bytes")
    medians = {key: statistics.median(found) for key, found in rates.items()}
    map_bytes = 2 * args.shape[0] * args.shape[1] * args.shape[2]
    for (name, what, threads), found in rates.items():
        rate = medians[name, what, threads]
        text = f"{name}, {what}, threads: {threads}"
        text = f"{text:<48}{rate:7.0f} rows/s {rate * map_bytes / 1e6:6.0f} MB/s of f16"
        text += f" ({', '.join(f'{r:.0f}' for r in sorted(found))})"
        print(text + (f", {sizes[name, what, threads] / 1e6:.0f} MB" if sizes[name, what, threads] else ""))
    for what in ("write", "read"):
        for how in (", zstd searching", ""):
            for threads in (1, 2):
                best = max(
                    rate
                    for (name, way, of), rate in medians.items()
                    if name == "pyarrow" and way.startswith(what) and of == threads
                )
                ratio = medians["fsa-bank", what + how, threads] / best
                print(f"{what}{how}, threads: {threads}: {ratio:.2f} times pyarrow's best")


if __name__ == "__main__":
    main()
