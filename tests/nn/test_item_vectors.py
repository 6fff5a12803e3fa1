"""Vectors of items: what they are made of, of new items, and in training with hidden ids."""

import torch

from searec.nn.item_vectors import ItemVectors

TEXT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
CATEGORIES = torch.tensor([[0, 0], [1, 0], [1, 2], [0, 0]])


def described(id_dropout: float = 0.0) -> ItemVectors:
    torch.manual_seed(0)
    vectors = ItemVectors(3, 4, id_dropout)
    vectors.describe(TEXT, CATEGORIES, 2)
    return vectors.eval()


def test_a_vector_is_id_and_text_and_mean_category() -> None:
    vectors = described()
    assert vectors.map is not None and vectors.category is not None
    standard = (TEXT - TEXT.mean(0)) / TEXT.std(0, correction=0)
    names = vectors.category.weight
    expected = vectors.id.weight[2] + vectors.map.weight @ standard[1] + (names[1] + names[2]) / 2
    torch.testing.assert_close(vectors()[2], expected, rtol=1e-2, atol=1e-2)  # texts are kept in half precision
    torch.testing.assert_close(vectors(torch.tensor([3, 2])), vectors()[[3, 2]])


def test_a_new_item_has_the_vector_of_its_description() -> None:
    vectors = described()
    with torch.no_grad():
        vectors.id.weight.zero_()
    torch.testing.assert_close(vectors.of_new(TEXT, CATEGORIES[1:]), vectors()[1:], rtol=1e-2, atol=1e-2)


def test_ids_are_hidden_in_training_alone() -> None:
    vectors = described(id_dropout=0.5)
    without = vectors() - vectors.id.weight
    is_hidden = torch.stack([(vectors.train()() - without)[1:].abs().sum(1) < 1e-6 for _ in range(400)])
    assert 0.4 < is_hidden.float().mean() < 0.6
    assert not ((vectors.eval()() - without)[1:].abs().sum(1) < 1e-6).any()


def test_a_state_brings_the_description_along() -> None:
    vectors, empty = described(), ItemVectors(3, 4, 0.0)
    state = vectors.state_dict()
    empty.shape_as(state)
    empty.load_state_dict(state)
    torch.testing.assert_close(empty.eval()(), vectors())
