"""Similar items: neighbours by vectors and by the model itself, without the item and what is left out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.errors import SettingsError
from searec.models.base import ItemEmbeddings, Model
from searec.pipeline.similar_items import can_find_similar, similar_items


class Plain(Model):
    """A model with neither vectors nor neighbours."""

    name, tasks, learns = "plain", ("recommend",), "loss"

    @property
    def needs(self) -> Needs:
        return Needs()

    def score(self, batch: Batch) -> Tensor:
        raise NotImplementedError


class Vectors(ItemEmbeddings, Plain):
    """Items on a circle, in the order of their ids."""

    def __init__(self, data: Dataset) -> None:
        super().__init__(None, data.sizes)
        angle = torch.arange(data.sizes.items + 1) * 0.01
        self.item = nn.Embedding.from_pretrained(torch.stack((angle.cos(), angle.sin()), dim=1))


class Neighbours(Plain):
    """The neighbours of item n are n itself, n + 1, n + 2, ..."""

    def similar_items(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        steps = torch.arange(k)
        return items[:, None] + steps, 1.0 / (1 + steps.float()).expand(len(items), k)


def test_by_vectors_the_nearest_come_first(small_world: Dataset) -> None:
    ids, scores = similar_items(Vectors(small_world), np.array([5, 1]), 3, exclude={6})
    assert ids[0, 0] == 4 and set(ids[0, 1:].tolist()) == {3, 7}
    assert ids[1].tolist() == [2, 3, 4]  # never the padding row, though it is as near as item 2
    assert scores[1] == pytest.approx(np.cos([0.01, 0.02, 0.03]), abs=1e-6)
    assert (np.diff(scores, axis=1) <= 1e-7).all()


def test_by_neighbours_of_the_model(small_world: Dataset) -> None:
    model = Neighbours(None, small_world.sizes)
    ids, scores = similar_items(model, np.array([5]), 3, exclude=[7, 8])
    assert ids.tolist() == [[6, 9, 10]]
    assert scores[0] == pytest.approx([1 / 2, 1 / 5, 1 / 6])


def test_more_than_there_are_leaves_no_item(small_world: Dataset) -> None:
    items = small_world.sizes.items
    ids, scores = similar_items(Vectors(small_world), np.array([1]), items + 5)
    assert sorted(ids[0][ids[0] > 0].tolist()) == list(range(2, items + 1))
    assert np.isneginf(scores[ids == 0]).all()


def test_a_model_that_cannot_is_refused(small_world: Dataset) -> None:
    model = Plain(None, small_world.sizes)
    assert not can_find_similar(model) and can_find_similar(Vectors(small_world))
    with pytest.raises(SettingsError, match="plain cannot find similar items"):
        similar_items(model, np.array([1]), 3)
    with pytest.raises(SettingsError, match="k is too small"):
        similar_items(Vectors(small_world), np.array([1]), 0)


def test_a_run_shows_similar_items_until_they_are_removed(small_world: Dataset, tmp_path: Any) -> None:
    from searec.experiments.run_training import train

    run = train("itemknn", small_world, tmp_path / "run")
    item = small_world.items.to_external(np.array([1]))[0]
    table = run.similar([item], k=3)
    assert table.columns == ["similar_to", "rank", "item_id", "score"]
    assert table["similar_to"].unique().to_list() == [item] and item not in table["item_id"].to_list()
    assert table["rank"].to_list() == [1, 2, 3] and table["score"].is_sorted(descending=True)
    first = table["item_id"][0]
    run.remove_items([first])
    left = run.similar([item], k=2)
    assert first not in left["item_id"].to_list() and left["score"].to_list() == table["score"].to_list()[1:]
