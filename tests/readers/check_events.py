"""Reads a run's event file by its format alone, and compares it with the run's metrics.jsonl.

Usage: check_events.py RUN

The checksums are worked bit by bit, the messages are described here again; nothing is taken from the
program that wrote the file.
"""

import json
import pathlib
import struct
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPE = descriptor_pb2.FieldDescriptorProto
SCALARS = ["train_loss", "train_top1", "test_top1", "learning_rate", "images_per_sec"]


def crc32c(data: bytes) -> int:
    """CRC-32C: polynomial 0x1edc6f41, bits reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(data: bytes):
    """The contents of TFRecords, every checksum compared."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        (of_length,) = struct.unpack_from("<I", data, at + 8)
        content = data[at + 12 : at + 12 + length]
        (of_content,) = struct.unpack_from("<I", data, at + 12 + length)
        assert of_length == masked(data[at : at + 8]), f"checksum of the length at byte {at}"
        assert of_content == masked(content), f"checksum of the content at byte {at}"
        yield content
        at += 12 + length + 4


def event_class():
    """The part of TensorFlow's Event that scalars use."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto2")
    fields = {
        "Value": [("tag", 1, TYPE.TYPE_STRING), ("simple_value", 2, TYPE.TYPE_FLOAT)],
        "Summary": [("value", 1, "Value")],
        "Event": [
            ("wall_time", 1, TYPE.TYPE_DOUBLE),
            ("step", 2, TYPE.TYPE_INT64),
            ("file_version", 3, TYPE.TYPE_STRING),
            ("summary", 5, "Summary"),
        ],
    }
    for message, members in fields.items():
        described = file.message_type.add(name=message)
        for name, number, kind in members:
            label = TYPE.LABEL_REPEATED if message == "Summary" else TYPE.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = TYPE.TYPE_MESSAGE, f".{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Event"))


def as_f32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def main() -> None:
    run = pathlib.Path(sys.argv[1])
    (file,) = run.glob("*tfevents*")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    event = event_class()
    first, *events = [event.FromString(content) for content in records(file.read_bytes())]
    assert first.file_version == "brain.Event:2" and first.wall_time > 1.5e9, first
    assert [e.step for e in events] == [row["epoch"] for row in rows]
    for found, row in zip(events, rows):
        assert found.wall_time == row["finished_unix_secs"]
        values = {v.tag: v.simple_value for v in found.summary.value}
        wanted = {tag: as_f32(row[tag]) for tag in SCALARS if row[tag] is not None}
        assert values == wanted, f"epoch {row['epoch']}: {values}, in metrics.jsonl {wanted}"
    print(f"{len(events)} epochs agree")


main()
