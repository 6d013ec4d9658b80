"""Prints the class of every BMP below a folder, by an exported ONNX file: images are prepared as its metadata
says, with numpy alone and PIL's arithmetic.

    check_preprocessing.py MODEL.onnx FOLDER
"""

import json
import pathlib
import struct
import sys

import numpy as np
import onnxruntime


def bmp(path):
    data = path.read_bytes()
    (offset,) = struct.unpack_from("<I", data, 10)
    width, height = struct.unpack_from("<ii", data, 18)
    assert struct.unpack_from("<H", data, 28) == (24,)
    row = (3 * width + 3) // 4 * 4
    rows = np.frombuffer(data, np.uint8, row * abs(height), offset).reshape(-1, row)
    pixels = rows[:, : 3 * width].reshape(-1, width, 3)[:, :, ::-1]
    return pixels[::-1] if height > 0 else pixels


def bilinear(x):
    return np.maximum(1 - np.abs(x), 0)


def bicubic(x, a=-0.5):
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


FILTERS = {"bilinear": (bilinear, 1), "bicubic": (bicubic, 2)}


def resized(pixels, axis, begin, length, size, name):
    """One pass of PIL's Image.resize with a box; 8 bits in and out."""
    filter, support = FILTERS[name]
    scale = length / size
    stretch = max(scale, 1)
    weights = np.zeros((size, pixels.shape[axis]))
    for i in range(size):
        center = begin + (i + 0.5) * scale
        low = max(int(center - support * stretch + 0.5), 0)
        high = min(int(center + support * stretch + 0.5), pixels.shape[axis])
        values = filter((np.arange(low, high) + 0.5 - center) / stretch)
        weights[i, low:high] = values / values.sum()
    moved = np.moveaxis(pixels.astype(float), axis, 0)
    result = np.moveaxis(np.tensordot(weights, moved, 1), 0, axis)
    return np.clip(np.floor(result + 0.5), 0, 255).astype(np.uint8)


def prepared(pixels, about):
    size, share = about["image_size"], about["crop_fraction"]
    mean, std = np.array(about["mean"]), np.array(about["std"])
    white = about.get("value_range", 1)
    height, width = pixels.shape[:2]
    mode = about.get("crop_mode", "center")
    if mode == "border":
        # timm pads the scaled image; padding first with whole pixels comes to the same here.
        longest = max(width, height)
        square = np.empty((longest, longest, 3), np.uint8)
        square[:] = np.round(mean * 255 / white)
        top, left = (longest - height) // 2, (longest - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels, height, width = square, longest, longest
    w, h = (width, height) if mode == "squash" else [min(width, height)] * 2
    w, h = w * share, h * share
    pixels = resized(pixels, 1, (width - w) / 2, w, size, about["interpolation"])
    pixels = resized(pixels, 0, (height - h) / 2, h, size, about["interpolation"])
    values = (pixels / 255 * white - mean) / std
    return values[:, :, ::-1] if about.get("channel_order") == "bgr" else values


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["fsa-bank"])
(images,) = session.get_inputs()
outputs = [output.name for output in session.get_outputs()]
for path in sorted(pathlib.Path(sys.argv[2]).rglob("*.bmp")):
    values = prepared(bmp(path), about).astype(np.float32)
    channels_last = images.shape[-1] == 3
    values = values if channels_last else values.transpose(2, 0, 1)
    (logits,) = session.run(outputs[:1], {images.name: values[None]})
    print(int(logits.argmax()))
