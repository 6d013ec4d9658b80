"""Writes the small networks of tests/data/onnx that PyTorch's exporters do not write: graphs as other programs
leave them.

    python tests/readers/make_onnx_variants.py     (needs onnx and onnxruntime)
"""

import pathlib
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

CLASSES, CHANNELS, SIDE = 4, 8, 16
FOLDER = pathlib.Path(__file__).parents[1] / "data" / "onnx"
RANDOM = np.random.default_rng(0)


def weights():
    """What every network here has: two convolutions of stride 2, and the classifier."""
    normal = lambda *shape: (RANDOM.normal(size=shape) * 0.3).astype(np.float32)
    return {
        "conv1.weight": normal(CHANNELS, 3, 3, 3),
        "conv1.bias": normal(CHANNELS),
        "conv2.weight": normal(CHANNELS, CHANNELS, 3, 3),
        "conv2.bias": normal(CHANNELS),
        "fc.weight": normal(CLASSES, CHANNELS),
        "fc.bias": normal(CLASSES),
    }


def network(first, taken="images", end=None):
    """The operations: `first` on the images, giving `taken`, then the network."""
    conv = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    node = helper.make_node
    nodes = [
        *first,
        node("Conv", [taken, "conv1.weight", "conv1.bias"], ["c1"], **conv),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], **conv),
        node("Relu", ["c2"], ["map"]),
        node("GlobalAveragePool", ["map"], ["means"]),
    ]
    return nodes + (end or [
        node("Flatten", ["means"], ["pooled"]),
        node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ])


