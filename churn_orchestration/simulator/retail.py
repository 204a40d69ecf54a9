"""A shop made of the lives of its customers: its tables as SQL, and the files in which they land.

Whatever is drawn here is drawn from a hash of what it belongs to, so it is the same in any order
and by any number of threads. None of it moves a customer: what is bought, cities, stars and words
follow from the customer, the order and whether it went badly, and tell a forecast no more than
those do.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from churn_orchestration.simulator.world import Mail, ScenarioError, World

MALFORMED = {
    "unparsable_date": ("ordered_at", "2024-13-45 00:00:00"),
    "empty_customer_id": ("customer_id", ""),
    "text_amount": ("amount_usd", "abc"),
    "surplus_field": ("channel", "web,surplus"),
    "nan_amount": ("amount_usd", "NaN"),
}
"""Kind of malformed row: the column that is spoilt, and the text put there."""
ENTITY, ID, WHEN = "customer_id", "C%06d", "ordered_at"
TABLES = (
    "customers", "products", "orders", "order_items", "deliveries", "reviews", "returns", "emails",
)  # fmt: skip
"""Of every shop; of one with campaigns, ``outreach`` too."""

_OUTREACH = """
select printf('A%07d', row_number() over (order by t.day, campaign, number)) as outreach_id,
  customer_id,
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

_CATALOGUE = """
select printf('P%03d', row_number() over (order by place, nth)) as product_id, place, nth, category,
  greatest(1, round(usual * exp(1.6 * (nth / ({of_a_category} - 1) - 0.5))) - 0.1) as price_usd,
  printf('P%03d', place * {of_a_category} + nth
    + case when nth = {of_a_category} - 1 then 0 else 2 end) as substitute_id
from (select unnest(range({categories})) as place, unnest({names}) as category,
  unnest({usual}) as usual),
  (select unnest(range({of_a_category})) as nth)
"""
"""Each product's substitute is the next dearer one of its category, of the dearest the one
before.
"""

_PRODUCTS = """
select product_id, date '{first}' + w.day as valid_from, valid_from as day, category,
  round(price_usd * w.price, 2)::decimal(12, 2) as list_price_usd, substitute_id
from catalogue, (select *, lag(price) over (order by day) as before from course) as w
where before is distinct from w.price
"""

_PLACED = """
select row_number() over (order by day, second, number) as nth_order, number, day, second, bad,
  hash(number, day, second) as key
from happened
"""

_ORDER_ITEMS = """
with items as (
  select o.nth_order, o.number, o.day, unnest(range(lines)) + 1 as line, hash(o.key, line) as item
  from (select *, one_of({lines}, uniform({seed}, key, 'lines')) as lines from placed) as o),
wanted as (
  select nth_order, line, day, 1 + (hash({seed}, item, 'more') % {two_of_one_in} = 0)::int
    as quantity,
    case when uniform({seed}, item, 'favourite') < {loyal} then hash({seed}, number, 'taste')
      else hash({seed}, item, 'other') end % {categories} as place,
    floor({of_a_category} * pow(uniform({seed}, item, 'which'),
      exp(-{spread} * normal({seed}, number, 'spend')))) as nth
  from items)
select nth_order, printf('O%08d', nth_order) as order_id, line, product_id, quantity,
  round(price_usd * w.price, 2)::decimal(12, 2) as unit_price_usd, date '{first}' + i.day as day
from wanted as i join catalogue as c on c.place = i.place and c.nth = i.nth
join course as w on w.day = i.day
"""

_ORDERS = """
select printf('O%08d', e.nth_order) as order_id, c.customer_id, date '{first}' + e.day as day,
  e.bad,
  date '{first}' + e.day + to_seconds(e.second) as ordered_at,
  case when {new_channel} and uniform({seed}, e.key, 'new way') < 0.3 then 'marketplace'
    else one_of(['web', 'web', 'web', 'app', 'app', 'store'], uniform({seed}, e.key, 'way'))
    end as channel,
  case when not e.bad and uniform({seed}, e.key, 'cancels') < 0.03 then 'cancelled'
    else 'placed' end
    as status,
  case when uniform({seed}, e.key, 'discount') < {discounted} then round({discount} * goods, 2)
    else 0 end
    ::decimal(12, 2) as discount_usd,
  round(w.amount * case when uniform({seed}, e.key, 'express') < {express} then {express_usd}
    else {shipping_usd} end, 2)::decimal(12, 2) as shipping_usd,
  goods - discount_usd + shipping_usd as amount_usd
from placed as e join customers as c using (number) join course as w on w.day = e.day
join (
  select nth_order, sum(quantity * unit_price_usd)::decimal(12, 2) as goods
  from order_items group by 1) using (nth_order)
"""

