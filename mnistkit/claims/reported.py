"""The numbers that the five reports print, each typed once.

Checks and chapters compare with these. An index or a column says what a number is; the
comment names the claims of the ledger. R3 and R5 print few numbers: theirs stand alone.
"""

import pandas as pd

DIGITS = pd.Index(range(10), name="digit")

# R1-36, R1-44, R1-45: precision, recall and F1 of its Adam network. R1 calls the digits
# 1 to 10; the supports are those of the digits 0 to 9 in this order.
R1_SCORES = pd.DataFrame(
    {
        "precision": [0.97, 0.98, 0.98, 0.98, 0.98, 0.94, 0.99, 0.98, 0.97, 0.98],
        "recall": [0.99, 0.99, 0.97, 0.97, 0.98, 0.98, 0.97, 0.97, 0.97, 0.95],
        "f1": [0.98, 0.98, 0.97, 0.97, 0.98, 0.96, 0.98, 0.97, 0.97, 0.97],
        "support": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    },
    index=DIGITS,
)
R1_LABELS = range(1, 11)  # R1-45
R1_ACCURACY = 0.97  # R1-37, R1-44, and so are both averages of all three scores
# Seconds of training
R1_SECONDS = {"sgd": 1726.1, "sgdm": 1745.8, "adagrad": 1826.2, "adam": 2001.7}
R1_BEST_FIRST = ["adagrad", "sgd", "sgdm", "adam"]  # R1-26 (speed), R1-28 (accuracy)
R1_ADAM_LR = 0.01  # R1-29, and so are the learning rates of the other optimizers
R1_BETA_USED = 0.5  # R1-17, R1-43: of its momentum

# R2-28 to R2-41: the mean loss of each 100 steps of its log; the index counts the steps
# within the epoch, the columns are (learning rate, epoch).
R2_LOSS = pd.DataFrame(
    {
        (0.01, 1): [0.613, 0.119, 0.083, 0.067, 0.064, 0.054, 0.050, 0.050, 0.051],
        (0.01, 2): [0.036, 0.037, 0.026, 0.036, 0.029, 0.035, 0.020, 0.036, 0.041],
        (0.01, 3): [0.017, 0.022, 0.018, 0.021, 0.023, 0.026, 0.026, 0.021, 0.022],
        (0.01, 4): [0.015, 0.016, 0.017, 0.016, 0.016, 0.020, 0.017, 0.020, 0.017],
        (0.01, 5): [0.011, 0.006, 0.009, 0.012, 0.013, 0.009, 0.014, 0.022, 0.015],
        (0.001, 1): [1.830, 0.611, 0.275, 0.176, 0.148, 0.127, 0.106, 0.103, 0.092],
        (0.001, 2): [0.074, 0.074, 0.069, 0.071, 0.063, 0.060, 0.060, 0.060, 0.055],
        (0.001, 3): [0.045, 0.046, 0.045, 0.047, 0.048, 0.045, 0.046, 0.044, 0.044],
        (0.001, 4): [0.040, 0.037, 0.037, 0.035, 0.038, 0.032, 0.036, 0.035, 0.032],
        (0.001, 5): [0.031, 0.025, 0.033, 0.024, 0.030, 0.032, 0.032, 0.031, 0.027],
        (0.0001, 1): [2.270, 2.177, 2.063, 1.928, 1.771, 1.579, 1.387, 1.192, 1.007],
        (0.0001, 2): [0.810, 0.707, 0.614, 0.539, 0.473, 0.432, 0.397, 0.377, 0.344],
        (0.0001, 3): [0.311, 0.286, 0.276, 0.259, 0.249, 0.246, 0.227, 0.227, 0.204],
        (0.0001, 4): [0.200, 0.196, 0.182, 0.189, 0.179, 0.178, 0.167, 0.164, 0.164],
        (0.0001, 5): [0.152, 0.153, 0.155, 0.141, 0.145, 0.141, 0.136, 0.135, 0.139],
    },
    index=pd.RangeIndex(100, 1000, 100, name="step"),
).rename_axis(columns=["lr", "epoch"])

