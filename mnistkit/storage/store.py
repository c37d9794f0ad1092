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
        self.folder = Path(folder) if folder else places.store_folder()
        self.since = places.fresh_since() if since is None else since

    def path(self, name: str, source: str) -> Path:
        """Return where the document of the run `name`, trained on `source`, lies."""
        return self.folder / source / f"{name}.json"

    def get(
        self, name: str, source: str, with_weights: bool = False
    ) -> dict[str, Any] | None:
        """Return the document of a run, or None if there is none.

        With `with_weights` the document has the tensors of the network, by name, under
        `weights`, and a run without them counts as absent. A document that cannot be
        read is set aside, with a warning that names it.
        """
        path = self.path(name, source)
        if not path.exists():
            return None if self.since else _shipped(name, source, with_weights)
        if path.stat().st_mtime < self.since:
            return None
        weights_path = path.with_suffix(".safetensors")
        if with_weights and not weights_path.exists():
            return None
        try:
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
        if weights is not None:
            from safetensors.torch import save

            write_atomically(path.with_suffix(".safetensors"), save(weights))
        write_atomically(path, json.dumps(content, indent=1).encode())
        return path

    def set_aside(self, name: str, source: str, error: Exception) -> None:
        """Rename a damaged document and warn of it; its run is then trained again."""
        path = self.path(name, source)
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        warnings.warn(f"damaged record set aside as {aside}: {error}", stacklevel=3)

    def pack(self, names: set[str], archive: Path) -> None:
        """Write the documents and weights of the runs with these names to a zip file.

        Files that this folder lacks are taken from the old archive, if there is one.
        The same files always give the same bytes.
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
                    # A bare ZipInfo has a fixed date, so the bytes do not change.
                    undated = zipfile.ZipInfo(name)
                    new.writestr(undated, found[name], zipfile.ZIP_LZMA)
        os.replace(part, archive)

    def check(self) -> None:
        """Raise OSError, in one line, if documents cannot be written to this store."""
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
    """Return the names of the runs in an archive; none if there is no archive."""
    if not archive.exists():
        return set()
    with zipfile.ZipFile(archive) as file:
        return {Path(name).stem for name in file.namelist()}


def _shipped(name: str, source: str, with_weights: bool) -> dict[str, Any] | None:
    """Return the document from the first archive that has it, or None."""
    json_name = f"{source}/{name}.json"
    weights_name = f"{source}/{name}.safetensors"
    for path in sorted(places.records_folder().glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            present = archive.namelist()
            if json_name not in present:
                continue
            if not with_weights:
                return _parse(archive.read(json_name))
            if weights_name in present:
                return _parse(archive.read(json_name), archive.read(weights_name))
    return None


def _parse(text: bytes, weights: bytes | None = None) -> dict[str, Any]:
    document = json.loads(text)
    if weights is not None:
        from safetensors.torch import load

        document["weights"] = load(weights)
    return document


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it exists as a whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
