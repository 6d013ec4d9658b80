"""Writes tests/data/networks.json: maps and logits of PyTorch's own networks, for weights and images
that a formula gives. Needs what `make test-networks` installs.

    .venv-bench/bin/python tests/readers/make_network_references.py
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

CLASSES, IMAGES, SAMPLED = 10, 2, 61


def units(name, count):
    """`count` numbers in [0, 1) that follow from `name`; src/torch/tests.rs has the same formula."""
    seed = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            seed = np.uint32((seed ^ np.uint32(byte)) * np.uint32(16777619))
        x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + seed
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x85EBCA6B)
        x ^= x >> np.uint32(13)
        x *= np.uint32(0xC2B2AE35)
        x ^= x >> np.uint32(16)
    return x / np.float64(2**32)


def fill(model):
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        u = units(name, tensor.numel()).reshape(tensor.shape)
        if tensor.ndim == 4:
            fan_out = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            values = (2 * u - 1) * np.sqrt(6 / fan_out)
        elif tensor.ndim == 2:
            values = (2 * u - 1) / np.sqrt(tensor.shape[1])
        elif name.endswith("running_mean"):
            values = 0.2 * u - 0.1
        elif name.endswith(".bias"):
            values = u - 0.5
        else:  # weight and running_var of batch normalisation
            values = 0.3 + 0.4 * u if name.endswith("weight") else 0.5 + u
        state[name] = torch.from_numpy(values.astype(np.float32))
    model.load_state_dict(state, strict=True)


class CifarBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            half = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage in range(3):
            layers = []
            for i in range(blocks):
                layers.append(CifarBlock(inputs, 16 << stage, 2 if i == 0 and stage > 0 else 1))
                inputs = 16 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def with_cifar_stem(model):
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


def networks():
    models = torchvision.models
    for name, blocks in [("resnet10", [1] * 4), ("resnet18", [2] * 4), ("resnet34", [3, 4, 6, 3])]:
        yield name, "imagenet", 64, ResNet(BasicBlock, blocks, CLASSES)
        yield name, "cifar", 32, with_cifar_stem(ResNet(BasicBlock, blocks, CLASSES))
    for name, blocks in [("resnet50", [3, 4, 6, 3]), ("resnet101", [3, 4, 23, 3]), ("resnet152", [3, 8, 36, 3])]:
        yield name, "imagenet", 64, ResNet(Bottleneck, blocks, CLASSES)
    yield "resnet50", "cifar", 32, with_cifar_stem(ResNet(Bottleneck, [3, 4, 6, 3], CLASSES))
    for depth in [20, 32, 44, 56]:
        yield f"resnet{depth}", "cifar", 32, CifarResNet((depth - 2) // 6)
    for name in ["densenet121", "mobilenet_v2", "efficientnet_b0"]:
        yield name, "imagenet", 64, getattr(models, name)(num_classes=CLASSES)


def feature_map(model, images):
    """What global average pooling gets: its mean over locations is what the FC layer gets."""
    if hasattr(model, "features"):
        x = model.features(images)
        return F.relu(x) if isinstance(model, torchvision.models.DenseNet) else x
    seen = []
    last = model.layer4 if hasattr(model, "layer4") else model.layer3
    handle = last.register_forward_hook(lambda _, __, output: seen.append(output))
    model(images)
    handle.remove()
    return seen[0]


def first_step(model, images):
    """Loss of a training step, and the length of its gradient for each parameter, by name; in f64,
    for in f32 PyTorch's own gradients of the deep ResNets are off by up to 4 %."""
    model, images = model.double().train(), images.double()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    loss = F.cross_entropy(model(images), torch.arange(IMAGES))
    loss.backward()
    named = sorted(model.named_parameters())
    return loss.item(), [parameter.grad.norm().item() for _, parameter in named]


def main():
    rows = []
    for arch, stem, side, model in networks():
        fill(model)
        model.eval()
        values = (4 * units("images", IMAGES * 3 * side * side) - 2).astype(np.float32)
        images = torch.from_numpy(values).reshape(IMAGES, 3, side, side)
        with torch.no_grad():
            logits, maps = model(images), feature_map(model, images)
        flat = maps.flatten()
        loss, gradient = first_step(model, images)
        rows.append(
            {
                "arch": arch,
                "stem": stem,
                "side": side,
                "map_shape": list(maps.shape),
                "map_max": float(flat.abs().max()),
                "map_every": SAMPLED,
                "map": [float(f"{v:.7g}") for v in flat[::SAMPLED][:200].tolist()],
                "loss": loss,
                "gradient": [float(f"{v:.6g}") for v in gradient],
                "logits": [float(f"{v:.7g}") for v in logits.flatten().tolist()],
            }
        )
        print(arch, stem, list(maps.shape), f"map max {rows[-1]['map_max']:.3g}", f"logits {logits.abs().max():.3g}")
    path = pathlib.Path(__file__).parents[1] / "data" / "networks.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


main()
