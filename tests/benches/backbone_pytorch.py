"""Times what Phase-II would cost with the backbone in every iteration, in PyTorch on the CPU.

Usage: backbone_pytorch.py [--threads 2] [--iterations 3] [--json]

One iteration runs a ResNet-18 (CIFAR stem, width 64) forward over a batch of 128 images of 32 x 32, in
bf16 and channels-last, then a step of SGD on the FC layer (K 512, C 100). It needs torch alone.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F

BATCH, CLASSES = 128, 100


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels_in != channels:
            convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x):
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def backbone(width=64):
    """ResNet-18 with a 3 x 3 stem of stride 1, up to its pooled vector."""
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(Block(channels, width << stage, stride))
            channels = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = backbone().eval().to(torch.bfloat16).to(memory_format=torch.channels_last)
    head = nn.Linear(512, CLASSES)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.001, momentum=0.9)
    images = torch.randn(BATCH, 3, 32, 32).to(torch.bfloat16).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES

    def iteration():
        with torch.no_grad():
            pooled = network(images).float()
        optimizer.zero_grad()
        F.cross_entropy(head(pooled), labels).backward()
        optimizer.step()

    iteration()
    begin = time.perf_counter()
    for _ in range(args.iterations):
        iteration()
    rate = args.iterations / (time.perf_counter() - begin)
    if args.json:
        print(json.dumps({"iterations_per_sec": rate}))
    else:
        print(f"{rate:.2f} iterations of {BATCH} images a second")


if __name__ == "__main__":
    main()
