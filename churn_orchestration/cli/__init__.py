"""`churn`: a thin door to the jobs and functions of one business. It computes nothing itself.

Imports are in the commands that need them: Dagster takes seconds, and --help must not wait for it.
"""

import os
import warnings
from pathlib import Path

import click

from churn_orchestration.cli import days, looking, training
from churn_orchestration.cli.door import Door


@click.group(
    cls=Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--business",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help=(
        "Folder of the business, such as examples/online_retail. Default: $CHURN_BUSINESS, "
        "else the demo."
    ),
)
@click.version_option(package_name="churn-orchestration")
@click.pass_context
def main(context: click.Context, business: Path | None) -> None:
    """Churn prediction as a lineage graph: land files, build features, train, score, look back.

    \b
    The usual way:
      churn demo                           a simulated company, from files to ranked customers
      churn --business FOLDER run          land what has come and refresh every table
      churn --business FOLDER train        train on what had matured by the newest day
      churn --business FOLDER score        score that day by the model
      churn --business FOLDER export --out customers.csv
      churn --business FOLDER status       what is there, what failed and what to do

    \b

    A business is a folder of YAML and SQL. All it makes lies in $CHURN_DATA/<its name> (default:
    data/).
    """
    from churn_orchestration.business import DEMO

    warnings.filterwarnings("ignore", module="dagster")
    os.umask(0o077)  # what a business holds is its owner's, whichever process of ours writes it
    folder = business or (Path(named) if (named := os.environ.get("CHURN_BUSINESS")) else DEMO)
    os.environ["CHURN_BUSINESS"] = str(folder.resolve())
    context.obj = folder


for commands in (days, training, looking):
    for command in vars(commands).values():
        if isinstance(command, click.Command):
            main.add_command(command)