_EMAILS = """
select printf('E%09d', row_number() over (order by m.day, number)) as email_id, customer_id,
  date '{first}' + m.day as sent_on, sent_on + {reported_after} as day, opened = 1 as opened,
  clicked = 1 as clicked
from mailed as m join (select number, customer_id from customers) using (number)
"""

_DELIVERIES = """
select order_id, customer_id, day + 3 as promised_on,
  case when bad then promised_on + 2 + (hash({seed}, order_id, 'late') % 7)::int
    else promised_on - (hash({seed}, order_id, 'early') % 3)::int end as delivered_on,
  delivered_on as day
from orders where status <> 'cancelled'
"""

_REVIEWS = """
select 'R' || substr(order_id, 2) as review_id, order_id, customer_id,
  d.day + 1 as day, d.day + 1 as reviewed_on,
  case when o.bad then 1 + (hash({seed}, order_id, 'stars') % 2)::int
    else 4 + (hash({seed}, order_id, 'stars') % 2)::int end as score,
  case when o.bad then one_of(['Came days after the promised date.',
    'Late again, and nobody answered.',
      'The parcel was late, I had to buy elsewhere.'], uniform({seed}, hash(order_id), 'words'))
    else one_of(['All as promised.', 'Quick and well packed.', 'Happy with it, would order again.'],
      uniform({seed}, hash(order_id), 'words')) end
    || case when uniform({seed}, hash(order_id), 'address') < {personal}
      then ' Write to ' || lower(customer_id) || '@example.com.' else '' end as text
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
    "catalogue": _CATALOGUE,
    "products": _PRODUCTS,
    "placed": _PLACED,
    "order_items": _ORDER_ITEMS,
    "orders": _ORDERS,
    "deliveries": _DELIVERIES,
    "reviews": _REVIEWS,
    "returns": _RETURNS,
    "emails": _EMAILS,
    "outreach": _OUTREACH,
}
"""What is made in turn; ``catalogue`` and ``placed`` are on the way to others."""
COLUMNS = {
    "customers": ["customer_id", "signed_up_on", "email", "segment", "city", "channel"],
    "products": ["product_id", "valid_from", "category", "list_price_usd", "substitute_id"],
    "orders": [
        "order_id", "customer_id", "ordered_at", "amount_usd", "channel", "status", "discount_usd",
        "shipping_usd",
    ],
    "order_items": ["order_id", "line", "product_id", "quantity", "unit_price_usd"],
    "deliveries": ["order_id", "customer_id", "promised_on", "delivered_on"],
    "reviews": ["review_id", "order_id", "customer_id", "reviewed_on", "score", "text"],
    "returns": ["order_id", "customer_id", "returned_on", "refund_usd"],
    "emails": ["email_id", "customer_id", "sent_on", "opened", "clicked"],
    "outreach": ["outreach_id", "customer_id", "contacted_on", "action", "arm"],
}  # fmt: skip
"""The columns of the files, table by table."""

_USUAL_PRICES = {
    "coffee": 14, "tea": 11, "kitchen": 34, "garden": 29, "books": 16, "toys": 21, "care": 12,
    "stationery": 8,
}  # fmt: skip
_GOODS: dict[str, Any] = {
    "names": list(_USUAL_PRICES),
    "usual": list(_USUAL_PRICES.values()),
    "categories": len(_USUAL_PRICES),
    "of_a_category": 15,
    "lines": [1] * 11 + [2] * 6 + [3] * 2 + [4],
    "two_of_one_in": 10,
    "loyal": 0.6,
    "spread": 0.8,
    "discounted": 0.2,
    "discount": 0.1,
    "express": 0.15,
    "express_usd": 9.9,
    "shipping_usd": 4.9,
}
"""What there is to buy, and how it is bought: usual prices in US dollars; lines of an order, by
chance, one in ten of two pieces; the share of them of the customer's own category; how unevenly
dear they buy."""

_MEAN_GOODS = """
with dearness as (
  select number, exp({spread} * normal({seed}, number, 'spend')) as power,
    hash({seed}, number, 'taste') % {categories} as taste
  from (select unnest(range({low}, {high})) as number))
