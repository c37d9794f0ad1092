"""Networks, optimizers, schedules and losses of the user's own, as part of a run.

An entry that the package did not define goes into the name of a run by a fingerprint of
its source, so a changed definition makes another run.
"""

import dis
import functools
import hashlib
import inspect
import linecache
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from mnistkit.models import MODELS
from mnistkit.train import LOSSES, OPTIMIZERS, SCHEDULES

# Objects that were described already, by id; holding them keeps their ids unique.
Seen = dict[int, Any]

TABLES: dict[str, dict[str, Callable[..., Any]]] = {
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
}
# The entries of the package: their runs have names without code, because the code is
# pinned by tests/test_definitions.py.
OURS = {
    "model": "mlp lenet alexnet alexnet_text vgg11 vgg13 resnet18 wrn16_4 small_resnet "
    "four_conv two_conv",
    "optimizer": "sgd sgdm adagrad adam nadam adamw",
    "schedule": "constant step warmup_cosine one_cycle",
    "loss": "cross_entropy softmax_twice",
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Sources as first read, by id of the code; holding the code keeps its id its own.
# A file that is edited but not imported again must not speak for the old code.
_sources: dict[int, tuple[CodeType, str]] = {}
# What `enter` put into a table, and what had stood there: (kind, name) -> (new, old).
_entered: dict[tuple[str, str], tuple[Callable, Callable | None]] = {}


def is_ours(kind: str, name: str) -> bool:
    """Return whether the entry `name` is still the one that the package defined."""
    entry = TABLES[kind].get(name)
    own_name = getattr(entry, "__name__", "")
    home = getattr(entry, "__module__", None) or ""
    # A wrapper may bear the name of what it wraps: only the object itself counts.
    return (
        name in OURS[kind].split()
        and own_name.lower() == name
        and home.partition(".")[0] in ("mnistkit", "torch")
        and getattr(sys.modules[home], own_name, None) is entry
    )


def foreign(run: Any) -> dict[str, tuple[str, Callable[..., Any]]]:
    """Return the run's entries that are not the package's: kind -> (name, entry).

    A process that trains the run must be told of them, with `enter`.
    """
    chosen = {kind: getattr(run, kind) for kind in TABLES}
    return {
        kind: (name, TABLES[kind][name])
        for kind, name in chosen.items()
        if name in TABLES[kind] and not is_ours(kind, name)
    }


def enter(entries: dict[str, tuple[str, Callable[..., Any]]]) -> None:
    """Put the entries of `foreign` into MODELS, OPTIMIZERS, SCHEDULES and LOSSES.

    A worker process calls it before each run: what an earlier call had put there is
    taken out again.
    """
    for (kind, name), (_, before) in _entered.items():
        if before is None:
            TABLES[kind].pop(name, None)
        else:
            TABLES[kind][name] = before
    _entered.clear()
    for kind, (name, entry) in entries.items():
        before = TABLES[kind].get(name)
        # A notebook's class, sent by value, arrives in a forked process as itself.
        if entry is not before or _home(entry) == "__main__":
            _entered[kind, name] = (entry, before)
            TABLES[kind][name] = entry


def was_entered(kind: str, name: str) -> bool:
    """Return whether the entry came by `enter`, perhaps without its source."""
    new, _ = _entered.get((kind, name), (None, None))
    return new is not None and new is TABLES[kind].get(name)


def fingerprint(entry: Any) -> str:
    """Return 16 hexadecimal digits of the source of a function, class or object.

    The source of what it uses by name is included, as far as the user's own modules
    define it, and the values of constants, defaults and closures. Code of libraries
    counts by its name. ValueError if there is no source.
    """
    lines = list(_describe(entry, {}))
    if isinstance(entry, FunctionType) and _home(entry).startswith("mnistkit."):
        lines.append(_source(entry))  # a network that was added to models.py
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _describe(value: Any, seen: Seen) -> Iterator[str]:
    """Yield lines that change when the meaning of `value` does."""
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        yield repr(value)
    elif isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, np.ndarray | Tensor):
        array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        yield f"{array.dtype} {array.shape} {digest}"
    elif id(value) in seen:
        yield f"again {getattr(value, '__name__', type(value).__name__)}"
    else:
        seen[id(value)] = value
        if isinstance(value, list | tuple | set | frozenset | dict):
            yield from _describe_container(value, seen)
            # Equal containers are described alike, be they one object or two.
            del seen[id(value)]
        elif isinstance(value, FunctionType):
            yield from _describe_function(value, seen)
        elif isinstance(value, type):
            yield from _describe_class(value, seen)
        else:
            yield from _describe_object(value, seen)


def _describe_container(value: Any, seen: Seen) -> Iterator[str]:
    yield f"{type(value).__name__} of {len(value)}"
    if isinstance(value, set | frozenset):
        yield from sorted("\n".join(_describe(part, dict(seen))) for part in value)
        return
    for part in value:
        yield from _describe(part, seen)
        if isinstance(value, dict):
            yield from _describe(value[part], seen)


