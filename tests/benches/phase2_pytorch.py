"""Times Phase-II of feature space augmentation in plain PyTorch, on the CPU: the baseline to beat.

    python tests/benches/phase2_pytorch.py runs/demo/shards
    python tests/benches/phase2_pytorch.py --synthetic 512 16 100 11000

It needs torch, numpy and pyarrow. The first form reads a bank, all of it into memory as f32, does
the work of `fsa-bank finetune` with the same defaults, and tells top-1 on the test rows before and
after; the draws come from another generator, so the two agree up to the spread between seeds. The
second form makes up a long-tailed bank of K channels, L locations, C classes and ROWS rows, and
only tells the speed.

Reading the bank (`load_secs`), setting up tables (`setup_secs`) and the iterations (`train_secs`)
are timed apart. The iterations a second leave out the first two and some iterations of warm-up.

What keeps it fast: the locations that a fused sample may draw are listed once for each row, so a
draw is one random number and one look-up, with no torch.multinomial; `embedding_bag` reads only
the vectors that were drawn and averages them on the way, with no bmm over whole maps; the batches
of `--chunk` iterations are made together, which spreads the cost of a call (`--chunk 1` makes one
at a time); and SGD is the fused one.

`--fusion bmm --chunk 1` is the way most would write it: `multinomial` over the masks of each fused
sample, `scatter_add` into counts, `bmm` with whole maps, one iteration at a time. `--step hand` writes out
the gradient and the update in place of autograd and torch.optim.SGD, and is faster still.
"""

import argparse
import json
import pathlib
import queue
import resource
import threading
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.nn import functional as F

LEARNING_RATE = 0.001
MOMENTUM = 0.9
TAU_SPECIFIC = 0.5
TAU_GENERIC = 0.5
WARM_UP = 128  # iterations

# The made-up bank.
IMBALANCE_RATIO = 100
ZERO_VECTORS = 0.1  # share of locations whose vector is all zeros


@dataclass
class Bank:
    """The training rows, the classes and the Phase-I classifier, as tensors."""

    labels: torch.Tensor  # [N]
    views: torch.Tensor  # [N]
    pooled: torch.Tensor  # [N, K]
    cam: torch.Tensor  # [N, L]
    nonzero: torch.Tensor  # [N, L]
    maps: torch.Tensor  # [N, L, K]
    images: torch.Tensor  # [C], training images of each class
    weight: torch.Tensor  # [C, K]
    bias: torch.Tensor  # [C]


def read_split(folder, split, shapes):
    """The named columns of a split, row group by row group into tensors of their final size.

    `shapes` gives the shape of a row and the type of each column.
    """
    shards = [pq.ParquetFile(path) for path in sorted(folder.glob(f"{split}-*.parquet"))]
    rows = sum(shard.metadata.num_rows for shard in shards)
    tensors = {name: torch.empty((rows, *shape), dtype=dtype) for name, (shape, dtype) in shapes.items()}
    begin = 0
    for shard in shards:
        for group in range(shard.num_row_groups):
            table = shard.read_row_group(group, columns=list(shapes))
            for name, tensor in tensors.items():
                copy_column(table[name], tensor[begin : begin + table.num_rows])
            begin += table.num_rows
    return tensors


def copy_column(column, target):
    """Copies a column of numbers, or of lists of one length, into a tensor."""
    begin = 0
    for chunk in column.chunks:
        values = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        values = values.to_numpy(zero_copy_only=False).reshape(len(chunk), *target.shape[1:])
        target.numpy()[begin : begin + len(chunk)] = values
        begin += len(chunk)


def read_bank(folder):
    """The bank in `folder`, and its test rows as (pooled, labels)."""
    shape = json.loads((folder / "manifest.json").read_text())["feature_shape"]
    channels, locations = shape["channels"], shape["height"] * shape["width"]
    pooled_columns = {"label": ((), torch.int64), "pooled": ((channels,), torch.float32)}
    train_columns = {
        **pooled_columns,
        "view": ((), torch.int64),
        "cam": ((locations,), torch.float32),
        "nonzero": ((locations,), torch.bool),
        "feature_map": ((locations, channels), torch.float32),
    }
    train = read_split(folder, "train", train_columns)
    test = read_split(folder, "test", pooled_columns)
    classes = pq.read_table(folder / "classes.parquet").sort_by("label")
    bank = Bank(
        labels=train["label"],
        views=train["view"],
        pooled=train["pooled"],
        cam=train["cam"],
        nonzero=train["nonzero"],
        maps=train["feature_map"],
        images=torch.tensor(classes["train_images"].to_pylist()),
        weight=torch.tensor(classes["weight"].to_pylist()),
        bias=torch.tensor(classes["bias"].to_pylist()),
    )
    return bank, (test["pooled"], test["label"])


