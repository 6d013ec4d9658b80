"""Phase-I on a CPU against the same training in PyTorch: images a second, and the loss of every epoch from the
same initial weights and batches.

Usage: train_compare.py FSA_BANK [--width 64] [--epochs 3] [--repeats 3] [--threads 2]

The images are those of pipelines/demo.toml (1,394, 32 x 32), without random crops and flips; the data order is
fsa-bank's, whose generator is written out here again. Run it with a Python that has torch, torchvision, pyarrow,
Pillow and safetensors (`make bench-train` makes one). The programs take turns; medians are printed.
"""

import argparse
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import pyarrow.parquet
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 128
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
DATA_ORDER = 1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def mixed(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Keyed:
    """src/rng.rs: SplitMix64 keyed by (seed, stage, key)."""

    def __init__(self, seed, stage, key):
        self.state = mixed((seed + GOLDEN) & MASK)
        for word in (stage, *key):
            self.state = mixed(self.state ^ (mixed((word + GOLDEN) & MASK) * GOLDEN & MASK))

    def below(self, n):
        while True:
            self.state = (self.state + GOLDEN) & MASK
            product = (mixed(self.state) >> 32) * n
            if product & 0xFFFFFFFF >= (1 << 32) % n:
                return product >> 32

    def shuffled(self, count):
        items = list(range(count))
        for i in range(count - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def images():
    table = pyarrow.parquet.read_table(ROOT / "pipelines/demo-images.parquet").to_pandas()
    table = table[table["split"] == "train"]
    pixels = numpy.stack([numpy.asarray(Image.open(io.BytesIO(b)).convert("RGB")) for b in table["image"]])
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return (inputs - mean) / std, torch.tensor(table["label"].to_numpy(), dtype=torch.int64)


def network(width):
    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2], num_classes=10)
    if width != 64:
        model.inplanes = width
        block = torchvision.models.resnet.BasicBlock
        for i, (planes, stride) in enumerate([(1, 1), (2, 2), (4, 2), (8, 2)], 1):
            setattr(model, f"layer{i}", model._make_layer(block, width * planes, 2, stride))
        model.bn1 = torch.nn.BatchNorm2d(width)
        model.fc = torch.nn.Linear(8 * width, 10)
    model.conv1 = torch.nn.Conv2d(3, width, 3, 1, 1, bias=False)
    model.maxpool = torch.nn.Identity()
    return model


def theirs(state, width, epochs, inputs, labels):
    """Images a second of the last epoch, and the loss of each."""
    model = network(width)
    model.load_state_dict(state)
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    losses, rate = [], 0.0
    for epoch in range(epochs):
        order = torch.tensor(Keyed(0, DATA_ORDER, (epoch, 0)).shuffled(len(labels)))
        begin, total = time.perf_counter(), 0.0
        for batch in order.split(BATCH):
            x = inputs[batch].contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(model(x), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        rate = len(labels) / (time.perf_counter() - begin)
        losses.append(total / len(labels))
    return rate, losses


def ours(program, folder, width, epochs, threads):
    settings = [
        f"network.width={width}", f"network.weights={folder}/initial.safetensors", f"train.epochs={epochs}",
        f"train.batch_size={BATCH}", "train.learning_rate=0.01", "train.crop_padding=0", "train.flip=false",
        "train.eval_every=0", "train.schedule=step", "train.step_epochs=1000", "train.checkpoint_every=1000",
    ]
    command = [program, "-q", "--json", "--threads", threads, "train", ROOT / "pipelines/demo.toml"]
    command += ["--device", "cpu", "--overwrite", "--out", folder / "run"]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("fsa-bank failed")
    rows = json.loads(done.stdout)["epochs"]
    return rows[-1]["images_per_sec"], [row["train_loss"] for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    inputs, labels = images()
    state = {name: tensor.contiguous() for name, tensor in network(args.width).state_dict().items()}
    rates = {"fsa-bank": [], "PyTorch": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        save_file(state, folder / "initial.safetensors")
        for _ in range(args.repeats):
            rate, our_losses = ours(args.program, folder, args.width, args.epochs, args.threads)
            rates["fsa-bank"].append(rate)
            rate, their_losses = theirs(state, args.width, args.epochs, inputs, labels)
            rates["PyTorch"].append(rate)
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.1f} images a second ({', '.join(f'{r:.1f}' for r in found)})")
    ratio = statistics.median(a / b for a, b in zip(rates["fsa-bank"], rates["PyTorch"]))
    print(f"fsa-bank has {ratio:.3f} of PyTorch's speed (median of the rounds)")
    for epoch, (a, b) in enumerate(zip(our_losses, their_losses), 1):
        print(f"epoch {epoch}: loss {a:.5f}, PyTorch {b:.5f}, apart by {abs(a / b - 1):.2e}")


main()
