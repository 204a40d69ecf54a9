"""`churn test`: the tests of the .sql tables of a business, each with how the rows differ."""

from typing import Any

from churn_orchestration.business import Business
from churn_orchestration.components.sql_tables import test_results
from churn_orchestration.components.tree import component_tree


def sql_tests(business: Business) -> tuple[dict[str, Any], str, bool]:
    """The facts, the same in words, and whether all tests pass."""
    results = list(test_results(component_tree(business)))
    failed = sum(fault is not None for *_, fault in results)
    lines = [
        "\n  ".join(
            [f"{'FAILED' if fault else 'passed'}  {table}: {test}", *(fault or "").splitlines()]
        )
        for table, test, fault in results
    ]
    text = "\n".join([*lines, f"{len(results)} tests, {failed} failed"])
    if not results:
        text = (
            f"no .sql table of {business.folder} has tests; declare them beside it, in `tables: "
            "{NAME: {tests: [...]}}`"
        )
    facts = [
        {"table": table, "test": test, "passed": fault is None, "difference": fault}
        for table, test, fault in results
    ]
    return {"tests": facts, "failed": failed}, text, not failed
