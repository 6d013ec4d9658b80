"""Opens an exported ONNX file and classifier with onnxruntime and numpy.

    check_export.py MODEL.onnx CLASSIFIER.npz CLASSIFIER.safetensors
"""

import json
import struct
import sys

import numpy as np
import onnxruntime

model, npz, safetensors = sys.argv[1:]
head = np.load(npz)
with open(safetensors, "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    data = file.read()
for name, tensor in [("weight", "fc.weight"), ("bias", "fc.bias")]:
    begin, end = header[tensor]["data_offsets"]
    values = np.frombuffer(data[begin:end], "<f4").reshape(header[tensor]["shape"])
    assert head[name].dtype == np.float32 and np.array_equal(head[name], values), name

session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["fsa-bank"])
side = about["image_size"]
assert len(about["class_names"]) == head["bias"].size and len(about["mean"]) == 3
images = np.random.default_rng(0).normal(size=(3, 3, side, side)).astype(np.float32)
logits, maps = session.run(["logits", "feature_map"], {"images": images})
expected = maps.mean((2, 3)) @ head["weight"].T + head["bias"]
assert np.abs(logits - expected).max() < 1e-4 * np.abs(logits).max(), "logits"
print("the exported files agree")
