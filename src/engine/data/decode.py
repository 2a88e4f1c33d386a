"""Decodes an image file as a viewer shows it: upright, in RGB, on white."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from engine.errors import UserError

# Pillow refuses images of more pixels than twice its own number.
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
# Pillow's own function writes the EXIF data anew, which fails where any of them is of a wrong kind.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Returns an image file in RGB, resized to `size` if necessary: uint8 (3, size, size).

    The image is turned as its EXIF data say, of an animation the first picture is taken, and what
    is transparent is put on white. Of 12 or 16 bits the upper 8 are kept.

    Raises:
        UserError: if the file cannot be read; it says why.
    """
    try:
        with Image.open(path) as image:
            _scale_transparent(image)
            image.load()  # EXIF data may stand behind the pixels
            rgb = _on_white(_of_8_bits(image))
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            rgb = rgb if turn is None else rgb.transpose(turn)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise of every kind on a damaged file
        raise UserError(f"{path}: {_reason(error)}") from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)


def _scale_transparent(image: Image.Image) -> None:
    """Scales the number or colour of a PNG that is transparent, as Pillow scales its pixels.

    Of colours of 16 bits, Pillow keeps the upper 8, so the nearest ones are transparent, too.
    """
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImageFile) or not isinstance(transparent, int | tuple):
        return
    bits = str(image.tile[0].args)  # such as "L;4"
    if isinstance(transparent, tuple):
        image.info["transparency"] = tuple(own >> 8 * ("16" in bits) for own in transparent)
    else:
        image.info["transparency"] = transparent * {"L;2": 85, "L;4": 17}.get(bits, 1)


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
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
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
