"""A shop made of the lives of its customers: its tables as SQL, and the files in which they land.

Whatever is drawn here is drawn from a hash of what it belongs to, so it is the same in any order and by any
number of threads. None of it moves a customer: amounts, cities, stars and words follow from the customer, the
order and whether it went badly, and tell a forecast no more than those do.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from churn_orchestration.simulator.world import ScenarioError, World

MALFORMED = {
    "unparsable_date": ("ordered_at", "2024-13-45 00:00:00"),
    "empty_customer_id": ("customer_id", ""),
    "text_amount": ("amount_usd", "abc"),
    "surplus_field": ("channel", "web,surplus"),
    "nan_amount": ("amount_usd", "NaN"),
}
"""Kind of malformed row: the column that is spoilt, and the text put there."""
ENTITY, ID, WHEN = "customer_id", "C%06d", "ordered_at"
TABLES = ("customers", "orders", "deliveries", "reviews", "returns")
"""Of every shop; of one with campaigns, ``outreach`` too."""

_OUTREACH = """
select printf('A%07d', row_number() over (order by t.day, campaign, number)) as outreach_id, customer_id,
  date '{first}' + t.day::int as day, date '{first}' + t.day::int as contacted_on, action,
  case when treated then 'treated' else 'control' end as arm, true_effect
from touched as t join campaigns using (campaign)
join (select number, customer_id from customers) using (number)
"""

_CUSTOMERS = """
select printf('{id}', number + 1) as customer_id, number, date '{first}' + signed_up as day,
  day as signed_up_on, lower(customer_id) || '@example.com' as email, segment,
  one_of(['Berlin', 'Hamburg', 'Lyon', 'Madrid', 'Milan', 'Paris', 'Porto', 'Vienna'],
    pow(uniform({seed}, number, 'city'), 1.7)) as city,
  one_of(['search', 'social', 'referral', 'direct'], uniform({seed}, number, 'channel')) as channel
from people
"""

_ORDERS = """
select printf('O%08d', row_number() over (order by e.day, e.second, e.number)) as order_id,
  c.customer_id, date '{first}' + e.day as day, e.bad,
  date '{first}' + e.day + to_seconds(e.second) as ordered_at,
  case when {new_channel} and uniform({seed}, hash(e.number, e.day, e.second), 'new way') < 0.3
    then 'marketplace'
    else one_of(['web', 'web', 'web', 'app', 'app', 'store'],
      uniform({seed}, hash(e.number, e.day, e.second), 'way')) end as channel,
  greatest(0.01, round(35 * w.amount * exp(0.6 * normal({seed}, e.number, 'spend')
    + 0.4 * normal({seed}, hash(e.number, e.day, e.second), 'amount')), 2))::decimal(12, 2) as amount_usd
from happened as e join customers as c using (number) join course as w on w.day = e.day
"""

_DELIVERIES = """
select order_id, customer_id, day + 3 as promised_on,
  case when bad then promised_on + 2 + (hash({seed}, order_id, 'late') % 7)::int
    else promised_on - (hash({seed}, order_id, 'early') % 3)::int end as delivered_on, delivered_on as day
from orders
"""

_REVIEWS = """
select 'R' || substr(order_id, 2) as review_id, order_id, customer_id,
  d.day + 1 as day, d.day + 1 as reviewed_on,
  case when o.bad then 1 + (hash({seed}, order_id, 'stars') % 2)::int
    else 4 + (hash({seed}, order_id, 'stars') % 2)::int end as score,
  case when o.bad then one_of(['Came days after the promised date.', 'Late again, and nobody answered.',
      'The parcel was late, I had to buy elsewhere.'], uniform({seed}, hash(order_id), 'words'))
    else one_of(['All as promised.', 'Quick and well packed.', 'Happy with it, would order again.'],
      uniform({seed}, hash(order_id), 'words')) end as text
