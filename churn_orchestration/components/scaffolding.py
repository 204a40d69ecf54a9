"""What `dg scaffold defs` writes: a block that is valid as it is, to be edited from there."""

from typing import Any

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component


def example(*, named: bool = True, **attributes: Any) -> type[dg.Scaffolder]:
    """A scaffolder that writes these attributes; a named component is called as its folder is."""

    class Example(dg.Scaffolder):
        def scaffold(self, request: dg.ScaffoldRequest) -> None:
            name = {"name": request.target_path.name.replace("-", "_")} if named else {}
            scaffold_component(request, name | attributes)

    return Example