def model(
    nodes,
    constants,
    outputs=(("logits", ["n", CLASSES]),),
    element=TensorProto.FLOAT,
    shape=("n", 3, SIDE, SIDE),
    ir_version=8,
    opset=17,
    listed=(),
    metadata=None,
):
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    info = helper.make_tensor_value_info
    inputs = [info("images", element, shape)]
    inputs += [info(t.name, t.data_type, t.dims) for t in initializers if listed == "all" or t.name in listed]
    outputs = [info(name, TensorProto.FLOAT, dims) for name, dims in outputs]
    graph = helper.make_graph(nodes, "network", inputs, outputs, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    helper.set_model_props(made, metadata or {})
    onnx.checker.check_model(made, full_check=True)
    return made


def per_channel(values, channels_last=False):
    values = np.array(values, np.float32)
    return values if channels_last else values.reshape(1, 3, 1, 1)


def save(made, name):
    onnx.save(made, FOLDER / f"{name}.onnx")


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = iter([{"images": RANDOM.normal(size=(8, 3, SIDE, SIDE)).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.left, None)


def quantised(float_model):
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/float.onnx", f"{folder}/int8.onnx"
        onnx.save(float_model, source)
        save_as = lambda name: save(without_docs(onnx.load(target)), name)
        for name, form, per_row in [
            ("qdq", QuantFormat.QDQ, False),
            ("qdq-per-channel", QuantFormat.QDQ, True),
            ("refused-qlinear", QuantFormat.QOperator, False),
        ]:
            kinds = dict(activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            quantize_static(source, target, Images(), quant_format=form, per_channel=per_row, **kinds)
            save_as(name)
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
        save_as("refused-dynamic-int8")
        convolutions = ["Conv"]
        quantize_static(source, target, Images(), quant_format=QuantFormat.QOperator, op_types_to_quantize=convolutions)
        save_as("qlinear-convolutions")


def without_docs(made):
    for node in made.graph.node:
        node.ClearField("doc_string")
    return made


def main():
    node, floats = helper.make_node, weights()
    save(model(network([]), floats, listed="all", ir_version=3, opset=8), "inputs-ir3")
    save(model(network([]), floats, listed="all"), "inputs-ir8")
    save(model(network([]), floats, listed=["fc.weight", "conv1.bias"]), "inputs-some")

    # The classifier's weight is taken elsewhere too, by an output and by a sub-graph.
    end = [
        node("Flatten", ["means"], ["pooled"]),
        node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1),
        node("ReduceSum", ["fc.weight"], ["norm"], keepdims=0),
    ]
    outputs = [("logits", ["n", CLASSES]), ("norm", [])]
    save(model(network([], end=end), floats, outputs), "shared-weight")
    branch = lambda name, op: helper.make_graph(
        [node(op, ["fc.bias"], [name], keepdims=1)], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])]
    )
    end = [
        node("Flatten", ["means"], ["pooled"]),
        node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1),
        node("If", ["yes"], ["bound"], then_branch=branch("most", "ReduceMax"), else_branch=branch("least", "ReduceMin")),
    ]
    outputs = [("logits", ["n", CLASSES]), ("bound", [1])]
    save(model(network([], end=end), {**floats, "yes": np.array(True)}, outputs), "sub-graph")

    # A convolution as classifier whose output stays [n, C, 1, 1], beside the best class.
    kernel = {**floats, "fc.weight": floats["fc.weight"].reshape(CLASSES, CHANNELS, 1, 1)}
    end = [node("Conv", ["means", "fc.weight", "fc.bias"], ["logits"])]
    save(model(network([], end=end), kernel, [("logits", ["n", CLASSES, 1, 1])]), "conv-head-open")
    # An output of [n, C] values that are no logits: pooled vectors, as many as classes.
    end = [
        node("Flatten", ["means"], ["pooled"]),
        node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1),
        node("Slice", ["pooled", "zero", "four", "one"], ["embedding"]),
    ]
    places = {"zero": np.array([0]), "four": np.array([CLASSES]), "one": np.array([1])}
    outputs = [("embedding", ["n", CLASSES]), ("logits", ["n", CLASSES])]
    save(model(network([], end=end), {**floats, **places}, outputs), "second-output")

    # Names that our own files have.
    renamed = {f"fsa-bank.{name}" if name == "conv1.bias" else name: value for name, value in floats.items()}
    renamed["fsa-bank.fc.weight"] = renamed.pop("fsa-bank.conv1.bias")
    nodes = network([])
    nodes[0].input[2] = "fsa-bank.fc.weight"
    save(model(nodes, renamed), "our-names")

    # Pixels of 0 to 255, and of 0 to 1, that the graph normalises itself.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    div, sub = node("Div", ["images", "by"], ["scaled"]), node("Sub", ["scaled", "mean"], ["centred"])
    last = node("Div", ["centred", "std"], ["taken"])
    imagenet = {"mean": per_channel(mean), "std": per_channel(std)}
    whole = {**floats, **imagenet, "by": np.array(255, np.float32)}
    save(model(network([div, sub, last], "taken"), whole), "bytes-imagenet")
    keras = [node("Mul", ["images", "by"], ["scaled"]), node("Add", ["scaled", "mean"], ["taken"])]
    rescaling = {**floats, "by": np.array(1 / 127.5, np.float32), "mean": np.array(-1, np.float32)}
    save(model(network(keras, "taken"), rescaling), "bytes-rescaling")
    caffe = [node("Sub", ["images", "mean"], ["taken"])]
    save(model(network(caffe, "taken"), {**floats, "mean": per_channel(255 * mean)}), "bytes-mean")
    nodes = [node("Sub", ["images", "mean"], ["centred"]), last]
    save(model(network(nodes, "taken"), {**floats, **imagenet}), "unit-imagenet")
    # The number of images is taken for a reshape, and constants are attributes.
    nodes = [node("Constant", [], ["by"], value_float=255.0), node("Div", ["images", "by"], ["taken"])]
    end = [
        node("Shape", ["images"], ["shape"]),
        node("Constant", [], ["zero"], value_ints=[0]),
        node("Constant", [], ["one"], value_ints=[1]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Slice", ["shape", "zero", "one"], ["rows"]),
        node("Concat", ["rows", "rest"], ["flat"], axis=0),
        node("Reshape", ["means", "flat"], ["pooled"]),
        node("Gemm", ["pooled", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    save(model(network(nodes, "taken", end), floats), "bytes-attributes")
    # Bytes as integers, channels first and last.
    cast = node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)
    div = node("Div", ["floats", "by"], ["scaled"])
    save(model(network([cast, div, sub, last], "taken"), whole, element=TensorProto.UINT8), "uint8")
    first = node("Transpose", ["scaled"], ["taken"], perm=[0, 3, 1, 2])
    by = {**floats, "by": np.array(255, np.float32)}
    shape = ("n", SIDE, SIDE, 3)
    save(model(network([cast, div, first], "taken"), by, element=TensorProto.UINT8, shape=shape), "uint8-channels-last")
    save(model(network([cast, div], "scaled"), by, element=TensorProto.INT8), "refused-int8-images")

    quantised(model(network([]), floats))
    for path in sorted(FOLDER.glob("*.onnx")):
        if path.stat().st_size > 20_000:
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
