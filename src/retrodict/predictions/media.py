"""Values that are no numbers, for people: images, bytes, ranked lists and long texts, each in a bounded line."""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_ENTRIES: Final = 5  # of a list or a mapping that are shown
_COLUMNS: Final = 12  # of a row without names that are shown one by one
_CHARACTERS: Final = 300  # of a text
_LINE: Final = 1_000  # characters of everything
_INLINE_BYTES: Final = 96 * 1024  # of a picture that stands in a page
_CHANNELS: Final = {1: ("L", 0), 3: ("RGB", 2), 4: ("RGBA", 6)}  # mode, and PNG's type of colour
_MIME: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WebP": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image among the values of a call.

    Attributes:
        form: "PNG", "JPEG", "GIF" or "WebP" where it is encoded, else the mode of its pixels ("RGB", "L", ...).
        width, height: In pixels; 0 where the format hides it.
        size_bytes: Of the encoded bytes, or of the pixels.
        digest: Of the same.
        png: The pixels as a PNG file, or the bytes themselves where they are encoded already.
    """

    form: str
    width: int
    height: int
    size_bytes: int
    digest: str
    png: bytes = field(repr=False)

    def __str__(self) -> str:
        return brief(self)


def is_image(value: object) -> bool:
    """Say whether a value is one image of pixels: PIL's, or bytes in an array of (height, width, 3 or 4)."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == "PIL":
        return hasattr(value, "tobytes") and hasattr(value, "mode")
    shape: tuple[int, ...] = getattr(value, "shape", ())
    return kind.__name__ == "ndarray" and len(shape) == 3 and shape[2] in (3, 4) and _is_uint8(value) and 0 not in shape


def picture(value: object) -> Picture | None:
    """Return what can be said of an image, encoded or of pixels; None for everything else."""
    if isinstance(value, Picture):
        return value
    if type(value) is bytes:
        found = _encoded(value)
        if found is None:
            return None
        form, width, height = found
        return Picture(form=form, width=width, height=height, size_bytes=len(value), digest=digest_of(value), png=value)
    if not is_image(value):
        return None
    image: Any = value
    if type(value).__name__ != "ndarray":
        pixels, (width, height) = image.tobytes(), image.size
        plain = image if image.mode in {"L", "RGB", "RGBA"} else image.convert("RGBA")
        drawn, channels = plain.tobytes(), len(plain.getbands())
        mode = str(image.mode)
    else:
        height, width, channels = image.shape
        pixels = drawn = image.tobytes()
        mode = _CHANNELS[channels][0]
    return Picture(
        form=mode,
        width=width,
        height=height,
        size_bytes=len(pixels),
        digest=digest_of(pixels),
        png=_png(drawn, width, height, channels),
    )


def about(value: object) -> object:
    """Return what stands for a value that JSON does not know: of bytes and images what they are, else its text."""
    return described(value) or str(value)


def described(value: object) -> dict[str, object]:
    """Return what bytes and images are: type, size, digest; {} for everything else."""
    found = picture(value)
    if found is not None:
        size = {"width": found.width, "height": found.height}
        return {"image": found.form, **size, "size_bytes": found.size_bytes, "digest": found.digest}
    if isinstance(value, bytes):
        return {"size_bytes": len(value), "digest": digest_of(value)}
    return {}


def brief(value: object) -> str:
    """Return a value in a bounded line: a list by its first entries, an image by type, size and digest."""
    text = _brief(value, 0)
    return text if len(text) <= _LINE else f"{text[:_LINE]}…"


def brief_row(values: Mapping[str, object]) -> object:
    """Return a row as a list where its columns are known by their positions only: a ranking, a long vector."""
    is_long = len(values) > _COLUMNS or (len(values) > 1 and all(isinstance(value, str) for value in values.values()))
    is_row = is_long and list(values) == [str(i) for i in range(len(values))]
    return list(values.values()) if is_row else None


def inline(value: object) -> str | None:
    """Return a `data:` address of a small picture, for a page; None for everything else."""
    found = picture(value)
    if found is None or len(found.png) > _INLINE_BYTES:
        return None
    return f"data:{_MIME.get(found.form, 'image/png')};base64,{base64.b64encode(found.png).decode()}"


def _brief(value: object, depth: int) -> str:
    found = picture(value)
    if found is not None:
        size = f" {found.width}×{found.height}" if found.width else ""
        return f"{found.form} image{size}, {found.size_bytes:,} bytes, {found.digest[:15]}"
    match value:
        case float():
            return repr(value)
        case bytes():
            return f"{len(value):,} bytes, {digest_of(value)[:15]}"
        case str():
            text = value if len(value) <= _CHARACTERS else f"{value[:_CHARACTERS]}… ({len(value):,} characters)"
            return text if depth == 0 else repr(text)
        case list() | tuple() if depth < 3:
            shown = [_brief(item, depth + 1) for item in value[:_ENTRIES]]
            return f"[{', '.join([*shown, *_more(len(value))])}]"
        case Mapping() if depth < 3:
            shown = [f"{key}: {_brief(item, depth + 1)}" for key, item in list(value.items())[:_ENTRIES]]
            return f"{{{', '.join([*shown, *_more(len(value))])}}}"
        case list() | tuple() | Mapping():
            return f"{len(value):,} entries"
    text = str(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _more(count: int) -> list[str]:
    return [f"… {count - _ENTRIES:,} more"] if count > _ENTRIES else []


def digest_of(data: bytes) -> str:
    """Return the digest that an object of these bytes has."""
    from retrodict import objects  # all of the store: 20 ms that a line of numbers does not need

    return objects.digest_of(data)


def _is_uint8(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and getattr(value, "dtype", None) == numpy.uint8


def _encoded(data: bytes) -> tuple[str, int, int] | None:
    """Return format, width and height of an encoded image. Sources: PNG 3.0 section 11.2.1, GIF89a 18, ITU T.81 B.2."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return ("PNG", *struct.unpack(">II", data[16:24]))
    if data[:6] in {b"GIF87a", b"GIF89a"} and len(data) >= 10:
        return ("GIF", *struct.unpack("<HH", data[6:10]))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", 0, 0
    if data[:3] != b"\xff\xd8\xff":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return "JPEG", width, height
        at += 2 + length
    return "JPEG", 0, 0


def _png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Return pixels (rows from above, 8 bits a channel) as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = width * channels
    rows = b"".join(b"\0" + pixels[y * stride : (y + 1) * stride] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, _CHANNELS[channels][1], 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 6)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
