"""What the tests of the checks share: the outcome of one claim, and planted records."""

from dataclasses import replace

from mnistkit.claims.rules import CHECKS, NOT_RUN, Evidence, NotRun, decide


def outcome(claim, evidence):
    """The outcome of a claim, as if it were the only one of its report."""
    try:
        finding = CHECKS[claim](evidence)
    except NotRun:
        return NOT_RUN
    decide([finding])
    return finding.outcome


def with_records(evidence, **experiments):
    """The evidence with other records of some experiments."""
    return Evidence(evidence.mnist, {**evidence.records, **experiments})


def without(evidence, *experiments):
    """The evidence without the records of some experiments."""
    kept = {k: v for k, v in evidence.records.items() if k not in experiments}
    return Evidence(evidence.mnist, kept)


def with_changed(evidence, experiment, change):
    """The evidence with the records of an experiment, each changed by a function."""
    changed = [change(record) for record in evidence.records[experiment]]
    return with_records(evidence, **{experiment: changed})


def changed(record, scores=None, history=None, **settings):
    """A copy of a record with other scores, another history, other settings."""
    return replace(
        record,
        run=replace(record.run, **settings),
        summary=record.summary | (scores or {}),
        history=record.history if history is None else history,
    )
