"""What `dg scaffold defs` writes."""

import shutil
from pathlib import Path

import dagster as dg
from dagster.components.component_scaffolding import scaffold_object

from churn_orchestration.business import DEMO, Business
from churn_orchestration.definitions import definitions_of


def test_every_scaffolded_block_is_valid_as_it_stands(tmp_path: Path, churn_data: Path) -> None:
    assert churn_data  # keeps the state of the copied demo out of the checkout
    shutil.copytree(DEMO, tmp_path / "shop")
    for kind, folder in {
        "SourceTable": "parcels",
        "SqlTables": "more-silver",
        "FeatureTable": "more-features",
        "ChurnModel": "churn_again",
        "Segments": "kinds",
        "Axes": "axes",
        "ValueModel": "spend",
        "Campaign": "autumn",
        "Offers": "next_purchases",
        "Recommendations": "platform",
    }.items():
        scaffold_object(
            tmp_path / "shop" / folder,
            f"churn_orchestration.components.{kind}",
            json_params=None,
            scaffold_format="yaml",
            project_root=None,
        )
    loaded = definitions_of(Business(tmp_path / "shop"))
    dg.Definitions.validate_loadable(loaded)
    keys = {key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()}
    assert {
        "raw/parcels",
        "quarantine/parcels",
        "gold/more_features",
        "predictions/churn_again",
        "segments/kinds",
        "segments/axes",
        "values/spend",
        "actions/autumn",
        "monitoring/autumn_effect",
        "offers/next_purchases",
        "offers/next_purchases_pairs",
        "offers/next_purchases_due",
        "monitoring/next_purchases_offers",
    } <= keys