EPOCHS = pd.RangeIndex(1, 6, name="epoch")
# R2's test accuracies in percent, cut off and not rounded: 98 means from 98 to 99.
R2_LOG = pd.DataFrame(  # R2-28 to R2-41: its log, by learning rate
    {
        0.01: [98, 98, 99, 99, 99],
        0.001: [97, 98, 98, 98, 99],
        0.0001: [88, 94, 95, 96, 96],
    },
    index=EPOCHS,
)
R2_TABLE = pd.DataFrame(  # R2-46: its table, by learning rate
    {
        0.01: [98, 99, 99, 99, 99],
        0.001: [97, 98, 98, 99, 99],
        0.0001: [88, 94, 95, 96, 96],
    },
    index=EPOCHS,
)
R2_SIZES = pd.DataFrame(  # R2-49: its table, by batch size; 64 repeats R2_TABLE
    {
        32: [98, 99, 99, 99, 99],
        64: [97, 98, 98, 99, 99],
        128: [96, 97, 98, 99, 98],
    },
    index=EPOCHS,
)

R3_KERNEL = [[-1.0, 0.0, 1.0]] * 3  # R3-05
R3_LR = {"code": 0.0003, "summary": 0.003}  # R3-26 and R3-43
R3_WEIGHT_DECAY = 0.00001  # R3-26
R3_MOMENTUM = 0.00001  # R3-27; it has the value of the weight decay (R3-E10)
R3_STEP = (2, 0.9)  # R3-28: step_size and gamma of StepLR
# R3-38: Adam's test accuracies, read from curves; the best schedule comes first
R3_SCHEDULES = {"step": 0.99, "constant": 0.98, "warmup_cosine": 0.98}
R3_ACCURACY = {"train": 0.999, "val": 0.991, "test": 0.989}  # R3-44, Adam with StepLR

# R4-25 to R4-33 and others: its best runs, at the names of our networks with as many
# parameters
R4_BEST = pd.DataFrame.from_dict(
    {
        "lenet": ("R4-25", 0.005, 0.3, 61_990, 0.9961, 0.9910, 0.9928, 192.88),
        "alexnet": ("R4-26", 0.0005, 0.25, 28_514_378, 0.9967, 0.9905, 0.9917, 457.99),
        "resnet18": ("R4-27", 0.001, 0.5, 11_172_810, 0.9966, 0.9930, 0.9931, 614.06),
        "vgg11": ("R4-28", 0.0005, 0.3, 128_806_154, 0.9950, 0.9893, 0.9908, 872.76),
        "wrn16_4": ("R4-29", 0.0005, 0.3, 2_748_602, 0.9962, 0.9939, 0.9937, 652.82),
    },
    orient="index",
    columns=[
        *["id", "lr", "dropout", "parameters"],
        *["train_accuracy", "val_accuracy", "test_accuracy", "seconds"],
    ],
).rename_axis("network")

# R4-45, R4-47, R4-48: its grid, trained once per pair
R4_RATES, R4_DROPOUTS = [0.001, 0.005, 0.0005], [0.5, 0.25, 0.3, 0.75]
R4_LOWEST_TRAIN_ACCURACY = 0.995  # R4-46
R4_LENET = [6, 16, 120, 84, 10]  # R4-05: maps of the convolutions, then units
R4_POOL_ERROR = "(256x2x2) (256x0x0)"  # R4-08: the sizes that its message names
R4_KERNELS, R4_UNITS, R4_FLATTENED = 96, 4096, 2304  # R4-10, R4-11, R4-22: AlexNet

R5_ACCURACY, R5_LOSS = 0.9910, 0.0261  # R5-23, on the test images
# R5-22: where the last lines of epoch 10 stand
R5_LINES = ["56960 (95%)", "57600 (96%)", "58240 (97%)", "58880 (98%)", "59520 (99%)"]
