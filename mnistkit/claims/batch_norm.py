"""What R2 and R3 both claim of batch norm, tried in a small network."""

import torch
from torch import nn

from mnistkit.claims.rules import Evidence, Finding, holds
from mnistkit.data import Batches
from mnistkit.models import conv, head
from mnistkit.train import fit, sgdm

IMAGES = 960  # 30 steps of 32 images
SEEDS = range(5)


def loss_of_30_steps(evidence: Evidence, batch_norm: bool, seed: int) -> float:
    """The mean training loss of two small convolutions, with or without batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = nn.Sequential(
            *conv(1, 8, norm=batch_norm, pool=True),  # [B, 8, 13, 13]
            *conv(8, 8, norm=batch_norm, pool=True),  # [B, 8, 5, 5]
            *head(200, 10),
        )
    images = evidence.mnist.train_images[:IMAGES]
    labels = evidence.mnist.train_labels[:IMAGES]
    batches = Batches(images, labels, batch_size=32, seed=seed)
    history = list(fit(network, batches, sgdm(network.parameters(), 0.01), epochs=1))
    return history[0]["train_loss"]


def batch_norm_is_faster(evidence: Evidence) -> Finding:
    """Batch norm speeds up training: over 30 steps its loss is lower with every seed.

    The two networks of a pair share the seed of their weights and their batches.
    """
    faster = 0
    for seed in SEEDS:
        with_norm = loss_of_30_steps(evidence, batch_norm=True, seed=seed)
        without = loss_of_30_steps(evidence, batch_norm=False, seed=seed)
        faster += with_norm < without
    return holds(
        faster == len(SEEDS),
        f"lower loss over 30 steps in {faster} of {len(SEEDS)} pairs",
        "speed only, in a small network",
    )
