"""Phase-II's methods recomputed in float64 from their formulas (docs/method.md).

Usage: check_methods.py training CASES.json [--torch]
       check_methods.py computed BANK METHOD=RESULT_FOLDER ...

`training` trains each case's classifier on its batches: the loss is written forward only, its gradient
is that of central differences (or, with --torch, PyTorch's autograd and torch.optim.SGD). `computed`
makes the classifiers that need no training from the bank's rows. Both compare within 1e-5 and exit
with an error where they differ.
"""

import argparse
import json
import math
import pathlib
import struct
import sys

import numpy as np

TOLERANCE = 1e-5
RATE_OF_SCALED_WEIGHTS = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("training")
    training.add_argument("cases", type=pathlib.Path)
    training.add_argument("--torch", action="store_true")
    computed = commands.add_parser("computed")
    computed.add_argument("bank", type=pathlib.Path)
    computed.add_argument("results", nargs="+")
    args = parser.parse_args()
    if args.command == "training":
        cases = json.loads(args.cases.read_text())
        train = train_torch if args.torch else train_numpy
        for case in cases:
            compare(case["name"], train(case), case["weight"], case["bias"])
        print(f"{len(cases)} trained classifiers agree")
    else:
        check_computed(args.bank, args.results)


def compare(name, found, weight, bias):
    """Stops where two classifiers differ; each is relative to the size of its numbers."""
    for ours, theirs in zip(found, (weight, bias)):
        ours, theirs = np.asarray(ours).ravel(), np.asarray(theirs).ravel()
        gap = np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())
        if not gap < TOLERANCE:
            sys.exit(f"{name}: differs by {gap}")


# Losses, one row of logits and its class at a time: what each says with numbers of the classes.


def class_weights(case):
    counts = np.array(case["counts"], float)
    weights = (1 - case["class_balance_beta"]) / (1 - case["class_balance_beta"] ** counts)
    return weights / weights.sum() * len(counts)


def constants(case, iteration):
    """offsets, margins, class weights, smoothing, gamma of a case."""
    counts = np.array(case["counts"], float)
    offsets, margins, smoothing = (np.zeros_like(counts) for _ in range(3))
    weights, gamma, loss = np.ones_like(counts), 0.0, case["loss"]
    if loss == "balanced-softmax":
        offsets = np.log(counts)
    elif loss == "logit-adjusted":
        offsets = case["tau"] * np.log(counts / counts.sum())
    elif loss == "focal":
        gamma = case["focal_gamma"]
    elif loss == "class-balanced":
        weights = class_weights(case)
    elif loss in ("ldam", "ldam-drw"):
        quarter = counts**-0.25
        margins = case["cosine_scale"] * case["ldam_margin"] * quarter / quarter.max()
        if loss == "ldam-drw" and iteration >= round(case["drw_start"] * case["iterations"]):
            weights = class_weights(case)
    elif loss == "label-aware-smoothing":
        head, tail = case["smoothing"]
        place = (counts - counts.min()) / (counts.max() - counts.min())
        smoothing = tail + (head - tail) * np.sin(place * math.pi / 2)
    elif loss == "label-over-smoothing":
        smoothing += 0.98
    elif loss == "class-balanced-focal":
        weights, gamma = class_weights(case), case["focal_gamma"]
    elif loss != "cross-entropy":
        sys.exit(f"{loss}: no formula here")
    return offsets, margins, weights, smoothing, gamma


def learning_rate(case, iteration):
    if case["schedule"] == "fixed":
        return case["learning_rate"]
    return case["learning_rate"] * 0.5 * (1 + math.cos(math.pi * iteration / case["iterations"]))


def bounded(case, start, weight, module):
    """MaxNorm: weights longer than the bound are cut back to it."""
    if case["max_norm"] == 0:
        return weight
    norms = np.linalg.norm(start, axis=1)
    bound = norms.min() + case["max_norm"] * (norms.max() - norms.min())
    lengths = module.sqrt((weight * weight).sum(1))
    return weight * module.clip(bound / lengths, None, 1.0)[:, None]


def forward(case, parameters, batch, iteration):
    """The mean loss of a batch, in numpy."""
    weight, bias, factors = parameters
    x, y, share = batch
    offsets, margins, weights, smoothing, gamma = constants(case, iteration)
    if case["form"] == "cosine":
        directions = weight / np.linalg.norm(weight, axis=1, keepdims=True)
        logits = case["cosine_scale"] * x @ directions.T
    elif case["form"] == "linear":
        logits = x @ weight.T + bias
    else:
        logits = factors * (x @ weight.T + bias)
    logits = logits + offsets
    rows = np.arange(len(y))
    logits[rows, y] -= margins[y]
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    true = log_p[rows, y]
    losses = -((1 - np.exp(true)) ** gamma) * true
    losses = (1 - smoothing[y]) * losses - smoothing[y] * log_p.mean(1)
    row_weights = share * weights[y]
    return (losses * row_weights).sum() / row_weights.sum()


def batches_of(case):
    for batch in case["batches"]:
        x = np.array(batch["vectors"], float).reshape(len(batch["labels"]), -1)
        share = np.array(batch["weights"] or [1.0] * len(x), float)
        yield x, np.array(batch["labels"]), share


