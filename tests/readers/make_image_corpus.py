"""Writes tests/data/images/: one small image of each kind, and in tests/data/images/pil/ what PIL makes of
it. Needs NumPy and Pillow, such as `make test-networks` installs.

    .venv-bench/bin/python tests/readers/make_image_corpus.py

A picture of PIL's results has four parts: the middle square of the upright image as it is (48 x 48), on its
right that square scaled to 20 x 20 linearly, below that the middle 87.5 % of it scaled to 20 x 20 cubically,
and below that a rectangle that was cut out first and then scaled to 20 x 20 linearly. In
tests/data/images/refused/ are kinds that PIL reads and fsa-bank does not.
"""

import io
import pathlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "images"
SIDE, SMALL = 48, 20
RECTANGLE = (5, 7, 38, 35)  # left, top, right, bottom
ORIENTATION = 0x112


def scene(width=SIDE, height=SIDE, channels=3):
    """Slopes, edges and a little noise: what resampling and chroma differ in. Values in [0, 1)."""
    y, x = np.mgrid[0:height, 0:width] / SIDE
    waves = [x + 0.2 * y, 0.5 + 0.5 * np.sin(9 * x * y), (x - 0.5) ** 2 + (y - 0.4) ** 2]
    pixels = np.stack(waves[:channels] + [1.2 * y] * (channels - 3), -1)
    pixels[(x > 0.6) & (y < 0.3)] = ([0.9, 0.1, 0.2] + [0.3] * (channels - 3))[:channels]
    pixels[(x - 0.3) ** 2 + (y - 0.7) ** 2 < 0.03] = ([0.05, 0.4, 0.95] + [0.8] * (channels - 3))[:channels]
    noise = np.random.default_rng(0).uniform(-0.04, 0.04, pixels.shape)
    return np.clip(pixels + noise, 0, 0.999)


def image(mode="RGB", width=SIDE, height=SIDE):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    values = scene(width, height, max(channels, 3))[..., : max(channels, 1)]
    pixels = (256 * values).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode)


