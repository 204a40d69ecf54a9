"""docs/features.md lists the features of the demo as its YAML declares them, and of more kinds;
`make features` writes it.
"""

import os
from collections.abc import Iterable

import yaml

from churn_orchestration.business import DEMO, PACKAGE, Business
from churn_orchestration.churn.features.catalogue import catalogue
from churn_orchestration.churn.features.feature import Feature
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

"""
HEAD = """\
| feature | source | formula | window | unit | type | null means |
|---|---|---|---|---|---|---|
"""
MORE = """\
type: churn_orchestration.components.FeatureTable
attributes:
  name: customer_features
  entity: customer_id
  windows: [90]
  trends: []
  sources:
    - name: reviews
      table: bronze.reviews
      noun: review
      measures:
        - {name: score, column: score, unit: stars, decimals: 2, answered: true, change: mean}
    - name: items
      table: silver.items
      noun: item
      categories:
        - {name: product, column: product_id, repeated: true}
"""
"""A table of kinds of features that the demo does not declare."""
KINDS = ("answered", "change", "repeated")


def as_table(features: Iterable[Feature]) -> str:
    """The rows of a catalogue as a table of the page."""
    cells = [
        (f"`{f.name}`", f.source, f.formula, f.window or "-", f.unit, f.type, f.null_means)
        for f in features
    ]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in cells)


def test_the_page_of_features_is_that_of_the_declaration(churn_data) -> None:
    assert churn_data
    business = Business(DEMO)
    [table] = component_tree(business).get_all_components(of_type=FeatureTable)
    page = OPENING + as_table(catalogue(table.declared(business.settings.timezone)))
    more = FeatureTable.model_validate(yaml.safe_load(MORE)["attributes"])
    kinds = [f for f in catalogue(more.declared()) if any(kind in f.name for kind in KINDS)]
    page += "\n## More kinds\n\nThe demo declares none of these. They come, among others, from\n\n"
    page += f"```yaml\n{MORE}```\n\n{as_table(kinds)}"
    if os.environ.get("WRITE_FEATURES"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
