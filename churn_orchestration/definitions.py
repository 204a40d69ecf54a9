"""Everything Dagster loads: the components of one business, its resources, jobs, schedule and sensor."""

import sys
import warnings
from pathlib import Path
from types import ModuleType

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from churn_orchestration.automation import automation
from churn_orchestration.business import Business, BusinessError
from churn_orchestration.components.source_table import SourceTable
from churn_orchestration.resources import resources
from churn_orchestration.yaml_faults import refuse_faulty_yaml


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the business that CHURN_BUSINESS names."""
    return definitions_of(Business.current())


def definitions_of(business: Business) -> dg.Definitions:
    """The definitions of a business, wherever its folder lies."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", dg.BetaWarning
        )  # about 40 of them a load, most of Dagster's own making
        tree = component_tree(business)
        found, sources = tree.build_defs(), tree.get_all_components(of_type=SourceTable)
        bound = dg.Definitions(resources=resources(business))
        _refuse_unknown_upstreams(found)
        return dg.Definitions.merge(found, automation(business, sources), bound)


def _refuse_unknown_upstreams(found: dg.Definitions) -> None:
    """A table that nothing makes would otherwise be waited for, for ever."""
    assets = [asset for asset in found.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    specs = {spec.key: spec for asset in assets for spec in asset.specs}
    for key, spec in specs.items():
        for upstream in (dep.asset_key for dep in spec.deps):
            if upstream not in specs:
                place = spec.metadata.get("declared_in", ".".join(key.path))
                known = ", ".join(sorted(".".join(k.path) for k in specs if k.path[0] == upstream.path[0]))
                raise BusinessError(
                    f"{place} reads {'.'.join(upstream.path)}, which nothing makes; "
                    f"in {upstream.path[0]} there are: {known or 'no tables'}"
                )


def _refuse_unread_files(folder: Path) -> None:
    """YAML below a folder that has YAML of its own, and SQL beside none, would be passed over in silence."""
    blocks = {path.parent for path in folder.rglob("defs.yaml")}
    for inner in sorted(blocks):
        if outer := next((parent for parent in inner.parents if parent in blocks), None):
            raise BusinessError(
                f"{inner / 'defs.yaml'} would never be read, for {outer / 'defs.yaml'} lies above it: move "
                "its blocks there, after a line ---, or move either file into a folder of its own"
            )
    for path in sorted(folder.rglob("*.sql")):
        if path.parent not in blocks:
            raise BusinessError(
                f"{path} would never be read: its folder has no defs.yaml of the type "
                "churn_orchestration.components.SqlTables"
            )


def component_tree(business: Business) -> ComponentTree:
    """The components under a business's folder; the folder need not be part of a Python package."""
    refuse_faulty_yaml(business.folder)
    _refuse_unread_files(business.folder)
    name = f"churn_business_{business.name}"
    module = ModuleType(name, f"The business folder {business.folder}, as a module for Dagster's loader.")
    module.__path__ = [str(business.folder)]
    module.__file__ = str(Path(business.folder) / "__init__.py")
    sys.modules[name] = module
    return ComponentTree.from_module(defs_module=module, project_root=business.folder)
