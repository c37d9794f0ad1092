"""Words for what code abbreviates: experiments, networks, optimizers, losses."""

# What an experiment of the course trains
EXPERIMENTS = {
    "first_sweep": "the example of a sweep in chapter 00",
    "readers": "the networks that read handwriting in chapter 00",
    "zoo": "the networks of chapter 02, trained alike",
    "filters": "the networks whose filters chapter 02 shows",
    "best_of_grid": "the best setting of R4's grid, repeated",
    "lr_sweep": "each optimizer at many learning rates (chapter 03)",
    "lr_by_batch_size": "a grid of learning rates and batch sizes (chapter 04)",
    "optimizers": "the networks whose errors chapter 06 examines",
    "r4_best": "R4's best settings on all images",
    "grid": "R4's grid of learning rates and dropouts on all images",
    "vgg_rates": "VGG-11 at a smaller learning rate than R4's",
    "depth_rates": "plain and residual networks of three depths, at two rates",
    "depth": "plain and residual networks of 8, 20 and 44 layers",
    "lenet_norm": "LeNet with and without batch norm",
    "shared_lr": "R1's four optimizers at R1's learning rate",
    "adam_betas": "R1's Adam at other learning rates and betas",
    "own_lr": "each optimizer at its own best learning rate",
    "r5": "R5's network and settings",
    "scalings": "R5's network on pixels from 0 to 1",
    "learning_rates": "R2's three learning rates",
    "batch_sizes": "R2's three batch sizes",
    "r2_preprocessing": "R2's network on normalised and on altered images",
    "without_eval": "R2's network, tested without eval()",
    "rotation": "a network on all images with and without rotations",
    "schedules": "R3's network under R3's schedules and optimizers",
    "small_schedules": "a small network under R3's schedules and optimizers",
    "longer": "a small network for twice as many epochs",
    "r3_longer": "R3's network with SGDM for twice as many epochs",
    "all_images": "the small networks on all images",
    "images": "three networks on 100 to 60,000 images",
    "as_printed": "R3's network with softmax twice, tested as R3 did",
    "softmax_twice": "a few epochs with softmax once and twice",
    "once_and_faster": "a few epochs with one softmax and a larger learning rate",
}

NAMES = {
    "sgd": "SGD",
    "sgdm": "SGDM",
    "adagrad": "Adagrad",
    "adam": "Adam",
    "nadam": "NAdam",
    "constant": "constant rate",
    "step": "StepLR",
    "warmup_cosine": "warm-up",
    "cross_entropy": "softmax once",
    "softmax_twice": "softmax twice",
    "lenet": "LeNet",
    "plain_lenet": "LeNet without batch norm",
    "stack": "stacks of convolutions",
    "alexnet": "AlexNet",
    "alexnet_text": "AlexNet as R4 describes it",
    "vgg13": "VGG-13",
    "resnet18": "ResNet-18",
    "vgg11": "VGG-11",
    "wrn16_4": "wide ResNet",
    "small_resnet": "R1's network",
    "four_conv": "R2's network",
    "two_conv": "R3's network",
    "mlp": "MLP",
    "train_loss": "training loss",
    "mean_loss": "training loss, mean of all epochs",
    "first_loss": "training loss of epoch 1",
    "swing": "change of the validation loss between epochs",
    "swings": "swings of the validation loss",
    "unrest": "standard deviation of the test accuracy over epochs",
    "drawn_unrest": "standard deviation of the drawn score over epochs",
    "drawn_accuracy": "drawn score",
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
}


def name_of(value: object) -> str:
    """Return the words for a group or a setting; what has none stays as it is."""
    return NAMES.get(str(value), str(value))


def to_be_trained(experiment: str, lacking: str = "") -> str:
    """Return what is missing where an experiment, or a part of it, was not run."""
    words = EXPERIMENTS.get(experiment, experiment)
    return f"to be trained: {words}" + (f" ({lacking})" if lacking else "")
