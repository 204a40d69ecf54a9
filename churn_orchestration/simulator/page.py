"""A page on which a person looks at a simulation: whether it could be a living business."""

import html
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import duckdb

from churn_orchestration.churn.sql import connect
from churn_orchestration.pictures.canvas import BLUE, GREEN, INK, ORANGE, RED, STYLE
from churn_orchestration.simulator.lives import CAUSES
from churn_orchestration.simulator.produce import BUSINESSES
from churn_orchestration.simulator.world import World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Db: TypeAlias = duckdb.DuckDBPyConnection
Paint: TypeAlias = "Callable[[Axes], None]"
_CAUSES = dict(zip(CAUSES, (INK, RED, ORANGE), strict=True))
_WORDS = {"retail": ("customers", "orders"), "helpdesk": ("companies", "tickets")}
_TEXTS = {
    "retail": ("reviews/*.csv", "score, text"),
    "helpdesk": ("tickets_en.csv", "sentiment, subject, description"),
}
_LOOK = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 0 }
p { color: #55585e; margin: .3rem 0 }
svg { width: 100%; height: auto } .wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 12px; white-space: nowrap }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #e2e4e8 }
"""


def write_page(world: World, out: Path) -> Path:
    """Write ``out/look.html`` about a finished simulation: pictures of its truth, rows of its
    files.

    The pictures are of what truly happened, before any fault of the files.
    """
    with connect() as db:
        who, when = BUSINESSES[world.business].ENTITY, BUSINESSES[world.business].WHEN
        db.execute(
            f"create view people as select {who} as who, * from '{out}/truth/people.parquet'"
        )
        acts = f"select {who} as who, {when}::date as day, bad from '{out}/truth/events.parquet'"
        db.execute(f"create table acts as {acts}")
        db.execute("create table begun as select who, min(day) as begun from acts group by 1")
        parts = "\n".join([*_pictures(db, world), *_tables(db, world, out / "landing")])
    title = html.escape(f"{out.name}: {world.customers:,} {_WORDS[world.business][0]}")
    page = out / "look.html"
    page.write_text(
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_LOOK}</style>\n<h1>{title}, {world.first_day} to {world.last_day}</h1>\n"
        f"<p>{html.escape(world.about)}</p>\n{parts}\n</html>\n",
        encoding="utf-8",
    )
    return page


def _pictures(db: Db, world: World) -> Iterator[str]:
    who, acts = _WORDS[world.business]
    painted = {
        f"{acts.capitalize()} by week": _activity,
        "Who comes, who leaves, and what weighed most": _comes_and_goes,
        "How long they stay, by segment (Kaplan-Meier)": _survival,
        "Cohorts": _cohorts,
        f"{acts.capitalize()} of each of the {who}": _unevenness,
    }
    for title, paint in painted.items():
        yield _picture(title, partial(paint, db=db, world=world))


def _activity(axes: "Axes", db: Db, world: World) -> None:
    _, acts = _WORDS[world.business]
    weeks, good, bad = _columns(
        db,
        """
        select date_trunc('week', day)::date as week, count(*) filter (not bad),
          count(*) filter (bad)
        from acts group by 1 having max(day) - min(day) = 6 order by 1""",
    )  # whole weeks
    axes.stackplot(
        weeks, good, bad, colors=[BLUE, RED], labels=["went well", "went badly"], alpha=0.85
    )
    axes.set(ylabel=f"{acts} a week", ylim=(0, None))
    axes.legend(frameon=False, loc="upper left")


def _comes_and_goes(axes: "Axes", db: Db, world: World) -> None:
    who, _ = _WORDS[world.business]
    months, new = _columns(
        db, "select date_trunc('month', begun)::date, count(*) from begun group by 1 order by 1"
    )
    axes.plot(months, new, color=GREEN, label="sign up")
    for cause, color in _CAUSES.items():
        left = _columns(
            db,
            f"""select date_trunc('month', left_on)::date, count(*) from people
            where cause = '{cause}' group by 1 order by 1""",
        )
        if left:
            axes.plot(*left, color=color, label=f"leave, {cause}")
    axes.set(ylabel=f"{who} a month", ylim=(0, None))
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def _survival(axes: "Axes", db: Db, world: World) -> None:
    colors = [BLUE, ORANGE, GREEN, RED, INK, "#8a5fc7", "#3aa6a0", "#b06a8f"]
    for name, color in zip(world.segments, colors, strict=False):
        ages, share = _columns(
            db,
            f"""
            with lives as (select begun,
                coalesce(left_on, date '{world.last_day}' + 1) - begun as stayed,
                left_on is not null as has_left from people join begun using (who)
                where segment = '{name}'),
            days as (select stayed as age, count(*) filter (has_left) as leave, count(*) as gone
                from lives group by 1),
            risk as (select age, leave, sum(gone) over (order by age desc) as at_risk from days)
            select age, exp(sum(ln(greatest(1 - leave / at_risk, 1e-9))) over (order by age))
            from risk where at_risk >= 10 order by 1""",
        )
        axes.step([0, *ages], [1, *share], where="post", color=color, label=name)
    axes.set(
        xlabel="days since the sign-up", ylabel="still there (last leaving counts)", ylim=(0, 1.02)
    )
    axes.legend(frameon=False, ncols=2, loc="lower left")


def _cohorts(axes: "Axes", db: Db, world: World) -> None:
    quarters, ages, shares = _columns(
        db,
        f"""
        with cohort as (
          select who, date_trunc('quarter', begun)::date as quarter, begun from begun),
        seen as (select quarter, (day - begun) // 30 as age, count(distinct who) as active
            from acts join cohort using (who) group by all),
        size as (select quarter, count(*) as n, max(begun) as youngest from cohort group by 1)
        select quarter, age, active / n from seen join size using (quarter)
        where age between 1 and 23 and youngest + (30 * (age + 1))::int <= date '{world.last_day}'
        order by 1, 2""",
    )
    rows = sorted(set(quarters))
    cells = [[float("nan")] * 24 for _ in rows]
    for quarter, age, share in zip(quarters, ages, shares, strict=True):
        cells[rows.index(quarter)][int(age)] = share
    drawn = axes.imshow(cells, aspect="auto", cmap="Blues", vmin=0)
    axes.set(xlabel="months since the sign-up", ylabel="quarter of the sign-up", xlim=(0.5, 23.5))
    axes.set_yticks(range(len(rows)), [f"{day:%Y-%m}" for day in rows])
    axes.figure.colorbar(drawn, ax=axes, label="active in the month")


def _unevenness(axes: "Axes", db: Db, world: World) -> None:
    who, acts = _WORDS[world.business]
    [counts] = _columns(db, "select count(*) from acts group by who order by who")
    top = max(counts)
    edges = sorted({round(1.3**n) for n in range(60) if 1.3**n <= top} | {top + 1})
    axes.hist(counts, bins=[edge - 0.5 for edge in edges], color=BLUE, alpha=0.85)
    axes.set(xscale="log", xlabel=f"{acts} in all", ylabel=who)
    axes.xaxis.set_major_formatter("{x:.0f}")


def _tables(db: Db, world: World, landing: Path) -> Iterator[str]:
    files, columns = _TEXTS[world.business]
    read = (
        "read_csv('{}', union_by_name = true, all_varchar = true, null_padding = true, "
        "strict_mode = false)"
    )
    every = read.format(landing / files)
    often = (
        f"select {columns}, count(*) as times from {every} "
        f"where {columns.split(', ')[-1]} is not null"
    )
    yield _table(
        "What they write", db, f"{often} group by all order by times desc, {columns} limit 12"
    )
    for path in sorted(landing.iterdir()):
        # Of a table with a file a day, the fullest.
        files_of = (
            sorted(path.glob("*.csv"), key=lambda file: file.stat().st_size)
            if path.is_dir()
            else [path]
        )
        yield _table(files_of[-1].name, db, f"from {read.format(files_of[-1])} limit 5")


def _columns(db: Db, query: str) -> list[list]:
    """The columns of a query; none where it finds nothing."""
    return [list(column) for column in zip(*db.execute(query).fetchall(), strict=True)]


def _picture(title: str, paint: Paint) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.2), layout="constrained")
        paint(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return f"<h2>{html.escape(title)}</h2>\n{svg[svg.index('<svg') :]}"


def _table(title: str, db: Db, query: str) -> str:
    rows = db.execute(query).df().fillna("").to_html(index=False, border=0)
    return f"<h2>{html.escape(title)}</h2>\n<div class='wide'>{rows}</div>"
