"""A factorisation of who bought what, by alternating least squares of the library ``implicit``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ITERATIONS, SEED, WEIGHT, REGULARIZATION = 15, 1, 10.0, 0.05


def factor_scores(
    own: "pd.DataFrame", entities: "pd.Series", items: "pd.Series", factors: int, most: int
) -> "pd.DataFrame":
    """Of each of some entities, the items with the highest scores.

    Parameters
    ----------
    own : entity, item and in how many baskets, in a total order
    entities : those that are scored, all of them in ``own``
    items : those that may be offered
    most : items of an entity

    Returns
    -------
    entity, item and score

    Ids are placed in the order of ``own`` and translated back here, so no code of an id leaves this
    function. One thread: sums of several differ from run to run.
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
    table = sparse.csr_matrix((weight.astype(np.float32), (who[0], item[0])), shape=shape)
    with threadpool_limits(1):
        model = AlternatingLeastSquares(
            factors=min(factors, *shape), iterations=ITERATIONS, random_state=SEED,
            regularization=REGULARIZATION, num_threads=1, use_gpu=False,
        )  # fmt: skip
        model.fit(table, show_progress=False)
        places = who[1].get_indexer(entities)
        offered = np.flatnonzero(item[1].isin(items))
        result = _best(model, places, offered, most)
    rows, columns, scores = result
    return pd.DataFrame(
        {"entity": who[1][rows], "item": item[1][columns], "score": scores.astype(float)}
    )


def _best(model: Any, places: Any, offered: Any, most: int) -> tuple[Any, Any, Any]:
    """The places of entities and items, and the scores, of the best; in slices, for memory."""
    import numpy as np

    rows, columns, scores = [], [], []
    most = min(most, len(offered))
    for start in range(0, len(places), 1_000):
        of = places[start : start + 1_000]
        product = model.user_factors[of] @ model.item_factors[offered].T
        best = np.argsort(-product, axis=1, kind="stable")[:, :most]
        rows.append(np.repeat(of, most))
        columns.append(offered[best].ravel())
        scores.append(np.take_along_axis(product, best, axis=1).ravel())
    return tuple(np.concatenate(each) for each in (rows, columns, scores))  # type: ignore[return-value]
