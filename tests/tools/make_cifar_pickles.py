"""Writes a small set in the layouts of CIFAR-10's and CIFAR-100's Python versions.

Usage: make_cifar_pickles.py FOLDER PROTOCOL PROTOCOL_OF_NAMES

tests/suite/cifar_python.rs has the same set in the binary layout. The archives tests/data/cifar-*-python.tar.gz
hold what Python 2.7 with numpy 1.16.6 wrote (`FOLDER 2 0`), as the published ones were written by Python 2;
the tests run this with Python 3 for every protocol that it has.
"""

import os
import pickle
import sys

import numpy as np

try:
    import cPickle as pickle
except ImportError:
    pass


def images(first, count):
    image, channel, place = np.ogrid[first : first + count, 0:3, 0:1024]
    values = image * 37 + channel * 91 + place * 5 + place // 32 * 7
    return (values % 256).astype(np.uint8).reshape(count, 3072)


def write(value, protocol, *path):
    with open(os.path.join(*path), "wb") as file:
        pickle.dump(value, file, protocol)


def batch(first, count, about):
    numbers = range(first, first + count)
    names = ["image_s_%06d.png" % i for i in numbers]
    return {"batch_label": about, "filenames": names, "data": images(first, count)}


def cifar10(folder, protocol, names_protocol):
    os.makedirs(folder)
    for number in range(1, 7):
        name = "data_batch_%d" % number if number < 6 else "test_batch"
        first = 8 * (number - 1)
        count = 8 if number < 6 else 10
        content = batch(first, count, name)
        content["labels"] = [(i * 7 + 3) % 10 for i in range(first, first + count)]
        write(content, protocol, folder, name)
    names = ["name%d" % i for i in range(10)]
    meta = {"num_cases_per_batch": 8, "label_names": names, "num_vis": 3072}
    write(meta, names_protocol, folder, "batches.meta")


def cifar100(folder, protocol, names_protocol):
    os.makedirs(folder)
    for name, first, count in [("train", 0, 200), ("test", 200, 100)]:
        content = batch(first, count, name)
        content["fine_labels"] = [(i * 37 + 11) % 100 for i in range(first, first + count)]
        content["coarse_labels"] = [label // 5 for label in content["fine_labels"]]
        write(content, protocol, folder, name)
    fine = ["fine%d" % i for i in range(100)]
    coarse = ["coarse%d" % i for i in range(20)]
    meta = {"fine_label_names": fine, "coarse_label_names": coarse}
    write(meta, names_protocol, folder, "meta")


def main():
    folder, protocol, names_protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cifar10(os.path.join(folder, "cifar-10-batches-py"), protocol, names_protocol)
    cifar100(os.path.join(folder, "cifar-100-python"), protocol, names_protocol)


if __name__ == "__main__":
    main()
