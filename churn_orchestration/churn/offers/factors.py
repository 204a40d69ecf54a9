"""A factorisation of who bought what, by alternating least squares of the library ``implicit``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ITERATIONS, SEED, WEIGHT, REGULARIZATION = 15, 1, 10.0, 0.05
PER_PASS = 4_000_000
"""Scores that are in memory at once."""


@dataclass(frozen=True)
class Factors:
    """Of entities and of items, a row of factors each; no code of an id leaves this class."""

    entities: "pd.Index"
    items: "pd.Index"
    of_entities: Any
    of_items: Any

    def scores(self, entities: "pd.Series", items: "pd.Series", most: int) -> "pd.DataFrame":
        """Of each of some entities, the items with the highest scores: entity, item and score.

        Parameters
        ----------
        entities : those that are scored, all of them factorised
        items : those that may be offered
        most : items of an entity
        """
        import numpy as np
        import pandas as pd
        from threadpoolctl import threadpool_limits

        places = self.entities.get_indexer(entities)
        offered = np.flatnonzero(self.items.isin(items))
        with threadpool_limits(1):
            rows, columns, scores = self._best(places, offered, min(most, len(offered)))
        return pd.DataFrame(
            {"entity": self.entities[rows], "item": self.items[columns], "score": scores}
        )

    def _best(self, places: Any, offered: Any, most: int) -> tuple[Any, Any, Any]:
        """The places of entities and items, and the scores, of the best; in slices, for memory."""
        import numpy as np

        columns, scores = np.empty((len(places), most), int), np.empty((len(places), most))
        step = max(1, PER_PASS // max(1, len(offered)))
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            product = self.of_entities[places[part]] @ self.of_items[offered].T
            best = np.argsort(-product, axis=1, kind="stable")[:, :most]
            columns[part] = offered[best]
            scores[part] = np.take_along_axis(product, best, axis=1)
        return np.repeat(places, most), columns.ravel(), scores.ravel()


def factorise(own: "pd.DataFrame", factors: int) -> Factors:
    """Factorise who bought what.

    Parameters
    ----------
    own : entity, item and in how many baskets, in a total order; ids are placed in it

    One thread: sums of several differ from run to run.
    Source: Hu, Koren, Volinsky 2008.
    """
    import numpy as np
    import pandas as pd
    from implicit.als import AlternatingLeastSquares
    from scipy import sparse
    from threadpoolctl import threadpool_limits

    who, item = pd.factorize(own["entity"]), pd.factorize(own["item"])
    weight = 1 + WEIGHT * np.log1p(own["baskets"].to_numpy())
    shape = (len(who[1]), len(item[1]))
    if own.empty:
        return Factors(who[1], item[1], np.empty((0, 1)), np.empty((0, 1)))
    table = sparse.csr_matrix((weight.astype(np.float32), (who[0], item[0])), shape=shape)
    with threadpool_limits(1):
        model = AlternatingLeastSquares(
            factors=min(factors, *shape), iterations=ITERATIONS, random_state=SEED,
            regularization=REGULARIZATION, num_threads=1, use_gpu=False,
        )  # fmt: skip
        model.fit(table, show_progress=False)
    return Factors(who[1], item[1], model.user_factors, model.item_factors)
