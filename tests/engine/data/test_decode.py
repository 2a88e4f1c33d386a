"""Decoding, against pictures whose pixels are known, and formulas in NumPy."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.decode import decode
from engine.errors import UserError

# 4 × 4: no two rows, columns or diagonals alike, so that each of eight ways to turn it shows.
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
ORIENTATION = 0x0112  # of EXIF
GREY = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def channels(pixels: np.ndarray) -> np.ndarray:
    """Grey (H, W) or coloured (H, W, 3) pixels as they are decoded: (3, H, W)."""
    coloured = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return coloured.transpose(2, 0, 1)


# What is stored, from what a viewer shows (CIPA DC-008-2019, "Orientation").
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),  # a viewer turns it clockwise
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "jpg"])
def test_an_image_is_turned_as_exif_says(orientation: int, ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PIXELS)))
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    path = saved(tmp_path / f"x.{ending}", stored, exif=exif, **lossless.get(ending, {}))
    off = np.abs(decode(path, 4).astype(int) - channels(PIXELS)).max()
    assert off <= (8 if ending == "jpg" else 0)


def save_sixteen_bits(kind: str, path: Path) -> None:
    if kind == "PGM":
        path.write_bytes(b"P5\n4 4\n65535\n" + GREY.astype(">u2").tobytes())
    else:
        order = ">u2" if kind == "big-endian TIFF" else "<u2"
        Image.fromarray(GREY.astype(order)).save(path, kind.removeprefix("big-endian "))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PGM"])
def test_sixteen_bits_are_those_of_the_same_picture_in_eight(kind: str, tmp_path: Path) -> None:
    save_sixteen_bits(kind, tmp_path / "x")
    np.testing.assert_array_equal(decode(tmp_path / "x", 4), channels(GREY // 256))
    assert channels(GREY // 256)[0, 0].tolist() == [0, 17, 34, 51]


def grey_tiff(pixels: np.ndarray, bits: int, is_white_zero: bool) -> bytes:
    """Returns a TIFF of one strip, whose numbers (H, W) have so many bits, the first one first."""
    height, width = pixels.shape
    if bits == 12:
        digits = "".join(f"{number:012b}" for number in pixels.ravel().tolist())
        data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    else:
        data = pixels.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if is_white_zero else 1}
    tags |= {273: 8, 277: 1, 278: height, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return b"".join([start, data, struct.pack("<H", len(tags)), *entries, bytes(4)])


@pytest.mark.parametrize(("bits", "is_white_zero"), [(12, False), (16, False), (16, True)])
def test_a_grey_tiff_has_its_own_bits_and_its_own_white(
    bits: int, is_white_zero: bool, tmp_path: Path
) -> None:
    numbers = GREY >> (16 - bits)
    (tmp_path / "x").write_bytes(grey_tiff(numbers, bits, is_white_zero))
    shown = 255 - GREY // 256 if is_white_zero else GREY // 256
    np.testing.assert_array_equal(decode(tmp_path / "x", 4), channels(shown))


def test_sixteen_bits_are_turned_and_have_a_transparent_grey(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    image = Image.fromarray(np.ascontiguousarray(GREY[::-1, ::-1]))
    path = saved(tmp_path / "x.png", image, exif=exif, transparency=int(GREY[0, 0]))
    expected = (GREY // 256).copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(decode(path, 4), channels(expected))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_picture_whose_range_is_unknown_is_refused(dtype: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Image.fromarray(GREY.astype(dtype)))
    with pytest.raises(UserError) as raised:
        decode(path, 4)
    assert str(raised.value) == (
        f"{path}: has pixels of 32 bits, whose range is unknown. Save it with 8 or 16 bits."
    )


ALPHA = np.random.default_rng(1).integers(0, 256, (4, 4, 1), dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_on_white(mode: str, ending: str, tmp_path: Path) -> None:
    own = PIXELS if mode == "RGBA" else PIXELS[..., :1]
    image = Image.fromarray(np.concatenate([own, ALPHA], axis=2), mode)
    path = saved(
        tmp_path / f"x.{ending}", image, **({"lossless": True} if ending == "webp" else {})
    )
    share = ALPHA / 255
    expected = share * own + (1 - share) * 255
    np.testing.assert_allclose(
        decode(path, 4), channels(np.broadcast_to(expected, (4, 4, 3))), rtol=0, atol=1
    )


def test_ink_on_transparent_paper_is_black_on_white(tmp_path: Path) -> None:
    """All pixels are black, and only the transparency tells the digit from the paper."""
    ink = np.zeros((4, 4, 4), np.uint8)
    ink[1:3, 1:3, 3] = 255
    decoded = decode(saved(tmp_path / "x.png", Image.fromarray(ink)), 4)
    np.testing.assert_array_equal(decoded, channels(255 - ink[..., 3]))


@pytest.mark.parametrize("as_bytes", [False, True], ids=["a colour", "a share for each colour"])
def test_a_palette_may_be_transparent(as_bytes: bool, tmp_path: Path) -> None:
    image = Image.new("P", (4, 4))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.paste(1, (0, 0, 4, 2))  # the upper half has colour 1, the lower half colour 0
    transparency = bytes([255, 51]) if as_bytes else 1
    decoded = decode(saved(tmp_path / "x.png", image, transparency=transparency), 4)
    assert decoded[:, 3, 0].tolist() == [10, 20, 30]
    assert decoded[:, 0, 0].tolist() == ([244, 224, 204] if as_bytes else [255, 255, 255])


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_is_the_colour_that_is_seen(ending: str, tmp_path: Path) -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 128, 0))
    options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
    decoded = decode(saved(tmp_path / f"x.{ending}", image, **options), 4)
    assert np.abs(decoded[:, 0, 0].astype(int) - [255, 0, 127]).max() <= 2


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_of_an_animation_the_first_picture_counts(ending: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if ending == "webp" else {}
    path = saved(
        tmp_path / f"x.{ending}", frames[0], save_all=True, append_images=frames[1:], **options
    )
    assert decode(path, 4)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "gif", "tif", "webp", "ppm"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_plain_images_are_as_pillow_has_them(mode: str, ending: str, tmp_path: Path) -> None:
    """These bits have been the same in every version of this file."""
    image = Image.fromarray(PIXELS).convert(mode)
    if ending in ("jpg", "ppm", "webp") and mode in ("1", "P"):
        image = image.convert("L")
    path = saved(tmp_path / f"x.{ending}", image)
    with Image.open(path) as opened:
        plain = opened.convert("RGB")
    np.testing.assert_array_equal(decode(path, 4), channels(np.asarray(plain)))
    small = plain.resize((3, 3), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(path, 3), channels(np.asarray(small)))


def giant() -> bytes:
    """A PNG that says that it has 20,000 × 10,000 pixels, and has none: its header is enough."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + zlib.crc32(chunk).to_bytes(4)
        for chunk in (header, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG")
    return file.getvalue()


NO_IMAGE = "is not an image, or is of a kind that Pillow cannot read. Replace or remove it."
BROKEN = {
    "too large": (
        giant(),
        "has 200,000,000 pixels, and the limit is 178,956,970. Make it smaller, or remove it.",
    ),
    "truncated": (
        jpeg()[:-20],
        "is damaged: image file is truncated (30 bytes not processed). Repair or remove it.",
    ),
    "empty": (b"", NO_IMAGE),
    "a page": (b"<html>404</html>", NO_IMAGE),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_says_which_file_and_why(kind: str, tmp_path: Path) -> None:
    content, reason = BROKEN[kind]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        decode(path, 4)
    assert str(raised.value) == f"{path}: {reason}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(PIXELS))
    path.chmod(0)
    with pytest.raises(UserError, match=r"x\.png: cannot be read: Permission denied\.$"):
        decode(path, 4)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.png: cannot be read: No such file or directory\.$"):
        decode(tmp_path / "x.png", 4)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, colour: int, rows: list[bytes], transparent: bytes) -> bytes:
    """Returns a PNG of 2 × 2 pixels with a tRNS chunk."""
    head = struct.pack(">IIBBBBB", 2, 2, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", head), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*own) for own in chunks)


NEAR, FAR = (0x1234, 0x5678, 0x9ABC), (0x3400, 0x7800, 0xBC00)


@pytest.mark.parametrize(
    ("image", "opaque"),
    [
        (png(2, 0, [b"\x40", b"\x10"], b"\0\1"), [0] * 3),
        (png(4, 0, [b"\x70", b"\x07"], b"\0\7"), [0] * 3),
        (png(8, 0, [b"\x55\0", b"\0\x55"], b"\0\x55"), [0] * 3),
        (
            png(
                16,
                2,
                [struct.pack(">6H", *NEAR, *FAR), struct.pack(">6H", *FAR, *NEAR)],
                struct.pack(">3H", *NEAR),
            ),
            [0x34, 0x78, 0xBC],
        ),
    ],
    ids=["2 bits", "4 bits", "8 bits", "colours of 16 bits"],
)
def test_the_number_that_is_transparent_is_put_on_white(
    image: bytes, opaque: list[int], tmp_path: Path
) -> None:
    """As it happened: Pillow scales pixels to 8 bits, and not this number."""
    (tmp_path / "x.png").write_bytes(image)
    decoded = decode(tmp_path / "x.png", 2)
    for row, column in ((0, 0), (1, 1)):
        assert decoded[:, row, column].tolist() == [255] * 3
        assert decoded[:, row, 1 - column].tolist() == opaque


def test_exif_data_of_a_wrong_kind_do_no_harm(tmp_path: Path) -> None:
    """As it happened: a photo was called damaged, as its EXIF data could not be written anew."""
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    exif[0x0128] = 2  # the unit of the resolution, a short
    raw = exif.tobytes()
    order = ">" if b"MM" in raw else "<"
    short, word = (struct.pack(f"{order}HH", 0x0128, kind) for kind in (3, 2))
    wrong = raw.replace(short, word)
    assert wrong != raw
    stored = Image.fromarray(np.ascontiguousarray(STORED[3](PIXELS)))
    path = saved(tmp_path / "x.jpg", stored, exif=wrong, quality=100, subsampling=0)
    assert np.abs(decode(path, 4).astype(int) - channels(PIXELS)).max() <= 8
