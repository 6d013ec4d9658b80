"""Photographs to network inputs against PyTorch: images a second of decoding, scaling and normalising, by
fsa-bank and by a DataLoader with torchvision's transforms on PIL images.

Usage: decode_compare.py PHOTOS [--workers 2] [--repeats 3]

PHOTOS is a folder with one folder of photographs a class. Run it with a Python that has torch and
torchvision (`make bench-decode PHOTOS=...` makes one). Two settings: `eval` (scale to 256, middle 224) and
`train` (RandomResizedCrop 224, flip, colour jitter 0.4). The programs take turns, each with as many threads
or workers; medians are printed. The DataLoader's workers are started and warm before the clock is.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 64
KINDS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
NORMALISED = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
SETTINGS = {
    "eval": [transforms.Resize(256), transforms.CenterCrop(224)],
    "train": [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4),
    ],
}


class Photographs(Dataset):
    def __init__(self, folder, setting):
        self.paths = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in KINDS)
        self.transform = transforms.Compose(SETTINGS[setting] + NORMALISED)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def theirs(folder, setting, workers):
    photographs = Photographs(folder, setting)
    loader = DataLoader(photographs, BATCH, num_workers=workers, persistent_workers=workers > 0)
    next(iter(loader))
    # The first pass is abandoned; this one waits until its batches are out of the way.
    for _ in loader:
        pass
    begin = time.perf_counter()
    images = sum(len(batch) for batch in loader)
    return images / (time.perf_counter() - begin)


def ours(folder, setting, threads):
    command = ["cargo", "bench", "--quiet", "--no-default-features", "--bench", "decode", "--"]
    command += [str(folder.resolve()), setting, str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])["images_per_sec"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    for setting in SETTINGS:
        ours(args.photos, setting, args.workers)  # builds it, and has the files in memory
        rates = {"fsa-bank": [], "DataLoader": []}
        for _ in range(args.repeats):
            rates["fsa-bank"].append(ours(args.photos, setting, args.workers))
            rates["DataLoader"].append(theirs(args.photos, setting, args.workers))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        for name, found in rates.items():
            each = ", ".join(f"{rate:.0f}" for rate in found)
            print(f"{setting}, {name}: {medians[name]:.0f} images a second ({each})", flush=True)
        print(f"{setting}: {medians['fsa-bank'] / medians['DataLoader']:.2f} times", flush=True)


main()
