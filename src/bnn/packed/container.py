"""The container of a packed file: a safetensors file that carries a digest of all its bytes.

Eight bytes hold the length of the header, the header is JSON that says where each tensor lies, and
the tensors follow without a gap. Nothing is taken from a file that was not checked first. What the
numbers mean is the matter of :mod:`bnn.packed.file`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnn.errors import PackedFormatError

MOST_FILE = 2**32
MOST_HEADER = 2**23
MOST_TENSOR = 2**31
MOST_TENSORS = 2**17
MOST_AXES = 8
MOST_NAME = 512

_LENGTH = 8  # bytes before the header
_HEX = 64
_DAMAGED = "Copy or export the file again."
_PACK_IT = "pack it first: bnn pack CHECKPOINT -o NET.bnn, or bnn.pack(model, example)."
_OTHERS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zip, pickles
_DTYPES = {"I64": torch.int64, "F32": torch.float32}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


class Entry(NamedTuple):
    """Where a tensor lies; ``begin`` and ``end`` count from the end of the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Container:
    """A file that was read, and whose structure was found right.

    Attributes:
        document: The parsed value of the key ``"bnn"``.
        entries: Name -> where the tensor lies.
        size: Bytes of the file.
    """

    document: Any
    entries: Mapping[str, Entry]
    size: int
    content: bytearray
    start: int

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, in the memory into which the file was read."""
        entry = self.entries[name]
        flat = torch.frombuffer(
            self.content,
            dtype=entry.dtype,
            count=math.prod(entry.shape),
            offset=self.start + entry.begin,
        )
        return flat.view(entry.shape)


# --- reading ----------------------------------------------------------------------------------


def read(path: Path, versions: range) -> Container:
    """Return the content of a file.

    Args:
        path: The file.
        versions: Of the document, that can be read.

    Raises:
        PackedFormatError: If anything in it is not as it must be.
    """
    try:
        content = _content(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise PackedFormatError(f"it cannot be read: {why}. Check the path.") from None
    start = _header_end(content)
    header = _header(content, start)
    metadata = header.pop("__metadata__", None)
    if (
        not isinstance(metadata, dict)
        or set(metadata) != {"bnn", "digest"}
        or not all(isinstance(value, str) for value in metadata.values())
    ):
        raise PackedFormatError(
            "is no .bnn file but another safetensors file: its metadata must be the "
            "texts 'bnn' and 'digest'. bnn.save writes such files."
        )
    document = parse(metadata["bnn"], "the graph")
    check_version(document, versions)
    _check_digest(content, start, metadata["digest"])
    return Container(document, _entries(header, len(content) - start), len(content), content, start)


def check_version(document: Any, versions: range) -> None:
    """Raise PackedFormatError if the document is of another format, or too new."""
    known = document if isinstance(document, dict) else {}
    if known.get("format") != "bnn":
        raise PackedFormatError(
            f"its format is {shown(known.get('format'))}; it must be 'bnn'. bnn.save writes such "
            "files."
        )
    version = known.get("version")
    first, last = versions[0], versions[-1]
    reads = f"{first}" if first == last else f"{first}-{last}"
    if type(version) is not int or version < first:
        raise PackedFormatError(f"version is {shown(version)}; this bnn reads {reads}. {_DAMAGED}")
    if version > last:
        raise PackedFormatError(
            f"version {shown(version)} is newer than this bnn (reads {reads}). Upgrade bnn or "
            "export again."
        )


def _content(path: Path) -> bytearray:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise PackedFormatError(f"is no .bnn file: it is a folder. Of a training run, {_PACK_IT}")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise PackedFormatError("is no .bnn file: it is no file. Give one that bnn.save wrote.")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_FILE:
            raise PackedFormatError(f"it has {size:,} bytes; at most {MOST_FILE:,} are allowed.")
        begin = file.read(_LENGTH)
        length = _header_length(begin, size)
        content = bytearray(size)
        content[:_LENGTH] = begin
        got = file.readinto(memoryview(content)[_LENGTH:]) if length else 0
    if got != size - _LENGTH:
        raise PackedFormatError(f"it changed while it was read. {_DAMAGED}")
    return content


def _header_length(begin: bytes, size: int) -> int:
    if len(begin) < _LENGTH:
        raise PackedFormatError(
            f"is no .bnn file: it has {size} bytes, and is empty or cut off. {_DAMAGED}"
        )
    length = int.from_bytes(begin, "little")
    most = min(MOST_HEADER, size - _LENGTH)
    if not 2 <= length <= most or length % 8:
        if begin.startswith(_OTHERS):
            raise PackedFormatError(
                "is no .bnn file, but of torch.save, or an archive. If it is a checkpoint, "
                f"{_PACK_IT}"
            )
        raise PackedFormatError(
            f"is no .bnn file, or is cut off: its first bytes say that the header has {length:,} "
            f"bytes; it must be a multiple of 8 up to {most:,}. {_DAMAGED}"
        )
    return length


def _header_end(content: bytearray) -> int:
    return _LENGTH + int.from_bytes(content[:_LENGTH], "little")


def _header(content: bytearray, start: int) -> dict[str, Any]:
    raw = content[_LENGTH:start]
    if raw[:1] != b"{":
        raise PackedFormatError(f"is no .bnn file: its header does not begin with '{{'. {_DAMAGED}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise PackedFormatError(f"the header is no text in UTF-8. {_DAMAGED}") from error
    header = parse(text, "the header")
    if not isinstance(header, dict):
        raise PackedFormatError(f"the header is no JSON object. {_DAMAGED}")
    return header


def _check_digest(content: bytearray, start: int, digest: str) -> None:
    key = f'"digest":"{digest}"'.encode("utf-8", "replace")
    view = memoryview(content)
    if len(digest) != _HEX or content.count(key, _LENGTH, start) != 1:
        raise PackedFormatError(
            f"its digest is {shown(digest)}; it must be {_HEX} digits, written once as "
            f'"digest":"...". {_DAMAGED}'
        )
    at = content.index(key, _LENGTH, start) + len(key) - _HEX - 1
    if _sha256(view[:at], b"0" * _HEX, view[at + _HEX :]) != digest:
        raise PackedFormatError(
            f"it is damaged: its bytes do not have the digest that it states. {_DAMAGED}"
        )


def _sha256(*parts: bytes | memoryview) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _entries(header: Mapping[str, Any], size: int) -> dict[str, Entry]:
    if len(header) > MOST_TENSORS:
        raise PackedFormatError(f"it has {len(header):,} tensors; at most {MOST_TENSORS:,}.")
    entries = {name: _entry(name, item, size) for name, item in header.items()}
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
        if entry.begin != at:
            raise PackedFormatError(
                f"tensor {shown(name)} begins at byte {entry.begin:,} of the data, where {at:,} "
                f"comes next: tensors must follow each other without a gap. {_DAMAGED}"
            )
        at = entry.end
    if at != size:
        raise PackedFormatError(
            f"its tensors take {at:,} bytes, but {size:,} follow the header. {_DAMAGED}"
        )
    return entries


def _entry(name: str, item: Any, size: int) -> Entry:
    where = f"tensor {shown(name)}"
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise PackedFormatError(f"{where} must have dtype, shape, data_offsets. {_DAMAGED}")
    code, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise PackedFormatError(
            f"{where} has dtype {shown(code)}; allowed: {', '.join(_DTYPES)}. {_DAMAGED}"
        )
    if not _are_ints(shape, 1, MOST_TENSOR) or len(shape) > MOST_AXES:
        raise PackedFormatError(
            f"{where} has shape {shown(shape)}; it must be up to {MOST_AXES} sizes from 1. "
            f"{_DAMAGED}"
        )
    if not _are_ints(offsets, 0, size) or len(offsets) != 2:
        raise PackedFormatError(
            f"{where} has data_offsets {shown(offsets)}; they must be 2 numbers up to {size:,}, "
            f"the bytes of the data. {_DAMAGED}"
        )
    dtype = _DTYPES[code]
    begin, end = offsets
    takes = math.prod(shape) * dtype.itemsize
    if takes > MOST_TENSOR or end - begin != takes or begin % dtype.itemsize:
        raise PackedFormatError(
            f"{where} of shape {shape} takes {takes:,} bytes, at most {MOST_TENSOR:,}, at a "
            f"multiple of {dtype.itemsize}; its data_offsets are {offsets}. {_DAMAGED}"
        )
    return Entry(dtype, tuple(shape), begin, end)


def _are_ints(value: Any, least: int, most: int) -> bool:
    return isinstance(value, list) and all(type(v) is int and least <= v <= most for v in value)


def parse(text: str, what: str) -> Any:
    """Return what JSON says; a name given twice or a number that is none is an error."""
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite
        )
    except PackedFormatError as error:
        raise PackedFormatError(f"{what}: {error} {_DAMAGED}") from None
    except RecursionError:
        raise PackedFormatError(f"{what} is nested too deeply. {_DAMAGED}") from None
    except ValueError as error:
        raise PackedFormatError(f"{what} is no JSON: {error}. {_DAMAGED}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise PackedFormatError(f"{shown(twice)} is given twice.")
    return found


def _constant(text: str) -> Any:
    raise PackedFormatError(f"{text} is no number of JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PackedFormatError(f"the number {shown(text)} is too large.")
    return value


def shown(value: Any) -> str:
    """Return a value from a file as a message may show it: short, and fit to be printed."""
    if isinstance(value, (list, dict)):
        value = value[:8] if isinstance(value, list) else list(value)[:8]
        if any(isinstance(item, (list, dict)) for item in value):
            return "nested"
        return "[" + ", ".join(map(shown, value)) + "]"
    if type(value) is int and abs(value) >= 10**20:
        return "an int of more than 20 digits"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- writing ----------------------------------------------------------------------------------


def encode(document: Any, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a file: words first, so that all tensors lie at multiples of 8."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    header: dict[str, Any] = {"__metadata__": {"bnn": text, "digest": "0" * _HEX}}
    parts = []
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(raw)],
        }
        parts.append(raw)
        at += len(raw)
    head = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    head += b" " * (-len(head) % 8)
    content = b"".join([len(head).to_bytes(_LENGTH, "little"), head, *parts])
    key = b'"digest":"'
    place = content.index(key) + len(key)
    return b"".join([content[:place], _sha256(content).encode(), content[place + _HEX :]])


def write(path: Path, content: bytes) -> None:
    """Write a file at once: who opens the path sees the old file or the new one, never a part."""
    path = Path(os.path.realpath(path))  # a link stays one
    part = path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}")
    try:
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is no file")
        with part.open("xb") as file:  # its permissions are what the umask leaves
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        part.replace(path)
    except OSError as error:
        raise PackedFormatError(
            f"it cannot be written: {error.strerror or error}. Give a path in a folder that can be "
            "written to."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
