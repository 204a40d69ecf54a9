"""A help desk made of the lives of its companies: who they are, their tickets, the messages, what
they pay.

An event of a life is a ticket; one that goes badly breaches its SLA; who leaves cancels. The files
are exports of the whole history, with the columns of the `support_tickets` data set, so that one
YAML reads both; those of invoices and cancellations come with them. As there, some columns tell
what became of a row by the day of the export (`status` of a company, all of a ticket's closing),
and `churn_risk_score` carries no information.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from churn_orchestration.simulator.world import World

ENTITY, ID, WHEN = "company_id", "COMP%05d", "created_at"

_FIRST_NAMES = [
    "Ada",
    "Ben",
    "Carla",
    "Dan",
    "Elif",
    "Femi",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kim",
    "Lena",
]
_LAST_NAMES = [
    "Abel",
    "Bauer",
    "Costa",
    "Diaz",
    "Ek",
    "Fontana",
    "Gruber",
    "Ito",
    "Jansen",
    "Kraus",
]
_TRADES = [
    "Foods",
    "Motors",
    "Clinic",
    "Books",
    "Studio",
    "Market",
    "Works",
    "Academy",
    "Garden",
    "Kitchen",
]
_ROLES = ["OWNER", "MANAGER", "OPERATOR", "FINANCIAL", "IT_MANAGER"]

_TOPICS = """
select * from (values
  (0, 'TECHNICAL', 'UPDATE', 'Terminal wants an update',
    'Our terminal wants to update. What is to be done?'),
  (1, 'TECHNICAL', 'CONNECTION', 'Terminal lost its connection',
    'Since this morning a terminal is offline.'),
  (2, 'FINANCIAL', 'FEE', 'A fee that we do not know',
    'The statement has a fee that we cannot place.'),
  (3, 'INFORMATION', 'STATEMENT', 'Statement of last month',
    'Where do we find the statement of last month?'),
  (4, 'COMMERCIAL', 'PLAN', 'Another plan', 'We think about another plan. Who can advise us?'),
  (5, 'COMPLAINT', 'LONG_WAIT', 'Still no answer',
    'We have been waiting for days and nobody calls back.'),
  (6, 'COMPLAINT', 'POOR_SERVICE', 'Asked three times',
    'This is the third time that we ask the same.'),
  (7, 'TECHNICAL', 'OUTAGE', 'No payments for hours',
    'No card is taken since noon. We lose sales.'),
  (8, 'FINANCIAL', 'CHARGEBACK', 'Chargeback not settled',
    'The chargeback of last month is still open.')
) as t(topic, category, subcategory, subject, description)
"""

_COMPANIES = """
select printf('{id}', number + 1) as company_id, number,
  one_of({last_names}, uniform({seed}, number, 'name')) || ' '
    || one_of({trades}, uniform({seed}, number, 'trade')) as company_name,
  printf('%02d-%07d', 10 + hash({seed}, number, 'tax') % 90, hash({seed}, number, 'id') % 10000000)
    as tax_id,
  segment, one_of(['SMALL', 'SMALL', 'SMALL', 'MEDIUM', 'MEDIUM', 'LARGE', 'ENTERPRISE'],
    uniform({seed}, number, 'size')) as company_size,
  date '{first}' + signed_up as contract_start_date,
  round(200000 * exp(1.1 * normal({seed}, number, 'volume')), 2)::decimal(15, 2)
    as monthly_transaction_volume,
  case when "left" is null then 'ACTIVE' else 'CANCELLED' end as status,
  round(0.01 + 0.94 * uniform({seed}, number, 'score'), 2)::decimal(3, 2) as churn_risk_score,
  contract_start_date::timestamp as created_at, "left", cause
from people
"""

_CUSTOMERS = """
select printf('CUST%06d', row_number() over (order by number, nth)) as customer_id, company_id,
  number, nth,
  first_name || ' ' || last_name as customer_name,
  lower(first_name || '.' || last_name) || number || '@example.com' as email,
  printf('9%02d-%02d-%04d', hash(number, nth, 'a') % 100, hash(number, nth, 'b') % 100,
    hash(number, nth, 'c') % 10000) as ssn,
  date '1960-01-01' + (hash(number, nth, 'born') % 14600)::int as birth_date,
  printf('+1-555-01%02d', hash(number, nth, 'phone') % 100) as phone,
  case when nth = 0 then 'OWNER' else one_of({roles}, uniform(number, nth, 'role')) end as role,
    created_at
from (select *, one_of({first_names}, uniform(number, nth, 'first')) as first_name,
    one_of({last_names}, uniform(number, nth, 'last')) as last_name
  from companies, range(5) as r(nth) where nth <= hash({seed}, number, 'users') % 5)
