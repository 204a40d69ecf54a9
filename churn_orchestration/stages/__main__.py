"""For developers: which stages' code is not in the record, and to record what an edit changed."""

import click

from churn_orchestration.stages import ROOTS, installed

STAGE = click.Choice(list(ROOTS))


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Say of which stages the code is not in the record; without any, the record is complete."""
    if context.invoked_subcommand is None:
        unrecorded = installed().unrecorded()
        for stage in unrecorded:
            click.echo(f"{stage}: its code is not in the record")
        if unrecorded:
            click.echo(
                "If an edit changes nothing that these stages compute:\n"
                '  python -m churn_orchestration.stages same "WHY IT IS THE SAME"\n'
                "else, of each stage whose tables are to be computed again:\n"
                '  python -m churn_orchestration.stages changed STAGE "WHAT IS COMPUTED OTHERWISE"'
            )
        context.exit(bool(unrecorded))


@main.command()
@click.argument("reason")
@click.argument("stages", nargs=-1, type=STAGE)
def same(reason: str, stages: tuple[str, ...]) -> None:
    """Record that unrecorded code computes what the recorded code computes; of all STAGES, or those
    named.
    """
    record = installed()
    for stage in record.unrecorded():
        if stage in (stages or ROOTS):
            record.record_same(stage, reason)
            click.echo(f"{stage}: the same ({reason})")


@main.command()
@click.argument("stage", type=STAGE)
@click.argument("why")
def changed(stage: str, why: str) -> None:
    """Record that the code of a STAGE computes something else now: its tables are stale, and
    WHY.
    """
    record = installed()
    if stage not in record.unrecorded():
        raise click.ClickException(f"{stage}: its code is in the record already")
    record.record_changed(stage, why)
    click.echo(f"{stage}: its tables are computed again ({why})")


if __name__ == "__main__":
    main()
