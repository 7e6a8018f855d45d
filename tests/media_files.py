"""Files that tests of contexts are made of."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """An image whose pixels differ."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 5 % 256, y * 7 % 256, (x + y) % 256], axis=-1).astype(np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image in a format."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF of pages of these words each."""
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, words in enumerate(pages):
        content = zlib.compress(f"BT /F1 12 Tf 14 TL 10 80 Td ({words}) Tj ET".encode())
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Resources << /Font << /F1 3 0 R >> >> "
            + f"/Contents {5 + 2 * index} 0 R >>".encode()
        )
        objects.append(
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream"
        )
    file = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(file)
    file += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    file += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    return file + f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def docx(*paragraphs: str) -> bytes:
    """A docx of paragraphs."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>')
    return file.getvalue()


def wav(seconds: float = 0.5) -> bytes:
    """Silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(int(seconds * 8_000) * 2))
    return file.getvalue()


def film(path: Path, seconds: int = 3) -> None:
    """A film of 64 by 48 pixels that grows lighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(seconds * 10):
            shade = index * 255 // (seconds * 10)
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (shade, shade, shade)))  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def png_bomb() -> bytes:
    """The head of a PNG of 3.6 billion pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def written(folder: Path) -> dict[str, Path]:
    """A file of every kind but films, by its name."""
    files = {
        "photo.jpg": saved(picture(), "JPEG"),
        "shot.png": saved(picture(), "PNG"),
        "anim.gif": saved(picture(), "GIF", save_all=True, append_images=[picture(40, 30).rotate(90)]),
        "photo.webp": saved(picture(), "WEBP"),
        "old.bmp": saved(picture(), "BMP"),
        "scan.tiff": saved(picture(), "TIFF"),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0H9V9"/></svg>',
        "paper.pdf": pdf("Hello", "World"),
        "letter.docx": docx("Dear Ana"),
        "main.py": b"print('hi')\n",
        "table.csv": b"a,b\n1,2\n",
        "settings.toml": b"[a]\nb = 1\n",
        "notes.md": "# Notes\n\nünïcödé\n".encode(),
        "sound.wav": wav(),
    }
    paths = {}
    for name, data in files.items():
        paths[name] = folder / name
        paths[name].write_bytes(data)
    return paths
