"""The store: a folder of records, and the archive of them that the project ships."""

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

from mnistkit.storage import places

SUFFIXES = (".json", ".safetensors")


class Store:
    """A folder of documents, one per record: <data source>/<name of the run>.json.

    The default folder is $MNISTKIT_STORE or reports/records of the project. Documents
    that the project ships, in reports/records/*.zip, are found from every store.
    `since` (seconds since 1970, by default $MNISTKIT_FRESH) makes older documents, and
    all that are shipped, count as absent: then everything is trained again.
    """

    def __init__(self, folder: str | Path | None = None, since: float | None = None):
        self.folder = Path(folder) if folder else places.store_folder()
        self.since = places.fresh_since() if since is None else since

    def path(self, name: str, source: str) -> Path:
        """Where the document of the run called `name`, trained on `source`, lies."""
        return self.folder / source / f"{name}.json"

    def get(
        self, name: str, source: str, with_weights: bool = False
    ) -> dict[str, Any] | None:
        """The document of a run, or None. What is no JSON is set aside and named.

        With `with_weights` the document has the tensors of the network, by name, under
        `weights`, and a run without them counts as absent.
        """
        path = self.path(name, source)
        if not path.exists():
            return None if self.since else _shipped(name, source, with_weights)
        if path.stat().st_mtime < self.since:
            return None
        weights = path.with_suffix(".safetensors")
        if with_weights and not weights.exists():
            return None
        try:
            content = weights.read_bytes() if with_weights else None
            return _parse(path.read_bytes(), content)
        except Exception as error:  # whatever is wrong in it, the run can be repeated
            self.set_aside(name, source, error)
            return None

    def put(self, name: str, source: str, document: dict[str, Any]) -> Path:
        """Write a document atomically, its `weights` (safetensors) before it."""
        path = self.path(name, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {key: value for key, value in document.items() if key != "weights"}
        weights = document.get("weights")
        if weights is not None:
            from safetensors.torch import save

            write_atomically(path.with_suffix(".safetensors"), save(weights))
        write_atomically(path, json.dumps(content, indent=1).encode())
        return path

    def set_aside(self, name: str, source: str, error: Exception):
        """Rename a damaged document, so that its run is trained again; warn of it."""
        path = self.path(name, source)
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        warnings.warn(f"damaged record set aside as {aside}: {error}", stacklevel=3)

    def pack(self, names: set[str], archive: Path):
        """Write the documents (and weights) with these names to a zip file.

        What this folder lacks is taken from the old archive. The same documents give
        the same bytes.
        """
        found = {}
        if archive.exists():
            with zipfile.ZipFile(archive) as old:
                found = {name: old.read(name) for name in old.namelist()}
        for path in self.folder.glob("*/*"):
            if path.suffix in SUFFIXES:
                found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_suffix(".tmp")
        with zipfile.ZipFile(part, "w") as new:
            for name in sorted(found):
                if Path(name).stem in names:
                    undated = zipfile.ZipInfo(name)
                    new.writestr(undated, found[name], zipfile.ZIP_LZMA)
        os.replace(part, archive)

    def check(self):
        """OSError in one line if documents cannot be written here."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / ".probe", b"")
            (self.folder / ".probe").unlink()
        except OSError as error:
            raise OSError(
                f"cannot write records to {self.folder} ({error.strerror}); "
                "set MNISTKIT_STORE to a folder that can be written"
            ) from None


def packed(archive: Path) -> set[str]:
    """Names of the runs whose records an archive holds; none if there is no archive."""
    if not archive.exists():
        return set()
    with zipfile.ZipFile(archive) as file:
        return {Path(name).stem for name in file.namelist()}


def _shipped(name: str, source: str, with_weights: bool) -> dict[str, Any] | None:
    needed = [f"{source}/{name}{suffix}" for suffix in SUFFIXES[: 1 + with_weights]]
    for path in sorted(places.records_folder().glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            if set(needed) <= set(archive.namelist()):
                return _parse(*map(archive.read, needed))
    return None


def _parse(text: bytes, weights: bytes | None = None) -> dict[str, Any]:
    document = json.loads(text)
    if weights is not None:
        from safetensors.torch import load

        document["weights"] = load(weights)
    return document


def write_atomically(path: Path, content: bytes):
    """Write a file so that it is there as a whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
