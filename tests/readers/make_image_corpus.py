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
import struct
import zlib

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


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of_16_bits(samples, color_type):
    """PIL writes no PNG of more than one 16-bit channel."""
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
    pixels = np.asarray(image())
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx])

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


def exif(orientation, order=">", kind=3):
    """Exif with a tag of a SHORT (3) or a LONG (4)."""
    value = struct.pack(order + {3: "H2x", 4: "I"}[kind], orientation)
    start = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(order + "I", 8)
    return start + struct.pack(order + "HHHI", 1, ORIENTATION, kind, 1) + value + bytes(4)


def xmp(orientation, element=False):
    inside = f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
    attribute = f' tiff:Orientation="{orientation}"/>'
    text = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    return (text + (inside if element else attribute) + "</x:xmpmeta>").encode()


def oriented_jpegs():
    plain = encoded(image("L", width=60), "JPEG", quality=60)

    def of(*segments):
        parts = [b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment for segment in segments]
        return plain[:20] + b"".join(parts) + plain[20:]

    def of_exif(*parts):
        return of(*[b"Exif\0\0" + part for part in parts])

    in_jpeg = b"http://ns.adobe.com/xap/1.0/\0"
    yield "jpeg-exif-big-endian-5.jpg", of_exif(exif(5))
    yield "jpeg-exif-little-endian-7.jpg", of_exif(exif(7, "<"))
    yield "jpeg-exif-long-6.jpg", of_exif(exif(6, "<", 4))
    yield "jpeg-exif-long-big-endian-8.jpg", of_exif(exif(8, ">", 4))
    yield "jpeg-exif-6-then-3.jpg", of_exif(exif(6), exif(3))
    yield "jpeg-exif-in-two-segments-8.jpg", of_exif(exif(8)[:13], exif(8)[13:])
    yield "jpeg-exif-9-and-xmp-6.jpg", of(b"Exif\0\0" + exif(9), in_jpeg + xmp(6))
    yield "jpeg-exif-0.jpg", of_exif(exif(0))
    yield "jpeg-xmp-attribute-6.jpg", of(in_jpeg + xmp(6))
    yield "jpeg-xmp-element-5.jpg", of(in_jpeg + xmp(5, True))


def oriented_pngs():
    plain = encoded(image("L", width=60), "PNG")

    def of(*chunks):
        return plain[:33] + b"".join(chunks) + plain[33:]

    def profile(content, packed):
        digits = (b"Exif\0\0" + content).hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()
        name = b"Raw profile type exif\0"
        return chunk(b"zTXt", name + b"\0" + zlib.compress(text)) if packed else chunk(b"tEXt", name + text)

    def text(content, packed=False):
        head = b"XML:com.adobe.xmp\0" + bytes([packed]) + b"\0\0\0"
        return chunk(b"iTXt", head + (zlib.compress(content) if packed else content))

    yield "png-exif-after-pixels-7.png", plain[:-12] + chunk(b"eXIf", exif(7, "<")) + plain[-12:]
    yield "png-raw-profile-6.png", of(profile(exif(6), True))
    yield "png-raw-profile-text-5.png", of(profile(exif(5, "<"), False))
    yield "png-raw-profile-6-and-exif-3.png", of(profile(exif(6), True), chunk(b"eXIf", exif(3)))
    yield "png-xmp-6.png", of(text(xmp(6)))
    yield "png-xmp-packed-8.png", of(text(xmp(8, True), True))


def oriented_webps():
    plain = encoded(image("L", width=60).convert("RGB"), "WEBP", quality=60)
    size = struct.pack("<I", 59)[:3] + struct.pack("<I", SIDE - 1)[:3]

    def of(flags, *chunks):
        body = b"WEBPVP8X" + struct.pack("<IB3x", 10, flags) + size + plain[12:]
        for name, content in chunks:
            body += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    yield "webp-exif-6.webp", of(8, (b"EXIF", exif(6)))
    yield "webp-exif-prefix-5.webp", of(8, (b"EXIF", b"Exif\0\0" + exif(5, "<", 4)))
    yield "webp-xmp-8.webp", of(4, (b"XMP ", xmp(8)))
    yield "webp-exif-not-flagged.webp", of(0, (b"EXIF", exif(6)))
    yield "webp-flagged-without-exif.webp", of(8)


