"""Exports the networks of torchvision and timm, with random weights and both of PyTorch's exporters,
and gives each to `fsa-bank features --onnx`. `make test-networks` runs it (10 minutes).

    check_networks.py FSA_BANK
"""

import logging
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import timm
import torch
import torchvision
from PIL import Image

CLASSES, SIDE = 4, 224
TAKEN = [
    "torchvision/resnet18 resnext50_32x4d densenet121 mobilenet_v2 efficientnet_b0 shufflenet_v2_x1_0",
    "torchvision/mnasnet1_0 regnet_y_400mf googlenet inception_v3",
    "timm/resnet18 efficientnet_b0 resnest14d dla34 repvgg_a0 mixnet_s",
]
REFUSED = [
    "torchvision/vgg11 squeezenet1_1 mobilenet_v3_small convnext_tiny vit_b_16",
    "timm/mobilenetv3_small_100 ghostnet_100 vit_tiny_patch16_224 swin_tiny_patch4_window7_224",
]


def models(lines):
    for line in lines:
        library, names = line.split("/")
        for name in names.split():
            if library == "timm":
                model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
            else:
                options = {"googlenet": {"aux_logits": False}, "inception_v3": {"aux_logits": False}}.get(name, {})
                if options:
                    options["init_weights"] = False
                model = getattr(torchvision.models, name)(num_classes=CLASSES, **options)
            yield f"{library}-{name}", model.eval()


def export(model, path, dynamo):
    example = torch.randn(2, 3, SIDE, SIDE)
    options = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "verbose": False}
    if not dynamo:
        options = {"dynamic_axes": {"images": {0: "n"}}}
    torch.onnx.export(model, (example,), str(path), input_names=["images"], dynamo=dynamo, **options)


def photographs(folder):
    rng = np.random.default_rng(0)
    for split, count in [("train", 3), ("test", 1)]:
        for c in range(CLASSES):
            place = folder / split / f"class-{c}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (260, 300, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.jpg")


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    program = sys.argv[1]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        photographs(folder / "photos")
        for lines, taken in [(TAKEN, True), (REFUSED, False)]:
            for name, model in models(lines):
                for dynamo in [False, True]:
                    path = folder / f"{name}-{'dynamo' if dynamo else 'torchscript'}.onnx"
                    export(model, path, dynamo)
                    command = [program, "-q", "features", "--onnx", path, "--images", folder / "photos"]
                    command += ["--out", folder / "run", "--overwrite"]
                    done = subprocess.run(command, capture_output=True, text=True)
                    said = (done.stderr or done.stdout).strip().split("\n")[0]
                    said = said.replace(str(folder) + "/", "")[:200]
                    as_wanted = (done.returncode == 0) == taken
                    as_wanted &= taken or "must end in global average pooling" in said
                    wrong += [] if as_wanted else [path.name]
                    print("ok  " if as_wanted else "BAD ", path.name, "-", said, flush=True)
                    for file in folder.glob("*.onnx*"):
                        file.unlink()
    sys.exit(f"not as expected: {wrong}" if wrong else 0)


main()
