"""Settings of the second phase: learning on lists of the items that a model itself ranks highest."""

from typing import Literal

from searec.config import Count, NonNegative, Positive, Share, settings
from searec.nn.grpo import Reward


@settings
class SecondPhaseConfig:
    """The second phase (`training.second_phase`).

    Attributes:
        second_phase: "cross-entropy" on hard lists, policy optimisation ("grpo") on the same lists, or none.
        second_steps, second_batch, second_lr: batches, requests in each, and learning rate.
        newest: share of each user's training clicks that are learned from, the newest.
        horizon: next clicks that are relevant in a list.
        list_pool: best items of the model that lists are made of.
        list_size: other items of a list.
        refresh: batches until the policy that mines and draws lists is renewed.
        trajectories: lists drawn for each request.
        noise: gamma, deviation of the noise that a trajectory adds to the first states.
        list_temperature: of the softmax that lists are drawn by.
        reward: of a list.
        likelihood_weight: of the cross-entropy beside the reward.
        clip_ratio: how far a ratio may count.
        kl_weight: of the divergence from the model before the phase.
    """

    second_phase: Literal["none", "cross-entropy", "grpo"] = "none"
    second_steps: Count = 300
    second_batch: Count = 64
    second_lr: Positive = 3e-4
    newest: Share = 1.0
    horizon: Count = 3
    list_pool: Count = 100
    list_size: Count = 31
    refresh: Count = 4
    trajectories: Count = 8
    noise: NonNegative = 0.1
    list_temperature: Positive = 0.5
    reward: Reward = "ndcg@5"
    likelihood_weight: NonNegative = 0.1
    clip_ratio: Positive = 0.2
    kl_weight: NonNegative = 0.1