def oriented_tiffs():
    grey, pack = image("L", width=60), {"compression": "tiff_adobe_deflate"}
    yield "tiff-packed-6.tif", encoded(grey, "TIFF", exif=tagged(6), **pack)
    yield "tiff-xmp-8.tif", encoded(grey, "TIFF", tiffinfo={700: xmp(8)}, **pack)
    yield "tiff-big-5.tif", encoded(grey, "TIFF", exif=tagged(5), big_tiff=True)


def without_tables(jpeg):
    """A JPEG as a frame of Motion JPEG: without the standard's Huffman tables."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        kept += jpeg[at:end] if jpeg[at + 1] != 0xC4 else b""
        at = end
    return kept + jpeg[at:]


def other_jpegs():
    photo, second = image(), ImageOps.invert(image())
    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"jpeg-motion-{name}.jpg", without_tables(encoded(photo, "JPEG", quality=90, subsampling=sampling))
    yield "jpeg-motion-grey.jpg", without_tables(encoded(image("L"), "JPEG", quality=60))
    yield "jpeg-of-two.jpg", encoded(photo, "MPO", save_all=True, append_images=[second], quality=30)
    video = b"\0\0\0\x18ftypmp42" + bytes(range(256)) + b"\xff\xd8\xff\xd9MotionPhoto_Data"
    yield "jpeg-and-video.jpg", encoded(photo, "JPEG", quality=90) + video


def small_frame(transparency=None, screen=(SIDE, SIDE), place=(5, 9)):
    """A GIF whose only frame is a part of its screen, or reaches beyond it."""
    options = {} if transparency is None else {"transparency": transparency}
    gif = bytearray(encoded(image().crop((0, 0, 30, 30)).quantize(12), "GIF", **options))
    frame = gif.index(b"," + bytes(4) + struct.pack("<HH", 30, 30))
    gif[6:10] = struct.pack("<HH", *screen)
    gif[frame + 1 : frame + 5] = struct.pack("<HH", *place)
    return bytes(gif)


def run_lengths():
    """PIL writes no compressed BMP."""
    indices = np.asarray(image("L"))[::-1] // 64
    rows = b""
    for row in indices:
        ends = [*(np.flatnonzero(np.diff(row)) + 1), SIDE]
        rows += b"".join(bytes([end - start, row[start]]) for start, end in zip([0, *ends], ends)) + b"\0\0"
    rows += b"\0\1"
    colours = b"".join(bytes([60 * i, 200 - 40 * i, 250 - 80 * i, 0]) for i in range(4))
    size = (40, SIDE, SIDE, 1, 8, 1, len(rows), 2835, 2835, 4, 0)
    start = 14 + 40 + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + struct.pack("<IiiHHIIiiII", *size) + colours + rows


def other_kinds():
    photo, grey = image(), image("L")
    second = ImageOps.invert(grey)
    yield "gif-small-frame.gif", small_frame()
    yield "gif-small-transparent-frame.gif", small_frame(3)
    yield "gif-frame-beyond-screen.gif", small_frame(screen=(0, 0), place=(18, 18))
    yield "bmp-run-lengths.bmp", run_lengths()
    yield "png-animated.png", encoded(grey.quantize(9), "PNG", save_all=True, append_images=[second.quantize(9)])
    yield "png-2-bits.png", encoded(photo.quantize(4), "PNG", bits=2)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    png = encoded(photo.quantize(13), "PNG", bits=4)
    yield "png-gamma.png", png[:33] + gamma + png[33:]
    yield "tiff-palette.tif", encoded(photo.quantize(50), "TIFF", compression="tiff_adobe_deflate")
    yield "tiff-palette-6.tif", encoded(image(width=60).quantize(9), "TIFF", compression="tiff_lzw", exif=tagged(6))
    yield "tiff-1-bit.tif", encoded(photo.convert("1"), "TIFF", compression="group4")
    pages = encoded(grey, "TIFF", compression="tiff_adobe_deflate", save_all=True, append_images=[Image.new("L", (9, 9))])
    yield "tiff-pages.tif", pages


def refused():
    yield "tiff-fax-3.tif", encoded(image().convert("1"), "TIFF", compression="group3")


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
    oriented = [*oriented_jpegs(), *oriented_pngs(), *oriented_webps(), *oriented_tiffs()]
    for name, content in [*jpegs(), *pngs(), *others(), *oriented, *other_jpegs(), *other_kinds()]:
        (FOLDER / name).write_bytes(content)
        squares(content).save(FOLDER / "pil" / f"{name}.png", optimize=True)
        print(name, len(content))


main()