def make_bank(channels, locations, classes, rows):
    """A bank of random values after a ReLU, one view an image, with long-tailed classes."""
    shares = IMBALANCE_RATIO ** -np.linspace(0, 1, classes)
    images = np.maximum(1, rows * shares / shares.sum()).astype(int)
    images[0] += rows - images.sum()
    labels = torch.from_numpy(np.repeat(np.arange(classes), images))
    head = nn.Linear(channels, classes)
    weight, bias = head.weight.detach(), head.bias.detach()

    maps = torch.empty(rows, locations, channels).normal_().relu_()
    maps[torch.rand(rows, locations) < ZERO_VECTORS] = 0
    activation = torch.bmm(maps, weight[labels][:, :, None])[:, :, 0]
    low, high = activation.amin(1, keepdim=True), activation.amax(1, keepdim=True)
    return Bank(
        labels=labels,
        views=torch.zeros_like(labels),
        pooled=maps.mean(1),
        cam=(activation - low) / (high - low).clamp_min(1e-12),
        nonzero=maps.amax(2) > 0,
        maps=maps,
        images=torch.from_numpy(images),
        weight=weight,
        bias=bias,
    )


def split_classes(images, head_ratio):
    """Head classes, the fewest largest ones with `head_ratio` of the images, and tail classes."""
    order = torch.argsort(images, descending=True, stable=True)
    held_before = images[order].cumsum(0) - images[order]
    in_head = held_before < head_ratio * images.sum().item()
    return order[in_head], order[~in_head]


def confusing_classes(bank, tail, count):
    """The other classes with the highest mean scores over the clean rows of each tail class: [C, N_f]."""
    confusing = torch.zeros(len(bank.images), min(count, len(bank.images) - 1), dtype=torch.int64)
    for label in tail.tolist():
        clean = bank.pooled[(bank.labels == label) & (bank.views == 0)]
        scores = F.linear(clean, bank.weight, bank.bias).softmax(1).double().mean(0)
        scores[label] = -1
        confusing[label] = torch.argsort(scores, descending=True, stable=True)[: confusing.shape[1]]
    return confusing


def draw_below(sizes):
    """A random integer from 0 to each size less 1 (0 where the size is 0)."""
    return (torch.rand(sizes.shape) * sizes).long()


class ClassRows:
    """The rows of each class, class by class in one table."""

    def __init__(self, labels, classes):
        self.rows = torch.argsort(labels, stable=True)
        self.sizes = torch.bincount(labels, minlength=classes)
        self.starts = self.sizes.cumsum(0) - self.sizes

    def draw(self, classes):
        """One row of each of `classes`."""
        return self.rows[self.starts[classes] + draw_below(self.sizes[classes])]


class Locations:
    """The locations that each row may give: class-specific ones for entries 0 to N - 1 of the
    tables, class-generic ones for entries N to 2N - 1. A location is an index into [N * L]."""

    def __init__(self, bank):
        self.rows, self.length = bank.cam.shape
        specific = (bank.cam > TAU_SPECIFIC) & bank.nonzero
        generic = (bank.cam < TAU_GENERIC) & bank.nonzero
        masks = torch.cat([specific, generic])
        self.masks = masks
        self.counts = masks.sum(1)
        first = (torch.arange(2 * self.rows) % self.rows * self.length)[:, None]
        kept_first = torch.argsort(~masks, dim=1, stable=True)
        self.table = (first + kept_first).flatten()

    def count(self, specific_rows, generic_rows, gamma):
        """How often each location of the two rows is drawn: twice [n, L]."""
        entries = [specific_rows, generic_rows + self.rows]
        empty = [self.counts[entry] == 0 for entry in entries]
        draws = (gamma * self.length).round()
        draws = draws.masked_fill(empty[1], self.length).masked_fill(empty[0], 0)
        taken = torch.arange(self.length) < draws[:, None]
        counts = []
        for entry, none, mine in zip(entries, empty, (taken, ~taken)):
            chances = self.masks[entry].float().masked_fill(none[:, None], 1)
            places = torch.multinomial(chances, self.length, replacement=True)
            counts.append(torch.zeros_like(chances).scatter_add_(1, places, mine.float()))
        # With nothing to draw, every location once: the real pooled sample.
        neither = (empty[0] & empty[1])[:, None]
        return counts[0].masked_fill(neither, 1), counts[1].masked_fill(neither, 0)

    def draw(self, specific_rows, generic_rows, gamma):
        """The L locations of each fused sample: [n, L]."""
        place = torch.arange(self.length)
        generic_rows = generic_rows + self.rows
        no_specific, no_generic = self.counts[specific_rows] == 0, self.counts[generic_rows] == 0
        draws = (gamma * self.length).round()
        draws = draws.masked_fill(no_generic, self.length).masked_fill(no_specific, 0)
        entry = torch.where(place < draws[:, None], specific_rows[:, None], generic_rows[:, None])
        drawn = self.table[entry * self.length + draw_below(self.counts[entry])]
        # With nothing to draw, every location once: the real pooled sample.
        whole = specific_rows[:, None] * self.length + place
        return torch.where((no_specific & no_generic)[:, None], whole, drawn)


