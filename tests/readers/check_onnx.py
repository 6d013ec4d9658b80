"""Checks exported ONNX files with onnx's checker and runs each once in onnxruntime.

    check_onnx.py CLASSES MODEL.onnx...
"""

import sys

import numpy as np
import onnx
import onnxruntime

classes, *paths = sys.argv[1:]
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
for path in paths:
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    assert len(inputs) == 1, (path, inputs)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 2 for size in images.shape]
    values = np.random.default_rng(0).uniform(0, 255, shape).astype(KINDS[images.type])
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {images.name: values})))
    declared = {o.name: [d if isinstance(d, int) else shape[0] for d in o.shape] for o in session.get_outputs()}
    for name, value in outputs.items():
        assert not declared[name] or list(value.shape) == declared[name], (path, name, value.shape, declared[name])
    assert any(value.shape == (shape[0], int(classes)) for value in outputs.values()), (path, outputs)
print(f"{len(paths)} files are sound")