def tagged(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def encoded(picture, kind, **options):
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def png_of_16_bits(samples, color_type):
    """PIL writes no PNG of more than one 16-bit channel."""
    import struct
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpegs():
    photo = image()
    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"jpeg-{name}.jpg", encoded(photo, "JPEG", quality=90, subsampling=sampling)
    yield "jpeg-progressive.jpg", encoded(photo, "JPEG", quality=75, progressive=True)
    yield "jpeg-progressive-444.jpg", encoded(photo, "JPEG", quality=90, progressive=True, subsampling=0)
    yield "jpeg-restarts.jpg", encoded(photo, "JPEG", quality=60, restart_marker_blocks=2)
    yield "jpeg-grey.jpg", encoded(image("L"), "JPEG", quality=90)
    yield "jpeg-wide.jpg", encoded(image(width=70), "JPEG", quality=85)
    cmyk = encoded(image("CMYK"), "JPEG", quality=90)
    yield "jpeg-cmyk.jpg", cmyk
    # Adobe's marker says what four channels are: 2 at its end is YCCK.
    marker = cmyk.index(b"Adobe")
    assert cmyk[marker + 11] == 0
    yield "jpeg-ycck.jpg", cmyk[: marker + 11] + b"\2" + cmyk[marker + 12 :]
    yield "jpeg-cmyk-no-adobe.jpg", cmyk[: marker - 4] + cmyk[marker + 12 :]
    for orientation in range(1, 9):
        upright = image(width=60, height=SIDE)
        exif = tagged(orientation)
        yield f"jpeg-orientation-{orientation}.jpg", encoded(upright, "JPEG", quality=90, exif=exif)


def pngs():
    photo = image()
    yield "png-rgb.png", encoded(photo, "PNG")
    yield "png-grey.png", encoded(image("L"), "PNG")
    yield "png-grey-alpha.png", encoded(image("LA"), "PNG")
    yield "png-alpha.png", encoded(image("RGBA"), "PNG")
    yield "png-palette.png", encoded(photo.quantize(60), "PNG")
    yield "png-palette-4-bits.png", encoded(photo.quantize(13), "PNG", bits=4)
    yield "png-palette-alpha.png", encoded(photo.quantize(60), "PNG", transparency=bytes(range(0, 240, 4)))
    yield "png-1-bit.png", encoded(photo.convert("1"), "PNG")
    yield "png-interlaced.png", interlaced()
    yield "png-16-bits.png", png_of_16_bits((65536 * scene()).astype(np.uint16), 2)
    yield "png-16-bits-alpha.png", png_of_16_bits((65536 * scene(channels=4)).astype(np.uint16), 6)
    yield "png-orientation-6.png", encoded(image(width=60), "PNG", exif=tagged(6))


def interlaced():
    """Adam7, which PIL reads and does not write."""
    import struct
    import zlib

    pixels = np.asarray(image())
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx])

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def others():
    photo = image()
    yield "webp-lossy.webp", encoded(photo, "WEBP", quality=85)
    yield "webp-lossy-alpha.webp", encoded(image("RGBA"), "WEBP", quality=85, exact=True)
    yield "webp-lossless.webp", encoded(photo, "WEBP", lossless=True)
    yield "webp-lossless-alpha.webp", encoded(image("RGBA"), "WEBP", lossless=True, exact=True)
    yield "webp-orientation-8.webp", encoded(image(width=60), "WEBP", lossless=True, exif=tagged(8))
    frames = [ImageOps.invert(photo)]
    yield "webp-animated.webp", encoded(photo, "WEBP", lossless=True, save_all=True, append_images=frames)
    yield "gif.gif", encoded(photo.quantize(100), "GIF")
    yield "gif-interlaced.gif", encoded(photo.quantize(30), "GIF", interlace=1)
    yield "gif-transparent.gif", encoded(photo.quantize(40), "GIF", transparency=7)
    frames = [ImageOps.invert(photo).quantize(40)]
    yield "gif-animated.gif", encoded(photo.quantize(40), "GIF", save_all=True, append_images=frames)
    yield "bmp-rgb.bmp", encoded(photo, "BMP")
    yield "bmp-palette.bmp", encoded(photo.quantize(50), "BMP")
    yield "bmp-1-bit.bmp", encoded(photo.convert("1"), "BMP")
    yield "tiff-rgb.tif", encoded(photo, "TIFF")
    yield "tiff-grey.tiff", encoded(image("L"), "TIFF", compression="packbits")
    yield "tiff-lzw.tif", encoded(photo, "TIFF", compression="tiff_lzw")
    yield "tiff-deflate.tif", encoded(image("RGBA"), "TIFF", compression="tiff_adobe_deflate")
    yield "tiff-jpeg.tif", encoded(photo, "TIFF", compression="jpeg")
    yield "tiff-cmyk.tif", encoded(image("CMYK"), "TIFF")
    yield "tiff-orientation-3.tif", encoded(image(width=60), "TIFF", exif=tagged(3))


def refused():
    yield "tiff-palette.tif", encoded(image().quantize(50), "TIFF")


def squares(content):
    """PIL's middle square of an image as it is, and scaled parts of the image."""
    picture = Image.open(io.BytesIO(content))
    picture.seek(0)
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    width, height = picture.size
    side = min(width, height)

    def middle(share, size, how):
        kept = side * share
        left, top = (width - kept) / 2, (height - kept) / 2
        return picture.resize((size, size), how, (left, top, left + kept, top + kept))

    result = Image.new("RGB", (SIDE + SMALL, 3 * SMALL))
    result.paste(middle(1, SIDE, Image.Resampling.BILINEAR), (0, 0))
    result.paste(middle(1, SMALL, Image.Resampling.BILINEAR), (SIDE, 0))
    result.paste(middle(0.875, SMALL, Image.Resampling.BICUBIC), (SIDE, SMALL))
    cut = picture.crop(RECTANGLE).resize((SMALL, SMALL), Image.Resampling.BILINEAR)
    result.paste(cut, (SIDE, 2 * SMALL))
    return result


def main():
    for folder in ["pil", "refused"]:
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    for name, content in refused():
        (FOLDER / "refused" / name).write_bytes(content)
    for name, content in [*jpegs(), *pngs(), *others()]:
        (FOLDER / name).write_bytes(content)
        squares(content).save(FOLDER / "pil" / f"{name}.png", optimize=True)
        print(name, len(content))


main()
