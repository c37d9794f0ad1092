"""Checks of R3's trainings: schedules, and Adam against NAdam and SGDM."""

import numpy as np

from mnistkit.claims.rules import Finding, numbers, ranking
from mnistkit.tables import describe, epoch_table, run_table


def runs(records):
    """A row per run of R3's comparison: its line, scores, and how its curves move."""
    table, curves = run_table(records), [epoch_table([r]) for r in records]
    table["line"] = table["optimizer"] + " " + table["schedule"]
    printed = [r.run.optimizer_options.get("momentum") == 1e-5 for r in records]
    table.loc[printed, "line"] = "printed"
    table["drawn"] = [record.p_true.mean(dtype=float) for record in records]
    tests = [c["test_accuracy"] for c in curves]
    table["gain"] = [test.iloc[-1] - test.iloc[0] for test in tests]
    table["unrest"] = [test[len(test) // 2 :].std() for test in tests]
    table["swings"] = [c["val_loss"][:10].diff().clip(lower=0).mean() for c in curves]
    return table


def all_of(e, parts, reason=""):
    """A claim of several (name, finding): one can refute it, all must support it."""
    for _, finding in parts:
        if finding.verdict:  # it cannot be checked
            return finding
    text = "; ".join(f"{name} {finding.regenerated}" for name, finding in parts)
    against = min(1.0, len(parts) * min(finding.against for _, finding in parts))
    support = np.nanmax([finding.support for _, finding in parts])
    reason += describe(e.runs("schedules"))
    return Finding("", text, reason, [], against, support)


def r3_38(e):
    """Adam with StepLR scores more than with other schedules, and wavers less."""
    table, step, parts = runs(e.runs("schedules")), "adam step", []
    for other in ("adam constant", "adam warmup_cosine"):
        parts.append(("test", ranking(table, "line", "test_accuracy", [step, other])))
        parts.append(("unrest", ranking(table, "line", "unrest", [other, step])))
    return all_of(e, parts)


def r3_40(e):
    """NAdam has larger swings and a better validation than Adam, the same test."""
    table, order = runs(e.runs("schedules")), ["nadam step", "adam step"]
    nadam, adam = (table[table["line"] == line].set_index("seed") for line in order)
    gaps = (nadam["test_accuracy"] - adam["test_accuracy"]).dropna()
    swings = ranking(table, "line", "swings", order)
    val, same = ranking(table, "line", "val_accuracy", order), numbers(0, gaps, 0.01)
    return all_of(e, [("swings", swings), ("val", val), ("test difference", same)])


def r3_42(e):
    """Adam scores more than SGDM, whose test accuracy stays where it started."""
    table, order = runs(e.runs("schedules")), ["adam step", "sgdm step"]
    sgdm, printed = (table[table["line"] == line] for line in ("sgdm step", "printed"))
    test = ranking(table, "line", "test_accuracy", order)
    gain = numbers(0, sgdm["gain"], 0.01)
    argmax, drawn = printed[["test_accuracy", "drawn"]].mean()
    reason = f"SGD as printed: {argmax:.3f} by argmax, {drawn:.3f} drawn (R3-E12); "
    return all_of(e, [("test", test), ("gain", gain)], reason)


def r3_44(e):
    """The scores of Adam with StepLR."""
    table, parts = runs(e.full("schedules")), ["train", "val", "test"]
    scores = table[table["line"] == "adam step"][[f"{part}_accuracy" for part in parts]]
    return numbers([0.999, 0.991, 0.989], scores, 0.001, parts)


CHECKS = {"R3-38": r3_38, "R3-40": r3_40, "R3-42": r3_42, "R3-44": r3_44}
