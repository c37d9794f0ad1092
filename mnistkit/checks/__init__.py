"""A computation per claim of the five reports: id -> function of the evidence."""

from mnistkit.checks import r1, r2, r2_trainings, r3, r4, r5

CHECKS = (
    r1.CHECKS | r2.CHECKS | r2_trainings.CHECKS | r3.CHECKS | r4.CHECKS | r5.CHECKS
)