"""

_AGENTS = """
select printf('AGENT%03d', n + 1) as agent_id,
  one_of({first_names}, uniform(n, 0, 'agent')) || ' '
    || one_of({last_names}, uniform(n, 1, 'agent')) as agent_name,
  'agent' || n + 1 || '@desk.example.com' as email,
  one_of(['L1_SUPPORT', 'L2_TECHNICAL', 'L3_SPECIALIST', 'FINANCIAL'], uniform(n, 2, 'agent'))
    as team,
  one_of(['BILLING', 'CHARGEBACKS', 'INTEGRATION', 'TERMINALS'], uniform(n, 3, 'agent'))
    as specialization,
  date '{first}' - (hash(n, 'hired') % 900)::int as hire_date,
  round(3.5 + 1.4 * uniform(n, 4, 'agent'), 2)::decimal(3, 2) as avg_csat,
  100 + hash(n, 'done') % 1400 as tickets_resolved,
  'ACTIVE' as status, hire_date::timestamp as created_at
from range(25) as t(n)
"""

_TICKETS = """
with drawn as (
  select printf('TKT%07d', row_number() over (order by e.day, e.second, e.number)) as ticket_id,
    e.number, e.day, e.bad, date '{first}' + e.day + to_seconds(e.second) as created_at,
    hash({seed}, e.number, e.day * 86400 + e.second) as key
  from happened as e),
judged as (
  select *, one_of(
      ['LOW', 'LOW', 'LOW', 'LOW', 'MEDIUM', 'MEDIUM', 'MEDIUM', 'HIGH', 'HIGH', 'CRITICAL'],
      uniform(key, 0, 'priority')) as priority,
    case priority when 'LOW' then 48 when 'MEDIUM' then 24 when 'HIGH' then 8
      else 4 end as sla_hours,
    case when bad then 5 + (hash(key, 'topic') % 4)::int
      else (hash(key, 'topic') % 5)::int end as topic,
    round(sla_hours * case when bad then 1.1 + 2.5 * uniform(key, 0, 'hours')
      else 0.05 + 0.9 * uniform(key, 0, 'hours') end, 2)::decimal(8, 2) as hours,
    created_at + to_seconds((hours * 3600)::bigint) as ends_at,
    ends_at < date '{last}' + 1 as closed,
    created_at + to_hours(sla_hours) < least(ends_at, (date '{last}' + 1)::timestamp)
      as sla_breached,
    closed and uniform(key, 0, 'asked') < 0.4 as asked
  from drawn)
select ticket_id, c.company_id, u.customer_id,
  case when uniform(key, 0, 'agent') < 0.93
    then printf('AGENT%03d', 1 + hash(key, 'agent') % 25) end as agent_id,
  created_at, coalesce(case when closed then ends_at end, created_at) as updated_at,
  case when closed then ends_at end as closed_at,
  case when not closed
    then one_of(['OPEN', 'IN_PROGRESS', 'PENDING_CUSTOMER'], uniform(key, 0, 'state'))
    else one_of(['RESOLVED', 'CLOSED'], uniform(key, 0, 'state')) end as status,
  priority, category, subcategory,
  one_of(['EMAIL', 'PHONE', 'CHAT', 'LIVE_CHAT', 'PORTAL'], uniform(key, 0, 'channel')) as channel,
  subject, description,
  concat_ws('|', category, subcategory, case when sla_breached then 'SLA_BREACHED' end,
    case when priority = 'CRITICAL' then 'URGENT' end,
    case when {leaky} then 'CHURN_RISK' end) as tags,
  case when closed then hours end as resolution_time_hours,
  greatest(1, (hours * 60 * (0.01 + 0.2 * uniform(key, 0, 'first')))::int)
    as first_response_time_minutes,
  sla_breached,
  case when asked then case when bad then hash(key, 'nps') % 7
    else 6 + hash(key, 'nps') % 5 end end as nps_score,
  case when asked then round(case when bad then 1 + 1.9 * uniform(key, 0, 'csat')
    else 3.4 + 1.6 * uniform(key, 0, 'csat') end, 2)::decimal(3, 2) end as csat_score,
  case when bad then one_of(['NEGATIVE', 'NEGATIVE', 'VERY_NEGATIVE'], uniform(key, 0, 'tone'))
    else one_of(['NEUTRAL', 'NEUTRAL', 'POSITIVE'], uniform(key, 0, 'tone')) end as sentiment,
  uniform(key, 0, 'escalated') < (case when bad then 0.35 else 0.08 end) as escalated,
  (uniform(key, 0, 'reopened') > 0.85)::int + (uniform(key, 0, 'reopened') > 0.97)::int
    as reopened_count,
  null::varchar as related_ticket_ids, day, bad, ends_at, key
from judged join ({topics}) using (topic)
join (select number, company_id, "left" from companies) as c using (number)
join (select number, nth, customer_id from customers) as u
  on u.number = c.number and u.nth = hash(key, 'who') % (1 + hash({seed}, c.number, 'users') % 5)
