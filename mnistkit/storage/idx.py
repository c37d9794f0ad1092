"""Read idx files, the format of MNIST: bounded in memory, from regular files only."""

import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

# Bytes of the largest of these files, decompressed: the training images.
LARGEST = 47_040_016
IDX_TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers, as QMNIST's labels are",
    0x0D: "floats",
    0x0E: "doubles",
}
# How the files begin that users have in place of idx files.
OTHER_FORMATS = {
    b"PK": "a zip or npz archive",
    b"\x93NUMPY": "an npy array",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x80": "a pickle",
    b"<": "an HTML or XML page",
    b"version https": "a Git LFS pointer",
}
REMEDY = (
    "put a fresh copy there, set MNISTKIT_DATA to a folder with the four canonical "
    "files, or leave it unset to download them"
)


class DataError(ValueError):
    """The data is missing or is not MNIST; one line names the place and the remedy."""


def read_idx(path: str | os.PathLike) -> Tensor:
    """Return the content of an idx file, gzipped or not, as a uint8 tensor.

    The tensor has the shape that the file states. DataError if the file cannot be read,
    is damaged, is larger than any of MNIST, or is no idx file of unsigned bytes.
    """
    return parse_idx(read_bytes(Path(path)), path)


def read_bytes(path: Path) -> bytes:
    """Return what a regular file holds, decompressed if its content is gzipped.

    DataError if the file cannot be read or holds more than the largest file of MNIST.
    """
    if not os.path.isfile(path):
        raise DataError(f"{path} is missing or no regular file; {REMEDY}")
    try:
        with path.open("rb") as stream:
            return unpack(stream, path)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be read ({reason}); {REMEDY}") from error


def unpack(stream: BinaryIO, name: str | os.PathLike) -> bytes:
    """Return the rest of `stream`, decompressed if it is gzipped.

    `name` stands in the DataError for a damaged archive and for more than LARGEST
    bytes. What follows the last member of an archive is ignored.
    """
    content = stream.read(2)
    if content == b"\x1f\x8b":
        try:
            content = _decompress(content, stream)
        except zlib.error as error:
            raise DataError(f"{name} cannot be read ({error}); {REMEDY}") from error
    else:
        content += stream.read(LARGEST)
    if len(content) > LARGEST:
        raise DataError(
            f"{name} holds more than {LARGEST:,} bytes, the size of MNIST's largest "
            f"file; {REMEDY}"
        )
    return content


def _decompress(chunk: bytes, stream: BinaryIO) -> bytes:
    # A chunk of 16 KiB grows to 17 MB at most, so a small file cannot fill the memory.
    content, complete = bytearray(), 0
    member = zlib.decompressobj(wbits=31)
    while chunk and len(content) <= LARGEST:
        if member.eof:
            complete = len(content)
            member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(chunk)
        except zlib.error:
            if complete == 0:
                raise
            return bytes(content[:complete])
        chunk = member.unused_data or stream.read(2**14)
    if not member.eof and len(content) <= LARGEST:
        raise zlib.error("incomplete or truncated stream")
    return bytes(content)


def parse_idx(content: bytes, name: str | os.PathLike) -> Tensor:
    """Return the uint8 tensor in the bytes of an idx file; `name` stands in errors."""
    shape = idx_shape(content)
    if shape is None:
        raise DataError(f"{name} is {_format(content)}; {REMEDY}")
    header = 4 + 4 * len(shape)
    if len(content) != header + math.prod(shape):
        raise DataError(f"{name} has not the length its header states; {REMEDY}")
    # frombuffer gives a read-only array; torch wants one that can be written.
    values = np.frombuffer(content, np.uint8, offset=header).copy()
    try:
        return torch.from_numpy(values).view(shape)
    except RuntimeError as error:
        # Beside a dimension of 0 the other dimensions can be larger than torch allows.
        raise DataError(f"{name} states the shape {shape}; {REMEDY}") from error


def idx_shape(content: bytes) -> tuple[int, ...] | None:
    """Return the shape in the header of an idx file of unsigned bytes, else None."""
    # The header holds two zero bytes, the type (8 is an unsigned byte), the number of
    # dimensions, and each dimension as a big-endian 4-byte integer.
    dims = content[3] if len(content) > 3 else 0
    if content[:3] != b"\0\0\x08" or dims == 0 or len(content) < 4 + 4 * dims:
        return None
    return tuple(np.frombuffer(content, ">u4", dims, offset=4).tolist())


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an idx file of unsigned bytes in `shape`."""
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return bytes([0, 0, 8, len(shape)]) + sizes


def _format(content: bytes) -> str:
    # What a file that is no idx file of unsigned bytes seems to be, in words.
    if content[:2] == b"\0\0" and content[2:3] and content[2] in IDX_TYPES:
        kind = IDX_TYPES[content[2]]
        return f"an idx file of {kind}, not of unsigned bytes (wrong magic number)"
    for start, kind in OTHER_FORMATS.items():
        if content.startswith(start):
            return f"{kind}, no idx file (wrong magic number)"
    return "no idx file (wrong magic number)"
