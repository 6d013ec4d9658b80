"""The features stage with ResNet-50 at 224 x 224 (f32, clean views) against the bare forward pass and
against PyTorch: the figures of docs/results.md.

Usage: features_compare.py FSA_BANK PHOTOS [--images 320] [--threads 2] [--repeats 3]

PHOTOS is a folder of photographs, one folder a class. Run it with a Python that has torch, torchvision,
onnx, pyarrow and safetensors (`make bench-features PHOTOS=...` makes one). The programs take turns;
medians are printed, and the peak memory for the images and for four times as many.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
TEST_IMAGES = 1  # of each class


def copies(photos, folder, count):
    """The same share of each class as train/, one image of each as test/; images are links."""
    classes = sorted(p for p in photos.iterdir() if p.is_dir())
    of_class = {c.name: sorted(p for p in c.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")) for c in classes}
    available = sum(len(images) - TEST_IMAGES for images in of_class.values())
    for name, images in of_class.items():
        for split, some in [("test", images[:TEST_IMAGES]), ("train", images[TEST_IMAGES:])]:
            (folder / split / name).mkdir(parents=True)
            wanted = len(some) if split == "test" else max(1, round(count * len(some) / available))
            for i in range(wanted):
                place = folder / split / name / f"{i:06}{some[i % len(some)].suffix}"
                place.symlink_to(some[i % len(some)].resolve())
    return len(classes)


def network(folder, classes):
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=classes).eval()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "resnet50.safetensors")
    head = {"fc.weight": state["fc.weight"].clone(), "fc.bias": state["fc.bias"].clone()}
    save_file(head, folder / "head.safetensors")
    example = torch.randn(2, 3, 224, 224)
    options = {"input_names": ["images"], "dynamic_axes": {"images": {0: "n"}}, "dynamo": False}
    torch.onnx.export(model, (example,), str(folder / "resnet50.onnx"), **options)
    (folder / "resnet50.toml").write_text(
        '[dataset]\nkind = "folder"\npath = "photos"\nimage_size = 224\ncrop_fraction = 0.875\n'
        '[network]\narch = "resnet50"\nweights = "resnet50.safetensors"\n[features]\nbatch_size = 32\n'
    )


def run(command):
    """The last line of its output as JSON, and its peak memory in MiB."""
    done = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    output = done.stdout.read()
    _, status, usage = os.wait4(done.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return json.loads(output.strip().splitlines()[-1]), usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        classes = copies(args.photos, folder / "photos", args.images)
        copies(args.photos, folder / "four", 4 * args.images)
        network(folder, classes)

        def ours(engine, photos, *extra):
            source = [folder / "resnet50.toml", "--head", folder / "head.safetensors"]
            if engine == "onnxruntime":
                source = ["--onnx", folder / "resnet50.onnx", "--set", "features.batch_size=32"]
            command = [args.program, "-q", "--json", "--threads", args.threads, "features", *source]
            command += ["--images", folder / photos, "--out", folder / "run", "--overwrite", "--device", "cpu"]
            return run(command + list(extra))

        def theirs(*extra):
            command = [sys.executable, HERE / "features_pytorch.py", folder / "photos", folder / "peer.parquet"]
            command += ["--weights", folder / "resnet50.safetensors", "--threads", args.threads]
            return run(command + ["--workers", args.threads, *extra])

        engines = ["onnxruntime", "libtorch"]
        rates = {name: [] for name in [*engines, "PyTorch", "PyTorch, channels last"]}
        shares = {engine: [] for engine in engines}
        for _ in range(args.repeats):
            for engine in engines:
                made, _ = ours(engine, "photos", "--measure-forward")
                # One view an image: rows are images.
                rates[engine].append(made["rows_per_sec"])
                shares[engine].append(made["rows_per_sec"] / made["forward_rows_per_sec"])
            rates["PyTorch"].append(theirs()[0]["images_per_sec"])
            rates["PyTorch, channels last"].append(theirs("--channels-last")[0]["images_per_sec"])
        medians = {name: statistics.median(found) for name, found in rates.items()}
        best = max(medians["PyTorch"], medians["PyTorch, channels last"])
        for name, found in rates.items():
            line = f"{name}: {medians[name]:.1f} images a second ({', '.join(f'{r:.1f}' for r in found)})"
            if name in shares:
                of_forward = ", ".join(f"{s:.3f}" for s in shares[name])
                line += f", of the bare forward pass {statistics.median(shares[name]):.3f} ({of_forward})"
                line += f", against the faster PyTorch {medians[name] / best:.2f}"
            print(line, flush=True)
        for engine in engines:
            peaks = [ours(engine, photos)[1] for photos in ["photos", "four"]]
            print(f"{engine}: peak memory {peaks[0]:.0f} MiB; {peaks[1]:.0f} MiB for four times the images", flush=True)


main()