"""

_INTERACTIONS = """
select printf('INT%08d', row_number() over (order by said_at, ticket_id, nth)) as interaction_id,
  ticket_id,
  said_at as interaction_timestamp, author_type,
  case when author_type = 'AGENT' then coalesce(agent_id, 'AGENT001')
    else customer_id end as author_id,
  case when author_type = 'AGENT' then agent_name else customer_name end as author_name,
  case when nth = 0 then description
    when author_type = 'AGENT' then one_of(['We are looking into it.',
      'Please try it once more and tell us.',
      'This is passed on to a specialist.'], uniform(key, nth, 'said'))
    when bad then one_of(['It still does not work.', 'When will somebody take care of this?'],
      uniform(key, nth, 'said'))
    else one_of(['Thank you, we will try that.', 'Understood, we wait for your answer.'],
      uniform(key, nth, 'said')) end
    || case when uniform(key, nth, 'personal') < {personal}
      then ' You reach me at ' || email || '.' else '' end as message,
  'COMMENT' as interaction_type, channel, null::varchar as attachments, said_at::date as day
from (select t.*, nth, case when nth % 2 = 0 then 'CUSTOMER' else 'AGENT' end as author_type,
    created_at + to_seconds((epoch(ends_at - created_at) * nth / 9)::bigint) as said_at
  from tickets as t, range(8) as r(nth)
  where nth <= 1 + hash(key, 'length') % (case when bad then 7 else 4 end)) as i
join (select customer_id, customer_name, email from customers) using (customer_id)
left join (select agent_id, agent_name from agents) using (agent_id)
where said_at < date '{last}' + 1
"""

_INVOICES = """
select printf('INV%08d', row_number() over (order by invoiced_on, company_id)) as invoice_id,
  company_id, invoiced_on,
  round(monthly_transaction_volume * 0.004 * (1 + price), 2)::decimal(15, 2) as amount_usd
from (select *, unnest(generate_series(date_trunc('month', contract_start_date + interval 1 month),
    date '{first}' + coalesce("left", {days} - 1), interval 1 month))::date as invoiced_on
      from companies)
join course on course.day = invoiced_on - date '{first}'
"""

_CANCELLATIONS = """
select 'CAN' || substr(company_id, 5) as cancellation_id, company_id,
  date '{first}' + "left" as cancelled_on,
  case cause when 'dissatisfied' then 'SERVICE' when 'price' then 'PRICE' else 'OTHER' end as reason
from companies where "left" is not null
"""

_OUTREACH = """
select printf('OUT%07d', row_number() over (order by t.day, campaign, number)) as outreach_id,
  company_id, date '{first}' + t.day::int as contacted_on, action
from touched as t join campaigns using (campaign)
join (select number, company_id from companies) using (number)
"""

_SELECTS = {
    "companies": _COMPANIES,
    "customers": _CUSTOMERS,
    "agents": _AGENTS,
    "tickets": _TICKETS,
    "ticket_interactions": _INTERACTIONS,
    "invoices": _INVOICES,
    "cancellations": _CANCELLATIONS,
}
TABLES = tuple(_SELECTS)
"""Of every help desk; of one that follows lists, ``outreach`` too."""
_HIDDEN = ["number", "left", "cause", "nth", "day", "bad", "ends_at", "key"]

TRUE_ENTITIES = "select company_id, number from companies"
TRUE_EVENTS = "select ticket_id, company_id, created_at, bad from tickets order by 1"


def tables(world: World) -> tuple[str, ...]:
    """The tables of a help desk that land."""
    return (*TABLES, "outreach") if world.outreach else TABLES


def furnish(db: duckdb.DuckDBPyConnection, world: World) -> None:
    """Make the tables of the help desk of ``people``, ``happened`` and ``touched``, see
    ``produce``.
    """
    db.execute("create table course (day integer, price double)")
    db.execute(
        "insert into course select unnest(?), unnest(?)",
        [list(range(world.days)), world.prices().tolist()],
    )
    said = {
        "id": ID, "first": world.first_day, "last": world.last_day, "days": world.days,
        "seed": world.seed, "first_names": _FIRST_NAMES, "last_names": _LAST_NAMES,
        "trades": _TRADES, "roles": _ROLES, "topics": _TOPICS,
        "personal": world.faults.personal_in_text,
        "leaky": '"left" is not null' if world.faults.leaky_tag else "false",
    }  # fmt: skip
    for name in tables(world):
        select = {**_SELECTS, "outreach": _OUTREACH}[name]
        db.execute(f"create table {name} as {select.format(**said)}")


def land(
    db: duckdb.DuckDBPyConnection, world: World, folder: Path, progress: Callable[[int, int], None]
) -> Iterator[tuple[str, int]]:
    """Write the exports, ``folder/<table>_en.csv``; rows by table. A file appears whole or not at
    all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for done, name in enumerate(tables(world), 1):
        columns = [column for column, *_ in db.execute(f"describe {name}").fetchall()]
        kept = ", ".join(f'"{column}"' for column in columns if column not in _HIDDEN)
        part = folder / f"{name}_en.part"
        db.execute(f"copy (select {kept} from {name} order by 1) to '{part}' (format csv, header)")
        part.replace(folder / f"{name}_en.csv")
        progress(done, len(tables(world)))
        [(rows,)] = db.execute(f"select count(*) from {name}").fetchall()
        yield name, rows
