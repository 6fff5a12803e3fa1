"""Where users lie: both sides of their embeddings, and how well a user's sides agree."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.errors import DependencyError, installation


@dataclass(frozen=True)
class Sides:
    """Embeddings of users on both sides.

    users: [n] internal ids of users with codes on both sides. vectors: [n, 2, D]. agree, differ: mean cosine between
        a user's two sides,
        and between the sides of different users.
    """

    users: Ints
    vectors: NDArray[np.float32]
    agree: float
    differ: float


@torch.no_grad()
def user_embeddings(model: Any, users: Ints) -> NDArray[np.float32]:
    """[n, 2, D] e_u^r and e_u^s of users by internal id.

    Args:
        model: `capabilities.EmbedsUserSides`.
        users: [n] internal ids.
    """
    rows = torch.from_numpy(users.astype(np.int64)).to(model.device)
    embeddings: torch.Tensor = model.user_embeddings(rows)
    return embeddings.float().cpu().numpy()


def sides(model: Any, users: Ints) -> Sides:
    """Embeddings of these users, and how well their sides agree.

    Args:
        model: `capabilities.EmbedsUserSides`.
        users: [n] internal ids.
    """
    vectors = user_embeddings(model, users)
    unit = F.normalize(torch.from_numpy(vectors), dim=-1)
    table = unit[:, 0] @ unit[:, 1].T
    n = len(users)
    agree = float(table.diagonal().mean()) if n else 0.0
    differ = float((table.sum() - table.diagonal().sum()) / (n * (n - 1))) if n > 1 else 0.0
    return Sides(users, vectors, agree, differ)


def tsne(embedded: Sides, *, seed: int = 0) -> NDArray[np.float64]:
    """[n, 2 sides, 2] places of a t-SNE (van der Maaten and Hinton, 2008) of all 2n embeddings together.

    Args:
        embedded: of n users.
        seed: of the initial draw.

    Raises:
        DependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise DependencyError("scikit-learn is not installed", where="t-SNE", remedy=installation("dense")) from error
    n = len(embedded.users)
    flat = embedded.vectors.reshape(2 * n, -1).astype(np.float64)
    places = TSNE(n_components=2, perplexity=min(30.0, (2 * n - 1) / 3), init="pca", random_state=seed).fit_transform(
        flat
    )
    return np.asarray(places, dtype=np.float64).reshape(n, 2, 2)
