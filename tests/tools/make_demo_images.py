"""Make the demo's image set: a small long-tailed CIFAR-10 in one Parquet file.

The training part is long-tailed: class c (0 to 9) keeps its first
int(500 * 0.02 ** (c / 9)) images, from 500 airplanes down to 10 trucks, 1,394 in
all. The test part is balanced: the first 200 images of each class, 2,000 in all.
Rows are sorted by split (train, then test), then by label, then by position in the
archive. The columns, none of them nullable:

    split       string  "train" or "test"
    label       int32   0 to 9
    class_name  string  the label's line in batches.meta.txt
    path        string  such as train/airplane/000123.png; the number is the image's
                        position, from 0, among all images of its split in the archive
                        (for training, data_batch_1 to data_batch_5 run on)
    image       binary  the 32x32 image as a PNG, 8-bit RGB

The input is CIFAR-10 in its binary layout, as a tar archive. The file kept in this
repository was made from an archive that differs from the published one: its training
part is a cut of 20,431 images, sorted by class and in shuffled order within each, and
its 10,000 test images stand in another order. The numbers in the paths count within
that archive. The published archive works as well, but gives other images.

    pip install pyarrow==26.0.1 pyoxipng==9.1.1 pillow==13.0.0
    python tests/tools/make_demo_images.py cifar-10-binary.tar.gz pipelines/demo-images.parquet

Compressing the PNGs takes a few minutes. With these versions the same archive always
gives the same bytes. The file is read back at the end, and every pixel compared.
"""

import argparse
import io
import tarfile
from pathlib import PurePosixPath

import oxipng
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = 10
SIDE = 32
PLANE = SIDE * SIDE
RECORD = 1 + 3 * PLANE  # a label byte, then the red, green and blue planes

HEAD = 500  # training images of the largest class
TAIL_SHARE = 0.02  # size of the smallest class, as a share of the largest
TEST_PER_CLASS = 200

BATCHES = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
}
QUOTAS = {
    "train": [int(HEAD * TAIL_SHARE ** (c / (CLASSES - 1))) for c in range(CLASSES)],
    "test": [TEST_PER_CLASS] * CLASSES,
}

SOURCE = (
    "CIFAR-10: Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
    "technical report, University of Toronto, 2009"
)
SELECTION = (
    "In the record order of an archive of {train:,} training and {test:,} test images, "
    f"the first int({HEAD} * {TAIL_SHARE} ** (c / {CLASSES - 1})) training images and "
    f"the first {TEST_PER_CLASS} test images of each class c."
)

SMALL_COLUMNS = ["split", "label", "class_name", "path"]
SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)

# Thorough compression, in which every image stays 8-bit RGB and keeps no extra chunks.
PNG_OPTIONS = {
    "filter": [
        oxipng.RowFilter.NoOp,
        oxipng.RowFilter.Sub,
        oxipng.RowFilter.Up,
        oxipng.RowFilter.Average,
        oxipng.RowFilter.Paeth,
        oxipng.RowFilter.MinSum,
        oxipng.RowFilter.Entropy,
        oxipng.RowFilter.Bigrams,
        oxipng.RowFilter.BigEnt,
        oxipng.RowFilter.Brute,
    ],
    "deflate": oxipng.Deflaters.zopfli(15),
    "fast_evaluation": True,
    "interlace": oxipng.Interlacing.Off,
    "strip": oxipng.StripChunks.all(),
    "bit_depth_reduction": False,
    "color_type_reduction": False,
    "palette_reduction": False,
    "grayscale_reduction": False,
}


def read_archive(path):
    """The members of a tar archive that are files: base name to contents."""
    with tarfile.open(path) as archive:
        members = [m for m in archive if m.isfile()]
        return {PurePosixPath(m.name).name: archive.extractfile(m).read() for m in members}


def split_records(data):
    """Cut a batch file's contents into its records."""
    if len(data) % RECORD:
        raise ValueError(f"{len(data)} bytes are no whole number of {RECORD}-byte records")
    return [data[i : i + RECORD] for i in range(0, len(data), RECORD)]


def read_splits(files):
    """Every record of the archive, in order, under the name of its split."""
    return {
        split: [record for name in names for record in split_records(files[name])]
        for split, names in BATCHES.items()
    }


def select(records, quotas):
    """The (position, record) pairs of each class's first images, class by class."""
    chosen = []
    for label, quota in enumerate(quotas):
        found = [(i, record) for i, record in enumerate(records) if record[0] == label]
        if len(found) < quota:
            raise ValueError(f"class {label} has {len(found)} images, {quota} are needed")
        chosen += found[:quota]
    return chosen


def interleave(record):
    """A record's pixels as R, G, B triples, row by row."""
    pixels = bytearray(3 * PLANE)
    for channel in range(3):
        start = 1 + channel * PLANE
        pixels[channel::3] = record[start : start + PLANE]
    return bytes(pixels)


def encode_png(pixels):
    """Compress R, G, B triples to a PNG."""
    raw = oxipng.RawImage(pixels, SIDE, SIDE, color_type=oxipng.ColorType.rgb())
    return raw.create_optimized_png(**PNG_OPTIONS)


def decode_png(png):
    """The R, G, B triples of a PNG, which must be an 8-bit RGB image."""
    with Image.open(io.BytesIO(png)) as image:
        if (image.format, image.mode, image.size) != ("PNG", "RGB", (SIDE, SIDE)):
            raise ValueError(f"not a {SIDE}x{SIDE} RGB PNG: {image}")
        return image.tobytes()


def make_row(split, position, record, class_names):
    """One row of the table, with the image still as plain pixels."""
    name = class_names[record[0]]
    return {
        "split": split,
        "label": record[0],
        "class_name": name,
        "path": f"{split}/{name}/{position:06}.png",
        "image": interleave(record),
    }


def make_rows(splits, class_names):
    """The rows of both splits, in the order of the file."""
    return [
        make_row(split, position, record, class_names)
        for split, quotas in QUOTAS.items()
        for position, record in select(splits[split], quotas)
    ]


def write_parquet(rows, metadata, path):
    """Write the rows, compressing their images to PNG."""
    encoded = [{**row, "image": encode_png(row["image"])} for row in rows]
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression={"image": "none", **{name: "zstd" for name in SMALL_COLUMNS}},
        use_dictionary=["split", "label", "class_name"],
        write_statistics=SMALL_COLUMNS,
        store_schema=False,
    ) as writer:
        table = pa.Table.from_pylist(encoded, schema=SCHEMA)
        writer.write_table(table, row_group_size=len(encoded))
        writer.add_key_value_metadata(metadata)


def check_parquet(rows, metadata, path):
    """Read the file back and raise unless it holds exactly these rows and metadata."""
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA.with_metadata(metadata), check_metadata=True):
        raise ValueError(f"{path} does not have the expected schema: {table.schema}")
    stored = table.to_pylist()
    for row in stored:
        row["image"] = decode_png(row["image"])
    if stored != rows:
        raise ValueError(f"{path} does not hold the images that were written to it")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", help="CIFAR-10 in its binary layout, as a tar archive")
    parser.add_argument("output", help="the Parquet file to write")
    args = parser.parse_args()

    files = read_archive(args.archive)
    splits = read_splits(files)
    sizes = {split: len(records) for split, records in splits.items()}
    metadata = {"source": SOURCE, "selection": SELECTION.format(**sizes)}
    rows = make_rows(splits, files["batches.meta.txt"].decode().split())
    write_parquet(rows, metadata, args.output)
    check_parquet(rows, metadata, args.output)
    print(f"{args.output}: {len(rows):,} images")


if __name__ == "__main__":
    main()