class Batches:
    """Makes the batches of several iterations together."""

    def __init__(self, bank, args):
        self.head, self.tail = split_classes(bank.images, args.head_ratio)
        if len(self.tail) == 0:
            raise SystemExit(f"no tail class at --head-ratio {args.head_ratio}")
        self.bank = bank
        self.vectors = bank.maps.flatten(0, 1)
        self.confusing = confusing_classes(bank, self.tail, args.num_confusing)
        self.class_rows = ClassRows(bank.labels, len(bank.images))
        self.locations = Locations(bank)
        self.tail_per_batch, self.num_augmented = args.tail_per_batch, args.num_augmented
        self.fusion = args.fusion

    def draw_rows(self, classes, count):
        """`count` rows: a class uniformly, then one of its rows."""
        return self.class_rows.draw(classes[torch.randint(len(classes), (count,))])

    def fuse(self, tail_rows):
        """The fused vectors of each tail row, N_a after another: [n * N_a, K]."""
        classes = self.confusing[self.bank.labels[tail_rows]]
        turns = torch.arange(self.num_augmented).expand(len(tail_rows), -1)
        if self.num_augmented % classes.shape[1]:
            turns = turns + torch.randint(classes.shape[1], (len(tail_rows), 1))
        generic_rows = self.class_rows.draw(classes.gather(1, turns % classes.shape[1])).flatten()
        specific_rows = tail_rows.repeat_interleave(self.num_augmented)
        gamma = torch.rand(len(generic_rows))
        if self.fusion == "bmm":
            counts = self.locations.count(specific_rows, generic_rows, gamma)
            maps = self.bank.maps
            sums = [
                torch.bmm(count[:, None], maps[rows])[:, 0]
                for count, rows in zip(counts, (specific_rows, generic_rows))
            ]
            return (sums[0] + sums[1]) / self.locations.length
        drawn = self.locations.draw(specific_rows, generic_rows, gamma)
        return F.embedding_bag(drawn, self.vectors, mode="mean")

    def make(self, iterations):
        """The batches of some iterations: vectors [iterations, n, K] and labels [iterations, n]."""
        labels, pooled = self.bank.labels, self.bank.pooled
        tail_rows = self.draw_rows(self.tail, iterations * self.tail_per_batch)
        head_rows = self.draw_rows(self.head, len(tail_rows) * (1 + self.num_augmented))
        vectors = [pooled[tail_rows], self.fuse(tail_rows), pooled[head_rows]]
        tail_labels = labels[tail_rows]
        batch_labels = [tail_labels, tail_labels.repeat_interleave(self.num_augmented), labels[head_rows]]
        return (
            torch.cat([part.view(iterations, -1, pooled.shape[1]) for part in vectors], 1),
            torch.cat([part.view(iterations, -1) for part in batch_labels], 1),
        )


