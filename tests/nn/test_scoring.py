"""Scores of candidates: alone or as part of the catalogue, and without a history."""

import torch

from searec.nn.scoring import CandidateScorer


@torch.no_grad()
def test_candidates_score_as_in_the_whole_catalogue() -> None:
    torch.manual_seed(0)
    scorer = CandidateScorer(8, sides=2, users=1)
    item, users = torch.randn(21, 8), torch.randn(3, 1, 8)
    states = [torch.randn(3, 4, 8), torch.randn(3, 2, 8)]
    here = [torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool(), torch.ones(3, 2).bool()]
    candidates = torch.tensor([[1, 20, 7], [3, 3, 2], [9, 8, 4]])
    whole = scorer(item, None, states, here, users)
    assert whole.shape == (3, 21)
    torch.testing.assert_close(scorer(item, candidates, states, here, users), whole.gather(1, candidates))
    changed = [torch.where(mask[..., None], side, 99.0) for side, mask in zip(states, here, strict=True)]
    torch.testing.assert_close(scorer(item, None, changed, here, users), whole)


@torch.no_grad()
def test_dropout_is_of_both_hidden_layers_in_training() -> None:
    item, users = torch.randn(5, 8), torch.randn(3, 1, 8)
    states, here = [torch.randn(3, 4, 8)], [torch.ones(3, 4).bool()]
    scorer = CandidateScorer(8, sides=1, users=1, dropout=0.99999).train()
    torch.testing.assert_close(scorer(item, None, states, here, users), scorer.rest[-1].bias.expand(3, 5))
    scorer.rest[-2].p = 0.0  # nothing of the first hidden layer reaches the second
    alone = scorer.rest[-1](torch.relu(scorer.rest[2].bias))
    torch.testing.assert_close(scorer(item, None, states, here, users), alone.expand(3, 5))
    assert scorer.eval()(item, None, states, here, users).unique().numel() == 15
