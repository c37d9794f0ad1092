"""The store: a folder of records, and the archive of them that the project ships."""

import errno
import hashlib
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from mnistkit.storage import places

SUFFIXES = (".json", ".safetensors")
LARGEST = 64_000_000  # bytes of a document, and of a file in an archive
LARGEST_RATIO = 1000  # a file in an archive is not packed more tightly than this
_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Store:
    """A folder of documents, one per record: <data source>/<name of the run>.json.

    The weights of a network lie beside its document, as <name of the run>.safetensors.
    The default folder is $MNISTKIT_STORE or reports/records of the project. Documents
    that the project ships, in reports/records/*.zip, are found from every store.
    `since` is a time in seconds since 1970, by default $MNISTKIT_FRESH: if it is set,
    older documents and all that are shipped count as absent, so that their runs are
    trained again.
    """

    def __init__(
        self, folder: str | Path | None = None, since: float | None = None
    ) -> None:
        given = places.expand(folder, "the store") if folder else None
        self.folder = given or places.store_folder()
        self.since = places.fresh_since() if since is None else since

    def path(self, name: str, source: str) -> Path:
        """Return where the document of the run `name`, trained on `source`, lies."""
        return self.folder / source / f"{name}.json"

    def checkpoint_path(self, name: str, source: str) -> Path:
        """Return where a training that goes on keeps what it needs to be resumed."""
        return self.folder / source / f"{name}.partial"

    def get(
        self, name: str, source: str, with_weights: bool = False
    ) -> dict[str, Any] | None:
        """Return the document of a run, or None if there is none.

        With `with_weights` the document has the tensors of the network, by name, under
        `weights`, and a run without them counts as absent. A document that cannot be
        read is set aside, with a warning that names it.
        """
        path = self.path(name, source)
        if not os.path.exists(path):
            return None if self.since else _shipped(name, source, with_weights)
        if path.stat().st_mtime < self.since:
            return None
        weights_path = path.with_suffix(".safetensors")
        if with_weights and not weights_path.exists():
            return None
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"it is larger than {LARGEST:,} bytes")
            weights = weights_path.read_bytes() if with_weights else None
            return _parse(path.read_bytes(), weights)
        except Exception as error:
            # Whatever is wrong in the files, the run can be trained again.
            self.set_aside(name, source, error)
            return None

    def put(self, name: str, source: str, document: dict[str, Any]) -> Path:
        """Write a document and return its path.

        Its `weights`, if it has any, are written first, so that a document whose run
        kept its weights is never without them. Both files are written atomically.
        """
        path = self.path(name, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {key: value for key, value in document.items() if key != "weights"}
        weights = document.get("weights")
        weights_path = path.with_suffix(".safetensors")
        _clear_folder(weights_path)
        _clear_folder(path)
        if weights is not None:
            from safetensors.torch import save

            packed_weights = save(weights)
            content["weights_sha256"] = hashlib.sha256(packed_weights).hexdigest()
            write_atomically(weights_path, packed_weights)
        write_atomically(path, json.dumps(content, indent=1).encode())
        if weights is None:
            # Weights that lie there belong to an earlier training.
            weights_path.unlink(missing_ok=True)
        return path

    def set_aside(self, name: str, source: str, error: Exception) -> None:
        """Rename a damaged document and warn of it; its run is then trained again.

        A document that only an archive holds stays there and is warned of once.
        """
        path = self.path(name, source)
        if not os.path.lexists(path):
            _warn_once(f"damaged record {source}/{name} in an archive: {error}")
            return
        try:
            aside = _rename_aside(path, path.with_suffix(".damaged"))
        except OSError as obstacle:
            _warn_once(f"damaged record {path}: {error}; it stays there ({obstacle})")
            return
        warnings.warn(f"damaged record set aside as {aside}: {error}", stacklevel=3)

    def pack(self, names: set[str], archive: Path, source: str = "mnist") -> None:
        """Write the documents and weights of the runs with these names to a zip file.

        Only records of trainings on `source` are packed. Files that this folder lacks
        are taken from the old archive, if there is one. The same files always give the
        same bytes.
        """
        found = {}
        for name in _contents(archive):
            content = _read_member(archive, name)
            if content is not None and name.startswith(f"{source}/"):
                found[name] = content
        for path in (self.folder / source).glob("*"):
            if path.suffix in SUFFIXES and path.stem in names and path.is_file():
                found[f"{source}/{path.name}"] = path.read_bytes()
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_suffix(f".{os.getpid()}.tmp")
        with _plain_errors(archive, part):
            with zipfile.ZipFile(part, "w") as new:
                for name in sorted(found):
                    if Path(name).stem in names:
                        # A bare ZipInfo has a fixed date, so the bytes do not change.
                        undated = zipfile.ZipInfo(name)
                        new.writestr(undated, found[name], zipfile.ZIP_LZMA)
            if os.path.lexists(archive) and not zipfile.is_zipfile(archive):
                # It was warned of and may be worth a look.
                _rename_aside(archive, archive.with_suffix(".damaged"))
            os.replace(part, archive)

    def check(self, source: str) -> None:
        """Raise OSError, in one line, if no documents of `source` can be written.

        What processes that have died left behind half written is removed.
        """
        folder = self.folder / source
        probe = folder / f".probe-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for pattern in ("*.tmp", "*/*.tmp"):
                for path in self.folder.glob(pattern):
                    if _is_left_over(path):
                        path.unlink(missing_ok=True)
            # Some kilobytes, because a full disk still takes an empty file.
            write_atomically(probe, bytes(65_536))
            probe.unlink()
        except OSError as error:
            raise OSError(
                f"cannot write records to {folder} ({error.strerror}); "
                "set MNISTKIT_STORE to a folder that can be written"
            ) from None


def packed(archive: Path) -> set[str]:
    """Return the names of the runs in an archive; none if there is no archive."""
    return {Path(name).stem for name in _contents(archive)}


def _shipped(name: str, source: str, with_weights: bool) -> dict[str, Any] | None:
    """Return the document from the first archive that has it whole, or None."""
    json_name = f"{source}/{name}.json"
    weights_name = f"{source}/{name}.safetensors"
    wanted = {json_name, weights_name} if with_weights else {json_name}
    for path in sorted(places.records_folder().glob("*.zip")):
        if not wanted <= _contents(path):
            continue
        content = {member: _read_member(path, member) for member in wanted}
        text, weights = content[json_name], content.get(weights_name)
        if text is None or (with_weights and weights is None):
            continue
        try:
            return _parse(text, weights)
        except Exception as error:
            _warn_once(f"damaged record {json_name} in {path}: {error}")
    return None


def _contents(archive: Path) -> frozenset[str]:
    """Return the names of the files in an archive. None if it is absent or damaged."""
    try:
        status = archive.stat()
    except OSError:
        return frozenset()
    return _read_contents(archive, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read_contents(archive: Path, changed: int, size: int) -> frozenset[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            return frozenset(file.namelist())
    except Exception as error:
        # Whatever is wrong in it, runs can be trained without the archive.
        _warn_once(f"archive {archive} is ignored: {error}; restore it with git")
        return frozenset()


def _read_member(archive: Path, name: str) -> bytes | None:
    """Return a file of an archive, or None, with a warning, if it cannot be read."""
    try:
        with zipfile.ZipFile(archive) as file:
            item = file.getinfo(name)
            most = min(LARGEST, LARGEST_RATIO * item.compress_size + 1)
            if item.file_size > most or item.compress_size > LARGEST:
                raise ValueError(f"it unpacks to {item.file_size:,} bytes")
            with file.open(item) as member:
                # Small pieces bound what a size that lies can unpack at once.
                return b"".join(iter(lambda: member.read(4096), b""))
    except Exception as error:
        _warn_once(f"damaged record {name} in {archive}: {error}")
        return None


@lru_cache(maxsize=1000)
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _parse(text: bytes, weights: bytes | None = None) -> dict[str, Any]:
    document = json.loads(text)
    # Records of the first edition have no sum.
    stored_sum = document.pop("weights_sha256", None)
    if weights is not None:
        from safetensors.torch import load

        if stored_sum not in (None, hashlib.sha256(weights).hexdigest()):
            raise ValueError("its weights are those of another training")
        document["weights"] = load(weights)
    return document


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it exists as a whole or not at all.

    OSError, naming the file, if it cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with _plain_errors(path, temporary):
        temporary.write_bytes(content)
        os.replace(temporary, path)


@contextmanager
def _plain_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Name `path` in an OSError, and remove `temporary` on any failure."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        full = error.errno in _NO_SPACE
        reason = "no space left on the disk" if full else error.strerror or str(error)
        raise OSError(error.errno, f"cannot be written: {reason}", str(path)) from None


def _rename_aside(path: Path, aside: Path) -> Path:
    """Rename `path` to `aside`, or to a numbered name if a folder has that name."""
    number, free = 1, aside
    while free.is_dir() and not free.is_symlink():
        number += 1
        free = aside.with_name(f"{aside.name}-{number}")
    if path.is_dir() and free.exists():
        free.unlink()  # a folder replaces no file
    return path.replace(free)


def _clear_folder(path: Path) -> None:
    """Rename a folder that has the name of a file to be written."""
    if path.is_dir() and not path.is_symlink():
        _rename_aside(path, path.with_name(f"{path.name}.damaged"))


def _is_left_over(path: Path) -> bool:
    """Return whether the process that was writing a temporary file is gone."""
    found = re.search(r"\.(\d+)\.tmp$", path.name)
    if found is None or os.name != "posix" or not path.is_file():
        return False
    try:
        os.kill(int(found[1]), 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False
