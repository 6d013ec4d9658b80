"""Writes the corpus tests/data/checkpoints with PyTorch (2.11): files of torch.save in both forms.

Usage: make_checkpoints.py FOLDER

Each NAME.pth of tensors goes with NAME.safetensors, the same in f32, from which the tests take what is
right. Networks are a ResNet of 10 layers of which every stage is a few channels wide, so that a file has
a few KB; the tests describe it as `width = 1`.
"""

import argparse
import collections
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(sys.argv[1])
WIDTH, CLASSES = 1, 3
torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))


class ResNet10(nn.Module):
    """Torchvision's names; it never runs."""

    def __init__(self, head=lambda channels: nn.Linear(channels, CLASSES)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        channels = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH]
        for i in range(1, 5):
            block = Block(channels[i - 1], channels[i], 1 if i == 1 else 2)
            setattr(self, f"layer{i}", nn.Sequential(block))
        self.fc = head(channels[-1])


def network(seed, **options):
    torch.manual_seed(seed)
    made = ResNet10(**options)
    for name, tensor in made.state_dict().items():
        if "running" in name or "bn" in name:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return made


def save(name, value, **options):
    torch.save(value, OUT / f"{name}.pth", **options)


def both(name, value):
    save(name, value)
    save(f"{name}-legacy", value, _use_new_zipfile_serialization=False)


def expected(name, tensors):
    plain = {key: t.detach().float().contiguous().clone() for key, t in tensors.items()}
    save_file({key: t for key, t in plain.items() if "num_batches" not in key}, OUT / f"{name}.safetensors")


def under(beginning, tensors):
    return collections.OrderedDict((beginning + key, value) for key, value in tensors.items())


# Tensors of all kinds of views.
storage = torch.arange(24.0) / 8 - 1
grid = storage.reshape(4, 6)
tensors = {
    "plain": torch.randn(2, 3),
    "half": torch.randn(5).half(),
    "bfloat16": torch.randn(2, 2).bfloat16(),
    "double": torch.randn(3).double(),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "shared": grid,
    "shared_rows": grid[1:3],
    "transposed": grid.t(),
    "every_second": grid[::2, 1::2],
    "last_value": storage[-1],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
    "channels_last": torch.randn(1, 2, 2, 3).contiguous(memory_format=torch.channels_last),
    "half_columns": torch.randn(3, 4).half()[:, 1],
    "parameter": nn.Parameter(torch.randn(4)),
    "buffer": torch.nn.Buffer(torch.randn(2)),
    "tagged": nn.Parameter(torch.randn(2)),
}
tensors["tagged"].note = "an attribute of its own"
expected("views", tensors)
integers = {
    "long": torch.tensor([1, 2]),
    "int": torch.tensor([1], dtype=torch.int32),
    "short": torch.tensor([1], dtype=torch.int16),
    "char": torch.tensor([1], dtype=torch.int8),
    "byte": torch.tensor([1], dtype=torch.uint8),
    "bool": torch.tensor([True]),
}
both("views", {**tensors, **integers})
save("views-protocol-4", {**tensors, **integers}, pickle_protocol=4)

# A state dict as torchvision and timm publish it.
one = network(1)
state = one.state_dict()
expected("network", state)
both("network", state)

# DataParallel, and torch.compile around a wrapper.
both("data-parallel", nn.DataParallel(one).state_dict())
save("compiled", under("_orig_mod.module.", state))

# With the optimizer, as most training scripts leave it; names of settings of all kinds.
optimizer = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
one.fc.weight.grad = torch.ones_like(one.fc.weight)
optimizer.step()
state = {key: value.clone() for key, value in one.state_dict().items()}
expected("training", state)
arguments = argparse.Namespace(lr=0.1, output=pathlib.Path("/tmp/x/y"), betas=(0.9, 0.999), tags={"a"})
both(
    "training",
    {
        "epoch": 90,
        "arch": "resnet10",
        "model": one.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"milestones": collections.Counter([30, 60]), "last": np.float64(0.5)},
        "best_acc1": torch.tensor(71.5),
        "args": arguments,
        "rng": (np.random.RandomState(0).get_state(), torch.get_rng_state()[:16].clone()),
        "counts": collections.defaultdict(int, {"a": 1}),
        "large": 2**90,
        "type": torch.float32,
        "size": one.fc.weight.shape,
        "device": torch.device("cpu"),
    },
)

# Lightning: `model.` before the names, counters and settings beside.
two = network(2, head=lambda channels: nn.Linear(channels, 7))
expected("lightning", two.state_dict())
both(
    "lightning",
    {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**under("model.", two.state_dict()), "loss.weight": torch.ones(7)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.25)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "widths": [1, 2]},
    },
)

# timm: an average beside the weights.
average = {key: value * 0.5 if value.is_floating_point() else value for key, value in state.items()}
save("timm", {"epoch": 1, "arch": "resnet10", "state_dict": state, "state_dict_ema": average, "version": 2})

# MoCo v2: query and key encoders with two layers each in place of the classifier, and a queue.
head = lambda channels: nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 4))
query, key = network(3, head=head), network(4, head=head)
body = {name: value for name, value in query.state_dict().items() if not name.startswith("fc.")}
expected("moco", body)
moco = {
    **under("module.encoder_q.", query.state_dict()),
    **under("module.encoder_k.", key.state_dict()),
    "module.queue": torch.randn(4, 6),
    "module.queue_ptr": torch.zeros(1, dtype=torch.long),
}
save("moco", {"epoch": 200, "arch": "resnet10", "state_dict": moco, "optimizer": {"state": {}}})

# DINO: pupil and teacher.
no_head = lambda beginning, of: under(beginning, {k: v for k, v in of.state_dict().items() if "fc." not in k})
save(
    "dino",
    {
        "student": {**no_head("module.backbone.", key), "module.head.mlp.0.weight": torch.ones(2, 2)},
        "teacher": {**no_head("backbone.", query), "head.mlp.0.weight": torch.ones(2, 2)},
        "epoch": 100,
        "args": arguments,
        "dino_loss": collections.OrderedDict(center=torch.zeros(1, 4)),
    },
)

# mmpretrain: the classifier is elsewhere.
save(
    "mmpretrain",
    {
        "meta": {"mmpretrain_version": "1.0.0", "CLASSES": ["a", "b", "c"], "time": "now"},
        "state_dict": {
            **no_head("backbone.", query),
            "head.fc.weight": query.fc[2].weight.detach(),
            "head.fc.bias": query.fc[2].bias.detach(),
        },
    },
)

# What is refused: a whole network, a program, tensors that are no plain values.
save("whole-network", nn.Sequential(nn.Linear(1, 1)))
torch.jit.script(nn.Sequential(nn.Linear(1, 1))).save(OUT / "script.pth")
quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
save("quantised", {"weight": quantised})
save("sparse", {"weight": torch.eye(2).to_sparse()})
save("complex", {"weight": torch.ones(2, dtype=torch.complex64)})
save("no-tensors", {"epoch": 3, "names": ["a", "b"]})