select (1 + 1 / {two_of_one_in}) * list_avg({lines}) * sum(
  price_usd * (pow((nth + 1) / {of_a_category}, power) - pow(nth / {of_a_category}, power))
  * ({loyal} * (place = taste)::int + (1 - {loyal}) / {categories}))
from dearness, catalogue group by number order by number
"""

TRUE_ENTITIES = "select customer_id, number from customers"
TRUE_EVENTS = "select order_id, customer_id, ordered_at, amount_usd, bad from orders order by 1"


def tables(world: World) -> tuple[str, ...]:
    """The tables of a shop that land."""
    return (*TABLES, "outreach") if world.outreach else TABLES


def furnish(db: duckdb.DuckDBPyConnection, world: World) -> None:
    """Make the tables of the shop of what its customers lived, see ``produce.furnished``.

    What of them reaches us is in ``landed_<table>``, by the day of the file.
    """
    for change in world.faults.renamed:
        if change.column not in COLUMNS.get(change.table, []):
            raise ScenarioError(
                f"faults: renamed: the shop has no column {change.column} in {change.table}"
            )
    amounts = world.amounts()
    course = [list(range(world.days)), amounts.tolist(), (amounts * (1 + world.prices())).tolist()]
    db.execute("create table course (day integer, amount double, price double)")
    db.execute("insert into course select unnest(?), unnest(?), unnest(?)", course)
    began = world.new_channel_from
    said = {
        **_GOODS,
        "first": world.first_day,
        "seed": world.seed,
        "id": ID,
        "new_channel": f"date '{world.first_day}' + e.day >= date '{began}'" if began else "false",
        "personal": world.faults.personal_in_text,
        "reported_after": Mail.REPORTED_AFTER_DAYS,
    }
    for name, select in _SELECTS.items():
        db.execute(f"create table {name} as {select.format(**said)}")
    for name in tables(world):
        landed = (
            landed_orders(world) if name == "orders" else f"select *, day as file_day from {name}"
        )
        last = f"file_day <= date '{world.last_day}'"
        kept = f"select * from ({landed}) where {last}"
        if world.faults.missing:
            lost = ", ".join(f"date '{day}'" for day in world.faults.missing)
            kept += f" and file_day not in ({lost})"
        db.execute(f"create view landed_{name} as {kept}")


def mean_amounts(
    db: duckdb.DuckDBPyConnection, world: World, customers: range, days: range
) -> np.ndarray:
    """What an order of a customer on a day is expected to come to, US dollars, (customer, day)."""
    db.execute(f"create or replace temp table catalogue as {_CATALOGUE.format(**_GOODS)}")
    said = {"seed": world.seed, "low": customers.start, "high": customers.stop}
    goods = np.array(db.execute(_MEAN_GOODS.format(**_GOODS, **said)).fetchall())  # (customer, 1)
    paid = goods * (1 - _GOODS["discounted"] * _GOODS["discount"])
    shipping = _GOODS["shipping_usd"] + _GOODS["express"] * (
        _GOODS["express_usd"] - _GOODS["shipping_usd"]
    )
    amounts, prices = (
        course[days.start : days.stop] for course in (world.amounts(), world.prices())
    )
    result: np.ndarray = amounts * ((1 + prices) * paid + shipping)
    return result


def landed_orders(world: World) -> str:
    """SQL: the rows of the orders files as text, with the day of their file, faults included."""
    faults, seed, first = world.faults, world.seed, world.first_day
    late = f"uniform({seed}, hash(order_id), 'late') < {faults.late}"
    days_late = f"1 + (hash({seed}, order_id, 'days late') % {faults.most_days_late})::int"
    money = ("amount_usd", "discount_usd", "shipping_usd")
    amounts = {name: f"{name}::varchar" for name in money}
    if faults.in_cents_from:
        changed = f"file_day >= date '{faults.in_cents_from}'"
        for name, as_ever in amounts.items():
            amounts[name] = (
                f"case when {changed} then ({name} * 100)::bigint::varchar else {as_ever} end"
            )
    if faults.in_currency:
        changed = f"file_day >= date '{faults.in_currency.first}'"
        for name, as_ever in amounts.items():
            other = f"round({name} * {faults.in_currency.rate}, 2)::decimal(12, 2)::varchar"
            amounts[name] = f"case when {changed} then {other} else {as_ever} end"
    recorded = "".join(
        f" and not (day between date '{outage.first}' and date '{outage.last or world.last_day}' "
        f"and uniform({seed}, hash(order_id), 'lost') < {outage.share})"
        for outage in faults.outages
    )
    codes = {"channel": "channel", "status": "status"}
    for code in faults.recoded:
        changed = f"file_day >= date '{code.first}' and {code.column} = '{code.value}'"
        codes[code.column] = f"case when {changed} then '{code.to}' else {codes[code.column]} end"
    named = {**codes, **amounts}
    # A row whose later day would lie beyond the period comes on its own day.
    in_time = f"day + {days_late} <= date '{world.last_day}'"
    known_on = f"case when {late} and {in_time} then day + {days_late} else day end"
    good = f"""select order_id, customer_id,
      strftime(ordered_at, '%Y-%m-%d %H:%M:%S') as ordered_at,
      {", ".join(f"{sql} as {name}" for name, sql in named.items())}, file_day, '' as fault
    from (select *, {known_on} as file_day from orders where true{recorded})"""
    rows = [f"select * from ({good})"]
    if faults.duplicate:
        rows.append(
            f"select * replace ('duplicate' as fault) from ({good}) "
            f"where uniform({seed}, hash(order_id), 'twice') < {faults.duplicate}"
        )
    rows += [
        "select * replace ((amount_usd::decimal(12, 2) * 1.1)::decimal(12, 2)::varchar as "
        f"amount_usd, date '{again.sent_on}' as file_day, 'resent' as fault) from ({good}) "
        f"where ordered_at::date = date '{again.day}' and file_day < date '{again.sent_on}'"
        for again in faults.resent
    ]
    rows += [
        f"select * replace (date '{again.sent_on}' as file_day, 'copied' as fault) from ({good}) "
        f"where file_day = date '{again.day}'"
        for again in faults.copied
    ]
    for number, (kind, (column, text)) in enumerate(MALFORMED.items() if faults.malformed else ()):
        rows.append(
            f"select * replace ('M{number}' || substr(order_id, 2) as order_id, '{text}' as "
            f"{column}, '{kind}' as fault) from ({good}) "
            f"where uniform({seed}, hash(order_id), 'spoilt') < {faults.malformed} "
            f"and hash({seed}, order_id, 'how') % {len(MALFORMED)} = {number}"
        )
    if faults.future_dated:
        rows.append(
            "select * replace ('F' || substr(order_id, 2) as order_id, 'future_dated' as fault, "
            f"strftime(date '{first}' + {world.days} + 30, '%Y-%m-%d 12:00:00') as ordered_at) "
            f"from ({good}) where uniform({seed}, hash(order_id), 'dated ahead') < "
            f"{faults.future_dated}"
        )
    return " union all ".join(rows)


def land(
    db: duckdb.DuckDBPyConnection,
    world: World,
    folder: Path,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[str, int]]:
    """Write the files of every day, ``folder/<table>/<table>_YYYY-MM-DD.csv``; rows by table.

    Every day has its files, header only if nothing happened, but for the missing days of the
    scenario. A file appears whole or not at all.
    """
    days = [world.first_day + dt.timedelta(days=n) for n in range(world.days)]
    for done, name in enumerate(tables(world), 1):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows_of = dict(
            db.execute(f"select file_day, count(*) from landed_{name} group by 1").fetchall()
        )
        whole = folder / name / "whole.part"
        quoted = ", quote ''" if name == "orders" else ""  # a surplus field is to be one
        # All at once and then cut, for a statement a file costs more than its rows do.
        order = ", ".join(
            ["file_day", *COLUMNS[name][:2]]
        )  # rows that are equal in these are equal
        select = f"select {', '.join(COLUMNS[name])} from landed_{name} order by {order}"
        db.execute(f"copy ({select}) to '{whole}' (format csv, header{quoted})")
        with whole.open("rb") as lines:
            next(lines)
            for day in days:
                if day in world.faults.missing:
                    continue
                path = folder / name / f"{name}_{day}.csv"
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    file.write(",".join(_named(world, name, day)).encode() + b"\n")
                    file.writelines(islice(lines, rows_of.get(day, 0)))
                part.replace(path)
            if next(lines, None):
                raise AssertionError(f"{whole}: a text of {name} holds the end of a line")
        whole.unlink()
        progress(done, len(tables(world)))
        yield name, sum(rows_of.values())


def _named(world: World, table: str, day: dt.date) -> list[str]:
    """The columns of a file, under the names that they have on its day."""
    renamed = [
        change for change in world.faults.renamed if change.table == table and change.first <= day
    ]
    names = {change.column: change.to for change in renamed}
    return [names.get(column, column) for column in COLUMNS[table]]
