"""Writes tests/data/onnx/: tiny networks exported by both of PyTorch's exporters, for the ways in
which networks end. Needs what
`make test-networks` installs.

    .venv-bench/bin/python tests/readers/make_onnx_corpus.py
"""

import pathlib

import numpy as np
import onnx
import torch
from torch import nn

CLASSES, CHANNELS, SIDE = 4, 8, 16
FOLDER = pathlib.Path(__file__).parents[1] / "data" / "onnx"


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, 2, 1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1),
            nn.ReLU(),
        )


class Adaptive(Backbone):
    """AdaptiveAvgPool2d, flatten, Linear: torchvision's ResNet."""

    def __init__(self, bias=True):
        super().__init__()
        self.fc = nn.Linear(CHANNELS, CLASSES, bias=bias)

    def forward(self, images):
        x = nn.functional.adaptive_avg_pool2d(self.stem(images), 1)
        return self.fc(torch.flatten(x, 1))


class Mean(Adaptive):
    """mean over height and width: EfficientNet of many authors."""

    def forward(self, images):
        return self.fc(self.stem(images).mean((2, 3)))


class FlatMean(Adaptive):
    """mean over the locations of a reshaped map."""

    def forward(self, images):
        return self.fc(self.stem(images).flatten(2).mean(2))


class FullWindow(Adaptive):
    """average pooling whose window covers the map, then view: older DenseNets."""

    def forward(self, images):
        x = nn.functional.avg_pool2d(self.stem(images), SIDE // 4)
        return self.fc(x.view(x.shape[0], -1))


class PartWindow(Adaptive):
    """average pooling of a quarter of the map: not global."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4 * CHANNELS, CLASSES)

    def forward(self, images):
        return self.fc(nn.functional.avg_pool2d(self.stem(images), SIDE // 8).flatten(1))


class ConvHead(Backbone):
    """a 1 x 1 convolution after the pooling: MobileNetV3 of timm, SqueezeNet-like heads."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(CHANNELS, CLASSES, 1)

    def forward(self, images):
        return self.fc(nn.functional.adaptive_avg_pool2d(self.stem(images), 1)).flatten(1)


class SoftmaxHead(Adaptive):
    """probabilities in place of logits."""

    def forward(self, images):
        return super().forward(images).softmax(1)


class Pooled(Backbone):
    """no classifier: pooled vectors, as of a self-supervised encoder."""

    def forward(self, images):
        return torch.flatten(nn.functional.adaptive_avg_pool2d(self.stem(images), 1), 1)


class Map(Backbone):
    """no pooling either: timm's forward_features."""

    def forward(self, images):
        return self.stem(images)


class TwoLayers(Backbone):
    """two FC layers: VGG, MobileNetV3 of torchvision."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CLASSES))

    def forward(self, images):
        return self.fc(self.stem(images).mean((2, 3)))


class Scaled(Adaptive):
    """a factor between pooling and classifier, which is no FC layer of the mean."""

    def forward(self, images):
        return self.fc(torch.tanh(self.stem(images).mean((2, 3))))


class MaxPooled(Adaptive):
    def forward(self, images):
        return self.fc(self.stem(images).amax((2, 3)))


class Transformer(nn.Module):
    """patches, attention, class token: a ViT in small."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, CHANNELS))
        self.norm = nn.LayerNorm(CHANNELS)
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.fc = nn.Linear(CHANNELS, CLASSES)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + torch.softmax(q @ k.transpose(1, 2), -1) @ v
        return self.fc(self.norm(x)[:, 0])


class Detector(Backbone):
    """boxes and scores for every location."""

    def __init__(self):
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(CHANNELS, CLASSES, 1)

    def forward(self, images):
        x = self.stem(images)
        return self.boxes(x).flatten(2), self.scores(x).flatten(2).sigmoid()


def export(model, name, dynamo, batch=None, half=False):
    model = model.eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.ndim == 1 and tensor.dtype == torch.float32:
                tensor.add_(0.2 * torch.rand_like(tensor))
    example = torch.randn(batch or 2, 3, SIDE, SIDE)
    if half:
        model, example = model.half(), example.half()
    path = FOLDER / f"{name}-{'dynamo' if dynamo else 'torchscript'}.onnx"
    options = {}
    if dynamo:
        options["dynamic_shapes"] = None if batch else ({0: torch.export.Dim("n")},)
        options.update(external_data=False, verbose=False)
    else:
        options["dynamic_axes"] = None if batch else {"images": {0: "n"}}
    torch.onnx.export(model, (example,), str(path), input_names=["images"], dynamo=dynamo, **options)
    # The exporters write where in which source file each operation stood; nothing else is changed.
    exported = onnx.load(path)
    for node in [exported.graph, *exported.graph.node, *exported.graph.value_info, *exported.graph.input]:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.save(exported, path)


def main():
    torch.manual_seed(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dynamo in [False, True]:
        export(Adaptive(), "adaptive", dynamo)
        export(Adaptive(bias=False), "no-bias", dynamo)
        export(Mean(), "mean", dynamo)
        export(FlatMean(), "flat-mean", dynamo)
        export(FullWindow(), "full-window", dynamo)
        export(ConvHead(), "conv-head", dynamo)
        export(SoftmaxHead(), "softmax", dynamo)
        export(Adaptive(), "fixed-batch", dynamo, batch=3)
        export(Mean(), "half", dynamo, half=True)
        export(PartWindow(), "refused-part-window", dynamo)
        export(TwoLayers(), "refused-two-layers", dynamo)
        export(Scaled(), "refused-tanh", dynamo)
        export(MaxPooled(), "refused-max-pool", dynamo)
        export(Transformer(), "refused-transformer", dynamo)
        export(Detector(), "refused-detector", dynamo)
    for dynamo in [False, True]:
        export(Pooled(), "headless-pooled", dynamo)
        export(Map(), "headless-map", dynamo)
        export(Pooled(), "headless-half", dynamo, half=True)
    model = onnx.load(FOLDER / "adaptive-dynamo.onnx")
    onnx.save_model(
        model,
        FOLDER / "external.onnx",
        save_as_external_data=True,
        location="external.onnx.data",
        size_threshold=256,
    )
    # What a pass of the graph itself gives, for the tests to compare with.
    import onnxruntime

    images = np.linspace(-1, 1, 3 * 3 * SIDE * SIDE, dtype=np.float32).reshape(3, 3, SIDE, SIDE)
    for path in sorted(FOLDER.glob("*.onnx")):
        session = onnxruntime.InferenceSession(str(path))
        kind = np.float16 if "half" in path.name else np.float32
        outputs = session.run(None, {"images": images.astype(kind)})
        print(path.name, path.stat().st_size, [o.shape for o in outputs])


main()
