"""Writing and reading a bank's columns with pyarrow: what bank_io.rs does, as pyarrow does it.

Usage: bank_io_pyarrow.py SHARDS [--threads 2] [--files 1]

Takes the training rows of a bank in memory, then writes them with the bank's encodings, compression
level, row groups and pages as near as pyarrow's options come, synced as the bank's files are, and
reads the bank itself, all columns but the two texts, which Phase-II does not read either, into NumPy
arrays [n, L * K] whose bits are summed. `--files 2` writes two files side by side, half of the rows
each, in two threads (`--processes`: in two processes), which is how a program would keep two cores
busy; one file is written by one thread, whatever pyarrow is told. Reads in two ways and counts the
faster: whole row groups at a time with `iter_batches`, and the file at once with `read_table`.
Prints a line of JSON for each.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MAP_PAGE_BYTES, ROW_GROUP_BYTES, SHARD_BYTES = 1 << 18, 1 << 25, 1 << 29
TEXTS = ["path", "class_name"]
INTEGERS = ["sample_id", "view", "label", "predicted"]
LISTS = ["pooled", "cam", "feature_map"]
READ = ["sample_id", "view", "label", "pooled", "cam", "nonzero", "feature_map"]


def options(map_bytes):
    """The bank's encodings and sizes (schemas/)."""
    encodings = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in LISTS}
    encodings |= {name: "DELTA_BINARY_PACKED" for name in INTEGERS}
    return {
        "version": "1.0",
        "data_page_version": "1.0",
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": TEXTS,
        "column_encoding": encodings,
        "write_statistics": INTEGERS,
        "store_schema": False,
        "write_page_index": True,
        # A page is closed at or after this size, so a page holds as many whole maps as in the bank.
        "data_page_size": max(MAP_PAGE_BYTES // map_bytes, 1) * map_bytes,
    }


def write(path, table, map_bytes):
    """One file, synced."""
    with open(path, "wb") as file:
        with pq.ParquetWriter(file, table.schema, **options(map_bytes)) as writer:
            writer.write_table(table, row_group_size=max(ROW_GROUP_BYTES // map_bytes, 1))
        file.flush()
        os.fsync(file.fileno())


def write_part(folder, part, of, map_bytes):
    """Every `of`-th shard of the rows, from the one of this number."""
    rows = max(SHARD_BYTES // map_bytes, 1)
    for shard, begin in enumerate(range(0, TABLE.num_rows, rows)):
        if of == 1:
            write(folder / f"{shard}.parquet", TABLE.slice(begin, rows), map_bytes)
        else:
            half = -(-min(rows, TABLE.num_rows - begin) // of)
            mine = TABLE.slice(begin, rows).slice(part * half, half)
            write(folder / f"{shard}-{part}.parquet", mine, map_bytes)


def write_all(folder, files, processes, map_bytes):
    """The rows in `files` files at a time, side by side."""
    if files == 1:
        write_part(folder, 0, 1, map_bytes)
    elif processes:
        # The table is shared by the fork; nothing of it is copied.
        jobs = [
            multiprocessing.get_context("fork").Process(
                target=write_part, args=(folder, part, files, map_bytes)
            )
            for part in range(files)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
            assert job.exitcode == 0
    else:
        with concurrent.futures.ThreadPoolExecutor(files) as pool:
            done = [pool.submit(write_part, folder, p, files, map_bytes) for p in range(files)]
            for job in done:
                job.result()


def bits(values):
    """Sum of the bits of a float array, modulo 2^64."""
    return int(values.view(np.uint32).sum(dtype=np.uint64))


def list_values(column, width):
    """[n, width] of a list column, without a copy."""
    return column.flatten().to_numpy().reshape(-1, width)


def read_batches(paths, rows, width):
    """Row group by row group."""
    total = count = 0
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(rows, columns=READ, use_threads=True):
            total += bits(list_values(batch.column("feature_map"), width))
            count += batch.num_rows
    return total % 2**64, count


def read_table(paths, width):
    """A file at a time."""
    total = count = 0
    for path in paths:
        table = pq.read_table(path, columns=READ, use_threads=True, partitioning=None)
        for chunk in table.column("feature_map").chunks:
            total += bits(list_values(chunk, width))
        count += table.num_rows
    return total % 2**64, count


def cpu_secs():
    """Processor time of this process and its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(work):
    """Seconds, processor seconds and the result."""
    begin, cpu = time.perf_counter(), cpu_secs()
    result = work()
    return time.perf_counter() - begin, cpu_secs() - cpu, result


def main():
    global TABLE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=pathlib.Path)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    args = parser.parse_args()
    manifest = json.loads((args.shards / "manifest.json").read_text())
    width = int(np.prod([manifest["feature_shape"][k] for k in ("channels", "height", "width")]))
    map_bytes = 4 * width
    paths = sorted(args.shards.glob("train-*.parquet"))
    TABLE = pa.concat_tables(pq.read_table(p, partitioning=None) for p in paths).combine_chunks()
    values = TABLE.num_rows * width

    def report(what, threads, secs, cpu, **more):
        line = {"what": what, "threads": threads, "secs": secs, "cpu_secs": cpu}
        line |= {"rows_per_sec": TABLE.num_rows / secs, "f16_mb_per_sec": 2e-6 * values / secs}
        line |= {"f32_mb_per_sec": 4e-6 * values / secs} | more
        print(json.dumps(line), flush=True)

    for threads in args.threads:
        pa.set_cpu_count(threads)
        ways = [("write", 1, False)]
        if threads > 1:
            ways += [("write, files in threads", threads, False)]
            ways += [("write, files in processes", threads, True)]
        for what, files, processes in ways:
            with tempfile.TemporaryDirectory(dir=args.shards.parent) as folder:
                folder = pathlib.Path(folder)
                secs, cpu, _ = timed(lambda: write_all(folder, files, processes, map_bytes))
                stored = sum(file.stat().st_size for file in folder.iterdir())
            report(what, threads, secs, cpu, stored_bytes=stored)
        expected = bits(TABLE.column("feature_map").chunk(0).flatten().to_numpy()), TABLE.num_rows
        rows = max(ROW_GROUP_BYTES // map_bytes, 1)
        for what, read in [
            ("read, batches", lambda: read_batches(paths, rows, width)),
            ("read, table", lambda: read_table(paths, width)),
        ]:
            secs, cpu, found = timed(read)
            assert found == expected, "the values read are not those of the bank"
            report(what, threads, secs, cpu)


if __name__ == "__main__":
    main()
