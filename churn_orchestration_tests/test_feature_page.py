"""docs/features.md lists the features of the demo as its YAML declares them; `make features` writes
it.
"""

import os

from churn_orchestration.business import DEMO, PACKAGE, Business
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.components.features.feature_table import FeatureTable
from churn_orchestration.components.tree import component_tree

PAGE = PACKAGE.parent / "docs" / "features.md"
OPENING = """\
# The features of the demo

Made from `churn_orchestration/defs/gold/defs.yaml` by `make features`; \
`gold.<table>_catalogue` says the same
of any business, with the day from which each is available. A feature of `as_of` reads rows with
`day <= as_of` and `known_on <= as_of` and no other; a window of w days is \
`as_of - w + 1` to `as_of`.

| feature | source | formula | window | unit | type | null means |
|---|---|---|---|---|---|---|
"""


def test_the_page_of_features_is_that_of_the_declaration(churn_data) -> None:
    assert churn_data
    business = Business(DEMO)
    [table] = component_tree(business).get_all_components(of_type=FeatureTable)
    message = [
        (f"`{f.name}`", f.source, f.formula, f.window or "-", f.unit, f.type, f.null_means)
        for f in catalogue(table.declared(business.settings.timezone))
    ]
    rows = [f"| {' | '.join(cells)} |" for cells in message]
    page = OPENING + "\n".join(rows) + "\n"
    if os.environ.get("WRITE_FEATURES"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
