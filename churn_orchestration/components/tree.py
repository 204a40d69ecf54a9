"""The components of a business, loaded from its folder."""

import sys
from pathlib import Path
from types import ModuleType

import dagster as dg

from churn_orchestration.business import Business
from churn_orchestration.components.faulty_files import refuse_faulty_files
from churn_orchestration.components.question.churn_model import questions_in
from churn_orchestration.components.question.question import QuestionSettings


def component_tree(business: Business) -> dg.ComponentTree:
    """The components under a business's folder; the folder need not be part of a Python package."""
    refuse_faulty_files(business)
    name = f"churn_business_{business.name}"
    module = ModuleType(
        name, f"The business folder {business.folder}, as a module for Dagster's loader."
    )
    module.__path__ = [str(business.folder)]
    module.__file__ = str(Path(business.folder) / "__init__.py")
    sys.modules[name] = module
    return dg.ComponentTree.from_module(defs_module=module, project_root=business.folder)


def questions_of(business: Business) -> dict[str, QuestionSettings]:
    """The churn questions of a business by name."""
    return questions_in(component_tree(business), business)
