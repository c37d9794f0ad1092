"""The store: a folder of records, and the archive of them that the project ships."""

import os
import warnings
import zipfile
from pathlib import Path

from mnistkit.records import Record, Run

RECORDS = Path(__file__).parents[1] / "reports" / "records"
SUFFIXES = (".json", ".safetensors")


class Store:
    """A folder of records, one JSON file each: <data source>/<name of the run>.json.

    The default folder is $MNISTKIT_STORE or reports/records of the project. Records
    that the project ships, in reports/records/*.zip, are found from every store.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder or os.environ.get("MNISTKIT_STORE") or RECORDS)

    def path(self, run: Run, source: str) -> Path:
        return self.folder / source / f"{run.name}.json"

    def get(self, run: Run, source: str, with_weights=False) -> Record | None:
        """The record of `run`, or None. A damaged one is set aside and named."""
        path = self.path(run, source)
        fresh_since = float(os.environ.get("MNISTKIT_FRESH", 0))
        if not path.exists():
            return None if fresh_since else _shipped(run, source, with_weights)
        if path.stat().st_mtime < fresh_since:
            return None
        try:
            weights = path.with_suffix(".safetensors")
            weights = weights.read_bytes() if weights.exists() else None
            record = _unpack(run, path.read_text(), weights)
        except Exception as error:  # whatever is wrong in it, the run can be repeated
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            warnings.warn(f"damaged record set aside as {aside}: {error}", stacklevel=3)
            return None
        return None if with_weights and record.weights is None else record

    def put(self, record: Record) -> Path:
        """Write a record atomically, its weights (safetensors) before it."""
        path = self.path(record.run, record.data["source"])
        path.parent.mkdir(parents=True, exist_ok=True)
        if record.weights is not None:
            from safetensors.torch import save

            write_atomically(path.with_suffix(".safetensors"), save(record.weights))
        write_atomically(path, record.to_json().encode())
        return path

    def pack(self, names: set[str], archive: Path):
        """Write the records (and weights) with these names to a zip file.

        What this folder lacks is taken from the old archive. The same records give the
        same bytes.
        """
        found = {}
        if archive.exists():
            with zipfile.ZipFile(archive) as old:
                found = {name: old.read(name) for name in old.namelist()}
        for path in self.folder.glob("*/*"):
            if path.suffix in SUFFIXES:
                found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
        part = archive.with_suffix(".tmp")
        with zipfile.ZipFile(part, "w") as new:
            for name in sorted(found):
                if Path(name).stem in names:
                    undated = zipfile.ZipInfo(name)
                    new.writestr(undated, found[name], zipfile.ZIP_LZMA)
        os.replace(part, archive)

    def check(self):
        """OSError in one line if records cannot be written here."""
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


def _shipped(run: Run, source: str, with_weights: bool) -> Record | None:
    name = f"{source}/{run.name}"
    for path in sorted(RECORDS.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            needed = [f"{name}{suffix}" for suffix in SUFFIXES[: 1 + with_weights]]
            if set(needed) <= set(archive.namelist()):
                text, *weights = map(archive.read, needed)
                return _unpack(run, text.decode(), *weights)
    return None


def _unpack(run: Run, text: str, weights: bytes | None = None) -> Record:
    record = Record.from_json(text)
    if record.run.name != run.name:
        raise ValueError(f"it holds run {record.run.name}")
    if weights is not None:
        from safetensors.torch import load

        record.weights = load(weights)
    return record


def write_atomically(path: Path, content: bytes):
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
