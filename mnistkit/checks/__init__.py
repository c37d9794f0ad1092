"""A computation per claim of the five reports: id -> function of the evidence."""

from mnistkit.checks import r1, r2, r2_trainings, r3, r3_trainings, r4, r5

PARTS = (r1, r2, r2_trainings, r3, r3_trainings, r4, r5)
CHECKS = {claim: check for part in PARTS for claim, check in part.CHECKS.items()}
