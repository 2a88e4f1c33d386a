"""Decodes an image file as a viewer shows it: upright, in RGB, on white."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from engine.errors import UserError

# Pillow refuses images of more pixels than twice its own number.
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Returns an image file in RGB, resized to `size` if necessary: uint8 (3, size, size).

    The image is turned as its EXIF data say, of an animation the first picture is taken, and what
    is transparent is put on white. Of 12 or 16 bits the upper 8 are kept.

    Raises:
        UserError: if the file cannot be read; it says why.
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _on_white(_of_8_bits(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise of every kind on a damaged file
        raise UserError(f"{path}: {_reason(error)}") from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Returns a grey image of 12 or 16 bits with the upper 8; Pillow would clip it. Others stay."""
    # Of Pillow's modes of 32 bits, only that of the format PPM has numbers of 16 bits.
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise UserError("has pixels of 32 bits, whose range is unknown. Save it with 8 or 16 bits.")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    grey = np.array(image)  # (H, W)
    if (transparent := image.info.get("transparency")) is not None:
        grey[grey == transparent] = 65535
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # Pillow heeds it with 8 bits only
        grey = 2**bits - 1 - grey  # 0 is white
    return Image.fromarray((grey >> (bits - 8)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Returns an image in RGB, its transparent parts on white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Returns why a file cannot be read, and what to do."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        pixels = int(re.findall(r"\d+", str(error))[0])  # the text has the number, no attribute has
        return (
            f"has {pixels:,} pixels, and the limit is {MOST_PIXELS:,}. "
            "Make it smaller, or remove it."
        )
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, or is of a kind that Pillow cannot read. Replace or remove it."
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}."
    return f"is damaged: {error}. Repair or remove it."