from orders as o join deliveries as d using (order_id, customer_id)
where uniform({seed}, hash(order_id), 'writes') < (case when o.bad then 0.35 else 0.12 end)
"""

_RETURNS = """
select order_id, customer_id, d.day + 2 + (hash({seed}, order_id, 'back') % 10)::int as returned_on,
  d.day + 2 + (hash({seed}, order_id, 'back') % 10)::int as day, o.amount_usd as refund_usd
from orders as o join deliveries as d using (order_id, customer_id)
where uniform({seed}, hash(order_id), 'returns') < (case when o.bad then 0.15 else 0.05 end)
"""

_SELECTS = {
    "customers": _CUSTOMERS,
    "orders": _ORDERS,
    "deliveries": _DELIVERIES,
    "reviews": _REVIEWS,
    "returns": _RETURNS,
    "outreach": _OUTREACH,
}
COLUMNS = {
    "customers": ["customer_id", "signed_up_on", "email", "segment", "city", "channel"],
    "orders": ["order_id", "customer_id", "ordered_at", "amount_usd", "channel"],
    "deliveries": ["order_id", "customer_id", "promised_on", "delivered_on"],
    "reviews": ["review_id", "order_id", "customer_id", "reviewed_on", "score", "text"],
    "returns": ["order_id", "customer_id", "returned_on", "refund_usd"],
    "outreach": ["outreach_id", "customer_id", "contacted_on", "action", "arm"],
}
"""The columns of the files, table by table."""

TRUE_ENTITIES = "select customer_id, number from customers"
TRUE_EVENTS = "select order_id, customer_id, ordered_at, amount_usd, bad from orders order by 1"


def tables(world: World) -> tuple[str, ...]:
    """The tables of a shop that land."""
    return (*TABLES, "outreach") if world.outreach else TABLES


def furnish(db: duckdb.DuckDBPyConnection, world: World) -> None:
    """Make the tables of the shop of ``people`` and ``happened``, see ``produce``.

    What of them reaches us is in ``landed_<table>``, by the day of the file.
    """
    for change in world.faults.renamed:
        if change.column not in COLUMNS.get(change.table, []):
            raise ScenarioError(f"faults: renamed: the shop has no column {change.column} in {change.table}")
    db.execute("create table course (day integer, amount double)")
    db.execute(
        "insert into course select unnest(?), unnest(?)", [list(range(world.days)), world.amounts().tolist()]
    )
    db.execute("create table campaigns (campaign integer, action varchar)")
    for number, campaign in enumerate(world.outreach):
        db.execute("insert into campaigns values (?, ?)", [number, campaign.action])
    began = world.new_channel_from
    said = {
        "first": world.first_day,
        "seed": world.seed,
        "id": ID,
        "new_channel": f"date '{world.first_day}' + e.day >= date '{began}'" if began else "false",
    }
    for name in tables(world):
        db.execute(f"create table {name} as {_SELECTS[name].format(**said)}")
    for name in tables(world):
        landed = _landed_orders(world) if name == "orders" else f"select *, day as file_day from {name}"
        last = f"file_day <= date '{world.last_day}'"
        kept = f"select * from ({landed}) where {last}"
        if world.faults.missing:
            lost = ", ".join(f"date '{day}'" for day in world.faults.missing)
            kept += f" and file_day not in ({lost})"
        order = ", ".join(["file_day", *COLUMNS[name]])
        db.execute(f"create table landed_{name} as {kept} order by {order}")


def _landed_orders(world: World) -> str:
    """SQL: the rows of the orders files as text, with the day of their file, faults included."""
    faults, seed, first = world.faults, world.seed, world.first_day
    late = f"uniform({seed}, hash(order_id), 'late') < {faults.late}"
    days_late = f"1 + (hash({seed}, order_id, 'days late') % {faults.most_days_late})::int"
    amount = "amount_usd::varchar"
    if faults.in_cents_from:
        changed = f"file_day >= date '{faults.in_cents_from}'"
        amount = f"case when {changed} then (amount_usd * 100)::bigint::varchar else amount_usd::varchar end"
    if faults.in_currency:
        changed = f"file_day >= date '{faults.in_currency.first}'"
        other = f"round(amount_usd * {faults.in_currency.rate}, 2)::decimal(12, 2)::varchar"
        amount = f"case when {changed} then {other} else {amount} end"
    recorded = "".join(
        f" and day not between date '{outage.first}' and date '{outage.last}'" for outage in faults.outages
    )
    # A row whose later day would lie beyond the period comes on its own day.
    in_time = f"day + {days_late} <= date '{world.last_day}'"
    known_on = f"case when {late} and {in_time} then day + {days_late} else day end"
    good = f"""select order_id, customer_id, strftime(ordered_at, '%Y-%m-%d %H:%M:%S') as ordered_at,
      {amount} as amount_usd, channel, file_day, '' as fault
    from (select *, {known_on} as file_day from orders where true{recorded})"""
    rows = [f"select * from ({good})"]
    rows.append(
        f"select * replace ('duplicate' as fault) from ({good}) "
        f"where uniform({seed}, hash(order_id), 'twice') < {faults.duplicate}"
    )
    rows += [
        f"select * replace ((amount_usd::decimal(12, 2) * 1.1)::decimal(12, 2)::varchar as amount_usd, "
        f"date '{again.sent_on}' as file_day, 'resent' as fault) from ({good}) "
        f"where ordered_at::date = date '{again.day}' and file_day < date '{again.sent_on}'"
        for again in faults.resent
    ]
    for number, (kind, (column, text)) in enumerate(MALFORMED.items()):
        rows.append(
            f"select * replace ('M{number}' || substr(order_id, 2) as order_id, '{text}' as {column}, "
            f"'{kind}' as fault) from ({good}) "
            f"where uniform({seed}, hash(order_id), 'spoilt') < {faults.malformed} "
            f"and hash({seed}, order_id, 'how') % {len(MALFORMED)} = {number}"
        )
    rows.append(
        "select * replace ('F' || substr(order_id, 2) as order_id, 'future_dated' as fault, "
        f"strftime(date '{first}' + {world.days} + 30, '%Y-%m-%d 12:00:00') as ordered_at) from ({good}) "
        f"where uniform({seed}, hash(order_id), 'dated ahead') < {faults.future_dated}"
    )
    return " union all ".join(rows)


def land(
    db: duckdb.DuckDBPyConnection,
    world: World,
    folder: Path,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[str, int]]:
    """Write the files of every day, ``folder/<table>/<table>_YYYY-MM-DD.csv``; rows by table.

    Every day has its files, header only if nothing happened, but for the missing days of the scenario. A file
    appears whole or not at all.
    """
    days = [world.first_day + dt.timedelta(days=n) for n in range(world.days)]
    for name in tables(world):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(day: dt.date) -> None:
        cursor = db.cursor()  # a thread needs its own
        for name in tables(world):
            path = folder / name / f"{name}_{day}.csv"
            part = path.with_suffix(".part")
            quoted = ", quote ''" if name == "orders" else ""  # a surplus field is to be one
            cursor.execute(
                f"copy (select {', '.join(_named(world, name, day))} from landed_{name} "
                f"where file_day = date '{day}') to '{part}' (format csv, header{quoted})"
            )
            part.replace(path)

    with ThreadPoolExecutor(2) as threads:
        there = [day for day in days if day not in world.faults.missing]
        for done, _ in enumerate(threads.map(write, there), 1):
            progress(done, len(there))
    for name in tables(world):
        [(rows,)] = db.execute(f"select count(*) from landed_{name}").fetchall()
        yield name, rows


def _named(world: World, table: str, day: dt.date) -> list[str]:
    """The columns of a file, under the names that they have on its day."""
    renamed = [change for change in world.faults.renamed if change.table == table and change.first <= day]
    names = {change.column: change.to for change in renamed}
    return [f"{column} as {names.get(column, column)}" for column in COLUMNS[table]]