def _describe_function(function: FunctionType, seen: Seen) -> Iterator[str]:
    if not _is_users(function):
        yield f"{function.__module__}.{function.__qualname__}"
        return
    yield _source(function)
    yield from _describe([function.__defaults__, function.__kwdefaults__], seen)
    for cell in function.__closure__ or ():
        try:
            yield from _describe(cell.cell_contents, seen)
        except ValueError as error:
            if "Cell is empty" not in str(error):
                raise
    for code in _codes(function.__code__):
        for name, value in _used_by_name(code, function.__globals__).items():
            yield f"{name} ="
            yield from _describe_used(value, code.co_names, seen)


def _used_by_name(code: CodeType, known: dict[str, Any]) -> dict[str, Any]:
    """Return the globals and modules that a code object reads, by name."""
    used = {}
    for item in dis.get_instructions(code):
        if item.opname == "IMPORT_NAME":
            used[item.argval] = sys.modules.get(item.argval)
        elif "GLOBAL" in item.opname or item.opname == "LOAD_NAME":
            if item.argval in known:
                used[item.argval] = known[item.argval]
    return used


def _describe_used(value: Any, names: tuple[str, ...], seen: Seen) -> Iterator[str]:
    if not isinstance(value, ModuleType) or not _is_users(value):
        yield from _describe(value, seen)
    elif id(value) not in seen:
        seen[id(value)] = value
        for name in names:  # what the code uses of the module is among its names
            if name in vars(value):
                yield from _describe_used(vars(value)[name], names, seen)
        del seen[id(value)]


def _describe_class(cls: type, seen: Seen) -> Iterator[str]:
    """Yield the parts of a class: in a notebook the class itself has no source."""
    if not _is_users(cls):
        yield f"{cls.__module__}.{cls.__qualname__}"
        return
    yield f"class {cls.__name__}"
    yield from _describe(cls.__bases__, seen)
    for item in getattr(cls, "__dataclass_fields__", {}).values():
        yield item.name
        yield from _describe(item.default_factory, seen)
    for name, part in vars(cls).items():
        is_code = isinstance(part, FunctionType | staticmethod | classmethod)
        # The methods that a dataclass writes have no source: its fields make them.
        written = (
            isinstance(part, FunctionType) and "<" in part.__code__.co_filename[:1]
        )
        hidden = name.startswith("__") and not is_code or "__annotate" in name
        if not hidden and not (written and hasattr(cls, "__dataclass_fields__")):
            yield f"{name} ="
            yield from _describe(part, seen)


def _describe_object(value: Any, seen: Seen) -> Iterator[str]:
    if isinstance(value, functools.partial):
        yield from _describe([value.func, value.args, value.keywords], seen)
    elif isinstance(value, MethodType | staticmethod | classmethod):
        owner = getattr(value, "__self__", None)
        yield from _describe([value.__func__, owner], seen)
    elif isinstance(value, property):
        yield from _describe([value.fget, value.fset], seen)
    elif hasattr(value, "__wrapped__"):  # such as a function under functools.cache
        yield from _describe(value.__wrapped__, seen)
    else:
        yield from _describe(type(value), seen)
        yield _ADDRESS.sub("", repr(value))
        if _is_users(type(value)) or isinstance(value, nn.Module):
            yield from _describe(getattr(value, "__dict__", {}), seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions and classes within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _home(thing: Any) -> str:
    """Return the name of a module, or of the module of a class or function."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    if isinstance(thing, FunctionType):
        # A decorator may lend its wrapper the module of another function.
        return thing.__globals__.get("__name__", "__main__")
    return getattr(thing, "__module__", None) or "__main__"


def _is_users(thing: Any) -> bool:
    """Return whether a module, class or function is the user's, not a library's."""
    home = _home(thing)
    top = home.partition(".")[0]
    if top == "__main__":  # its file may be a library's, as in `python -m pytest`
        return True
    if top == "mnistkit" or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(home), "__file__", None)
    libraries = {"site-packages", "dist-packages"}
    return file is None or not libraries & set(Path(file).parts)


def _source(function: FunctionType) -> str:
    """Return the source without indentation, trailing blanks and empty lines."""
    code = function.__code__
    if id(code) in _sources:
        return _sources[id(code)][1]
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    try:
        if len(lines) < code.co_firstlineno:
            raise OSError("no such line")
        block = inspect.getblock(lines[code.co_firstlineno - 1 :])
    except (OSError, SyntaxError, tokenize.TokenError):
        raise ValueError(
            f"the source of {function.__name__!r} cannot be read: define it in a "
            "notebook or in a file"
        ) from None
    lines = textwrap.dedent("".join(block)).splitlines()
    text = "\n".join(line.rstrip() for line in lines if line.strip())
    _sources[id(code)] = (code, text)
    return text