def phase1_classifier(bank):
    """The classifier that Phase-II starts from."""
    head = nn.Linear(bank.weight.shape[1], bank.weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(bank.weight)
        head.bias.copy_(bank.bias)
    return head


def plain_batches(batches, iterations, chunk):
    """The batches of all iterations, some iterations at a time."""
    for begin in range(0, iterations, chunk):
        with torch.no_grad():
            made = batches.make(min(chunk, iterations - begin))
        yield made


def batches_ahead(batches, iterations, chunk):
    """The same, made by a second thread while the first trains."""
    made = queue.Queue(2)

    def produce():
        for some in plain_batches(batches, iterations, chunk):
            made.put(some)
        made.put(None)

    threading.Thread(target=produce, daemon=True).start()
    return iter(made.get, None)


def fine_tune_by_autograd(bank, chunks):
    """Phase-II with autograd and torch.optim.SGD; the fine-tuned classifier."""
    head = phase1_classifier(bank)
    sgd = torch.optim.SGD(head.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    for vectors, labels in chunks:
        for x, y in zip(vectors.unbind(), labels.unbind()):
            sgd.zero_grad()
            F.cross_entropy(head(x), y).backward()
            sgd.step()
    return head


@torch.no_grad()
def fine_tune_by_hand(bank, chunks):
    """The same steps with the gradient of softmax cross-entropy written out."""
    head = phase1_classifier(bank)
    weight, bias = head.weight, head.bias
    weight_momentum, bias_momentum = torch.zeros_like(weight), torch.zeros_like(bias)
    for vectors, labels in chunks:
        share = 1 / labels.shape[1]
        for x, target in zip(vectors.unbind(), F.one_hot(labels, len(bias)).float().unbind()):
            error = torch.addmm(bias, x, weight.t()).softmax(1).sub_(target)
            weight_momentum.addmm_(error.t(), x, beta=MOMENTUM, alpha=share)
            bias_momentum.mul_(MOMENTUM).add_(error.sum(0), alpha=share)
            weight.sub_(weight_momentum, alpha=LEARNING_RATE)
            bias.sub_(bias_momentum, alpha=LEARNING_RATE)
    return head


def fine_tune(batches, iterations, args):
    """Phase-II; the fine-tuned classifier."""
    make = batches_ahead if args.ahead else plain_batches
    step = fine_tune_by_hand if args.step == "hand" else fine_tune_by_autograd
    return step(batches.bank, make(batches, iterations, args.chunk))


def top1(head, pooled, labels):
    """Share of rows whose class has the highest score, in percent."""
    with torch.no_grad():
        return 100 * (head(pooled).argmax(1) == labels).double().mean().item()


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", nargs="?", type=pathlib.Path, help="folder of a bank")
    parser.add_argument("--synthetic", nargs=4, type=int, metavar=("K", "L", "C", "ROWS"))
    parser.add_argument("--iterations", type=int, default=6400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=32, help="iterations whose batches are made together")
    parser.add_argument("--fusion", choices=["bags", "bmm"], default="bags")
    parser.add_argument("--step", choices=["autograd", "hand"], default="autograd")
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="make batches in a second thread (with --threads 1: two in all)",
    )
    parser.add_argument("--head-ratio", type=float, default=0.9)
    parser.add_argument("--num-confusing", type=int, default=3)
    parser.add_argument("--num-augmented", type=int, default=3)
    parser.add_argument("--tail-per-batch", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    args = parser.parse_args()
    if (args.bank is None) == (args.synthetic is None):
        parser.error("give the folder of a bank, or --synthetic K L C ROWS")
    return args


def measure(args):
    """Does the work and returns what there is to tell."""
    begin = time.perf_counter()
    bank, test = (make_bank(*args.synthetic), None) if args.synthetic else read_bank(args.bank)
    loaded = time.perf_counter()
    batches = Batches(bank, args)
    ready = time.perf_counter()
    fine_tune(batches, WARM_UP, args)
    warm = time.perf_counter()
    head = fine_tune(batches, args.iterations, args)
    done = time.perf_counter()
    told = {
        "rows": len(bank.labels),
        "load_secs": loaded - begin,
        "setup_secs": ready - loaded,
        "train_secs": done - warm,
        "iterations_per_sec": args.iterations / (done - warm),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if test:
        told["top1_before"] = top1(phase1_classifier(bank), *test)
        told["top1_after"] = top1(head, *test)
    return told


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    pa.set_cpu_count(args.threads)
    torch.manual_seed(args.seed)
    told = measure(args)
    if args.json:
        print(json.dumps(told))
        return
    for name, value in told.items():
        print(f"{name:<20} {value:,.2f}" if isinstance(value, float) else f"{name:<20} {value:,}")


if __name__ == "__main__":
    main()