def trained(case):
    """Which of weight, bias and factors a case learns, with the rate of each."""
    linear, scale = (1.0, 1.0, 0.0), RATE_OF_SCALED_WEIGHTS
    return {
        "linear": linear,
        "cosine": (1.0, 0.0, 0.0),
        "factors": (0.0, 0.0, 1.0),
        "scaled": (scale, scale, 1.0),
    }[case["form"]]


def result(case, parameters):
    weight, bias, factors = (np.asarray(p, float) for p in parameters)
    if case["form"] == "cosine":
        lengths = np.linalg.norm(weight, axis=1, keepdims=True)
        return case["cosine_scale"] * weight / lengths, np.zeros_like(bias)
    return weight * factors[:, None], bias * factors


def start_of(case):
    bias = np.array(case["start_bias"], float)
    weight = np.array(case["start_weight"], float).reshape(len(bias), -1)
    return [weight, bias, np.ones_like(bias)]


def train_numpy(case):
    parameters = start_of(case)
    start = parameters[0].copy()
    velocity = [np.zeros_like(p) for p in parameters]
    for iteration, batch in enumerate(batches_of(case)):
        gradients = []
        for which, rate in enumerate(trained(case)):
            gradient = np.zeros_like(parameters[which])
            for place in np.ndindex(gradient.shape) if rate else ():
                value, h = parameters[which][place], 1e-5
                sides = []
                for step in (h, -h):
                    parameters[which][place] = value + step
                    sides.append(forward(case, parameters, batch, iteration))
                parameters[which][place] = value
                gradient[place] = (sides[0] - sides[1]) / (2 * h)
            gradients.append(gradient)
        for which, rate in enumerate(trained(case)):
            if rate:
                decayed = gradients[which] + case["weight_decay"] * parameters[which]
                velocity[which] = case["momentum"] * velocity[which] + decayed
                parameters[which] -= rate * learning_rate(case, iteration) * velocity[which]
        parameters[0] = bounded(case, start, parameters[0], np)
    return result(case, parameters)


def train_torch(case):
    """The same with PyTorch's own losses, autograd and SGD, in float64."""
    import torch
    import torch.nn.functional as F

    parameters = [torch.tensor(p, requires_grad=True) for p in start_of(case)]
    start = start_of(case)[0]
    groups = [
        {"params": [p], "factor": rate} for p, rate in zip(parameters, trained(case)) if rate
    ]
    decay = case["weight_decay"]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=case["momentum"], weight_decay=decay)
    for iteration, (x, y, share) in enumerate(batches_of(case)):
        x, y, share = torch.tensor(x), torch.tensor(y), torch.tensor(share)
        weight, bias, factors = parameters
        offsets, margins, weights, smoothing, gamma = (
            torch.as_tensor(c) for c in constants(case, iteration)
        )
        if case["form"] == "cosine":
            logits = case["cosine_scale"] * F.linear(x, F.normalize(weight))
        else:
            logits = factors * F.linear(x, weight, bias)
        logits = logits + offsets - margins[y][:, None] * F.one_hot(y, len(bias))
        losses = F.cross_entropy(logits, y, reduction="none")
        losses = (1 - torch.exp(-losses)) ** gamma * losses
        spread = -F.log_softmax(logits, 1).mean(1)
        losses = (1 - smoothing[y]) * losses + smoothing[y] * spread
        row_weights = share * weights[y]
        optimizer.zero_grad()
        ((losses * row_weights).sum() / row_weights.sum()).backward()
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate(case, iteration)
        optimizer.step()
        with torch.no_grad():
            parameters[0].copy_(torch.as_tensor(bounded(case, start, weight.detach(), torch)))
    return result(case, [p.detach().numpy() for p in parameters])


# Classifiers without training.


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + o for o in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def check_computed(bank, results):
    import pyarrow.parquet as pq

    table = pq.read_table(
        sorted(bank.glob("train-*.parquet")), columns=["sample_id", "view", "label", "pooled"]
    ).to_pandas()
    table = table[table.view == 0]
    pooled, labels = np.stack(table.pooled.to_numpy()).astype(float), table.label.to_numpy()
    head = read_safetensors(bank / "classifier.safetensors")
    weight, bias = head["fc.weight"].astype(float), head["fc.bias"].astype(float)
    classes = len(bias)
    counts = np.bincount(labels, minlength=classes)
    for text in results:
        method, folder = text.split("=", 1)
        folder = pathlib.Path(folder)
        tau = json.loads((folder / "metrics.json").read_text())["chosen_tau"]
        found = read_safetensors(folder / "classifier.safetensors")
        if method == "tau-norm":
            lengths = np.linalg.norm(weight, axis=1, keepdims=True)
            wanted = weight / lengths**tau, np.zeros(classes)
        elif method == "logit-adjustment":
            wanted = weight, bias - tau * np.log(counts / counts.sum())
        elif method == "ncm":
            centre = pooled.mean(0)
            compare("ncm centre", [found["input.centre"]], centre, None)
            centred = pooled - centre
            centred /= np.linalg.norm(centred, axis=1, keepdims=True)
            means = np.stack([centred[labels == c].mean(0) for c in range(classes)])
            # The logits are -|x - m|^2 but for a constant of the vector.
            wanted = 2 * means, -(means**2).sum(1)
        else:
            sys.exit(f"{method}: no reference")
        compare(method, wanted, found["fc.weight"], found["fc.bias"])
    print(f"{len(results)} computed classifiers agree")


if __name__ == "__main__":
    main()
