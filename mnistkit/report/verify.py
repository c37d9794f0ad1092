"""The report audits itself: a few of its runs, drawn by lot, are trained anew."""

import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import joblib
import pandas as pd

from mnistkit.data import load_mnist
from mnistkit.report.experiments import read_run_lists
from mnistkit.report.verdicts import DIFFERENT, find_siblings, first_loss, judge
from mnistkit.runs import Record, environment, read_record
from mnistkit.sweeps import choose_device, short, train_run
from mnistkit.wording import percent
from mnistkit.workers.pool import Outcome, train_all
from mnistkit.workers.progress import progress


@dataclass(frozen=True)
class SpotCheck:
    """What is shown of a check: which runs were drawn, and what came of each of them.

    A row has the cells of the table, `verdict` among them; a reason is a sentence.
    """

    drawn: str
    rows: list[dict[str, str]]
    reasons: list[str]

    @property
    def has_failed(self) -> bool:
        """Whether a new result is different from the stored one."""
        return any(row["verdict"] == DIFFERENT for row in self.rows)

    def text(self) -> str:
        """Return the check for a terminal."""
        table = pd.DataFrame(self.rows).to_string(index=False) if self.rows else ""
        return "\n".join([self.drawn, table, *self.reasons])

    def markdown(self) -> str:
        """Return the check as a section of the page."""
        table = [list(row) for row in self.rows[:1]]
        table += [["-----"] * len(row) for row in table]
        table += [list(row.values()) for row in self.rows]
        lines = [f"| {' | '.join(cells)} |" for cells in table]
        reasons = [f"- {reason}" for reason in self.reasons]
        title = "# Runs trained anew"
        return "\n".join([title, "", self.drawn, "", *lines, "", *reasons])


def run_verify(runs: int = 3, seconds: float = 60.0, seed: int | None = None) -> int:
    """Train `runs` stored runs anew that took at most `seconds` each; print verdicts.

    Returns the exit status: 1 if a result is different, else 0. ValueError for wrong
    arguments, and if there is no such run.
    """
    check = spot_check(runs, seconds, seed)
    if not check.rows:
        raise ValueError(check.drawn)
    print(check.text())
    return 1 if check.has_failed else 0


def spot_check(runs: int, seconds: float, seed: int | None = None) -> SpotCheck:
    """Train stored runs of the full scale anew, and compare. Nothing is stored.

    `seed` decides which runs are drawn; by default it is the day (UTC), as 20261127.
    """
    if runs < 1 or not seconds > 0:
        raise ValueError(f"runs and seconds must be above 0, not {runs} and {seconds}")
    if seed is None:
        seed = int(time.strftime("%Y%m%d", time.gmtime()))
    source = load_mnist().source
    lists = read_run_lists("full").drop_duplicates("run").set_index("run")
    found = [read_record(name, source) for name in lists.index]
    records = [record for record in found if record is not None]
    fit = [record for record in records if is_fit(record, seconds)]
    drawn = choose(records, runs, seconds, random.Random(seed))
    took = f"took at most {seconds:g} s when they were stored"
    if not drawn:
        return SpotCheck(f"No run on {source} {took}.", [], [])
    outcomes = train_anew(drawn)
    here = environment(choose_device("auto"))["device"]
    rows, reasons = [], []
    for stored in drawn:
        run = stored.run
        chapter, experiment = lists.loc[run.name, ["chapter", "experiment"]]
        new = outcomes[run.name]
        siblings = find_siblings(stored, records)
        verdict, reason = judge(stored, new, siblings, len(drawn))
        rows.append(
            {"run": run.name, "experiment": f"{experiment} ({chapter[:2]})"}
            | _side_by_side(stored, new)
            | {"verdict": verdict}
        )
        made = "stored on {device} by mnistkit {mnistkit} with torch {torch}"
        what = f"{run.name}, `{short(run)}`, {made.format_map(stored.environment)}"
        reasons.append(f"{what}: {verdict}. {reason}")
    return SpotCheck(
        f"{len(drawn)} of {len(records)} stored runs were trained anew on {here}. They "
        f"were drawn with --seed {seed} from the {len(fit)} that {took}. The first "
        "loss is the mean training loss of the first 100 steps.",
        rows,
        reasons,
    )


def is_fit(record: Record, seconds: float) -> bool:
    """Return whether a run took at most `seconds` and can be trained here.

    A network of the user's own, say, must be defined here as it was then.
    """
    try:
        record.run.check_code()
    except ValueError:
        return False
    return record.summary["seconds"] <= seconds


def choose(
    records: Sequence[Record], n: int, seconds: float, generator: random.Random
) -> list[Record]:
    """Return up to n records that `is_fit` accepts, drawn by `generator`.

    The order of `records` does not matter.
    """
    fit = [record for record in records if is_fit(record, seconds)]
    fit.sort(key=lambda record: record.run.name)
    return generator.sample(fit, min(n, len(fit)))


def train_anew(records: Sequence[Record]) -> dict[str, Outcome]:
    """Return a new record of each run, by its name, or the error that prevented it.

    What was stored plays no part, and nothing is stored.
    """
    seconds = {record.run.name: record.summary["seconds"] for record in records}
    on_cuda = choose_device("auto").type == "cuda"
    jobs = min(len(records), 1 if on_cuda else joblib.cpu_count())
    outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        tasks = [(r.run, False, "auto", Path(folder, r.run.name)) for r in records]
        with (
            progress(len(tasks), len(tasks), seconds, jobs) as advance,
            closing(train_all(train_run, tasks, None, jobs, advance)) as trained,
        ):
            for (run, *_), outcome in trained:
                outcomes[run.name] = outcome
                advance()
    return outcomes


def _side_by_side(stored: Record, new: Outcome) -> dict[str, str]:
    found = new if isinstance(new, Record) else None
    return {
        "first loss": f"{first_loss(stored):.7f}",
        "new first loss": f"{first_loss(found):.7f}" if found else "none",
        "accuracy": percent(stored.summary["test_accuracy"]),
        "new accuracy": percent(found.summary["test_accuracy"]) if found else "none",
    }
