"""The features stage as most would write it in Python: a DataLoader with torchvision's transforms,
ResNet-50 in PyTorch, pyarrow. Prints the images a second as JSON.

Usage: features_pytorch.py PHOTOS OUT.parquet --weights FILE [--threads 2] [--workers 2] [--channels-last]

PHOTOS has train/CLASS/*.jpg and test/CLASS/*.jpg. Rows have the columns, types, encodings and
compression of schemas/bank-v2.md.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH = 32
ROW_GROUP_BYTES = 1 << 25


class Photographs(Dataset):
    def __init__(self, folder, classes):
        self.items = [(p, c) for c, name in enumerate(classes) for p in sorted((folder / name).iterdir())]
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, label = self.items[index]
        return self.transform(Image.open(path).convert("RGB")), label, index


def lists(values):
    """[n, m] numbers as a list column."""
    n, m = values.shape
    offsets = np.arange(0, (n + 1) * m, m, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


def head_columns(photographs, classes, indices, labels, scores, pooled):
    confidence, predicted = scores.max(1)
    return {
        "sample_id": pa.array(indices.numpy().astype(np.int32)),
        "view": pa.array(np.zeros(len(indices), np.int32)),
        "path": pa.array([str(photographs.items[i][0]) for i in indices.tolist()]),
        "label": pa.array(labels.numpy().astype(np.int32)),
        "class_name": pa.array([classes[label] for label in labels.tolist()]),
        "predicted": pa.array(predicted.numpy().astype(np.int32)),
        "confidence": pa.array(confidence.numpy()),
        "pooled": lists(pooled.numpy()),
    }


def map_columns(maps, weight):
    """Activation map, locations that are not all zeros, and the map, location by location."""
    n, k = maps.shape[:2]
    by_location = maps.flatten(2).transpose(1, 2)
    cam = torch.einsum("nlk,nk->nl", by_location, weight)
    low, high = cam.amin(1, keepdim=True), cam.amax(1, keepdim=True)
    cam = torch.where(high > low, (cam - low) / (high - low), 0.0)
    return {
        "cam": lists(cam.numpy()),
        "nonzero": lists((by_location != 0).any(2).numpy()),
        "feature_map": lists(by_location.reshape(n, -1).contiguous().numpy()),
    }


def write(path, tables, group_rows):
    """A Parquet file of the tables that come, in row groups of about `group_rows`."""
    writer, waiting = None, []
    for table in tables:
        if writer is None:
            split = {name: "BYTE_STREAM_SPLIT" for name in ["pooled", "cam", "feature_map"]}
            encodings = {f"{name}.list.element": kind for name, kind in split.items() if name in table.column_names}
            writer = pq.ParquetWriter(
                path,
                table.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=["path", "class_name"],
                column_encoding=encodings,
                write_statistics=False,
            )
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= group_rows:
            writer.write_table(pa.concat_tables(waiting))
            waiting = []
    if waiting:
        writer.write_table(pa.concat_tables(waiting))
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    classes = sorted(p.name for p in (args.photos / "train").iterdir())
    model = torchvision.models.resnet50(num_classes=len(classes))
    model.load_state_dict(load_file(args.weights), strict=False)
    model.eval()
    kept = []
    model.layer4.register_forward_hook(lambda *of: kept.append(of[2]))
    order = torch.channels_last if args.channels_last else torch.contiguous_format
    model = model.to(memory_format=order)
    images, begin = 0, time.perf_counter()

    def rows(split):
        nonlocal images
        photographs = Photographs(args.photos / split, classes)
        with torch.inference_mode():
            for inputs, labels, indices in DataLoader(photographs, BATCH, num_workers=args.workers):
                model(inputs.to(memory_format=order))
                maps = kept.pop().half().float()
                pooled = maps.mean((2, 3))
                scores = model.fc(pooled).softmax(1)
                columns = head_columns(photographs, classes, indices, labels, scores, pooled)
                if split == "train":
                    columns |= map_columns(maps, model.fc.weight[labels])
                images += len(labels)
                yield pa.table(columns)

    group_rows = ROW_GROUP_BYTES // (4 * 2048 * 7 * 7)
    for split in ["train", "test"]:
        write(args.out.with_name(f"{split}-{args.out.name}"), rows(split), group_rows)
    print(json.dumps({"images_per_sec": images / (time.perf_counter() - begin)}))


main()
