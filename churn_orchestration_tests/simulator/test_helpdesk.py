"""The help desk: its exports, what they tell of its lives, and the page on which one looks at
it.
"""

import csv
import html
import re
from pathlib import Path

import duckdb
import pytest

from churn_orchestration.simulator import ScenarioError, World, simulate
from churn_orchestration.simulator.helpdesk import TABLES
from churn_orchestration.simulator.page import write_page
from churn_orchestration_tests.support.files import hashes

COLUMNS_OF_THE_PUBLIC_DATA = {
    "agents": "agent_id,agent_name,email,team,specialization,hire_date,avg_csat,tickets_resolved,"
    "status,created_at",
    "companies": "company_id,company_name,tax_id,segment,company_size,contract_start_date,"
    "monthly_transaction_volume,status,churn_risk_score,created_at",
    "customers": "customer_id,company_id,customer_name,email,ssn,birth_date,phone,role,created_at",
    "ticket_interactions": "interaction_id,ticket_id,interaction_timestamp,author_type,author_id,"
    "author_name,message,interaction_type,channel,attachments",
    "tickets": "ticket_id,company_id,customer_id,agent_id,created_at,updated_at,closed_at,status,"
    "priority,category,subcategory,channel,subject,description,tags,resolution_time_hours,"
    "first_response_time_minutes,sla_breached,nps_score,csat_score,sentiment,escalated,reopened_count,related_ticket_ids",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    simulate(World.read("helpdesk", customers=600), folder, processes=1)
    return folder


@pytest.fixture
def db(desk: Path) -> duckdb.DuckDBPyConnection:
    opened = duckdb.connect()
    for name in TABLES:
        opened.execute(f"create view {name} as from read_csv('{desk}/landing/{name}_en.csv')")
    for name in ("people", "events"):
        opened.execute(f"create view true_{name} as from '{desk}/truth/{name}.parquet'")
    return opened


def test_the_exports_have_the_columns_of_the_public_tickets(desk: Path) -> None:
    for name, columns in COLUMNS_OF_THE_PUBLIC_DATA.items():
        with (desk / "landing" / f"{name}_en.csv").open(newline="") as file:
            assert next(csv.reader(file)) == columns.split(","), name


def test_the_same_desk_is_the_same_bytes_and_counts_its_rows(desk: Path, tmp_path: Path) -> None:
    world = World.read("helpdesk", customers=600)
    counts = simulate(world, tmp_path, processes=1)
    assert hashes(tmp_path) == hashes(desk)
    assert simulate(world, tmp_path) == counts


def test_nothing_happens_to_a_company_that_has_cancelled(db: duckdb.DuckDBPyConnection) -> None:
    [(after, gone, reasons)] = db.execute("""
        with gone as (select company_id, cancelled_on as last from cancellations)
        select (select count(*) from tickets join gone using (company_id)
          where created_at::date > last)
          + (select count(*) from invoices join gone using (company_id) where invoiced_on > last),
          (select count(*) from true_people join gone using (company_id) where left_on = last),
          (select count(*) from gone)""").fetchall()
    assert after == 0
    assert gone == reasons > 100


def test_a_ticket_goes_badly_where_its_sla_was_breached_and_is_judged_so(
    db: duckdb.DuckDBPyConnection,
) -> None:
    [(wrong, bad, good)] = db.execute("""
        select count(*) filter (sla_breached <> bad), avg(csat_score) filter (bad),
          avg(csat_score) filter (not bad)
        from tickets join true_events using (ticket_id) where closed_at is not null""").fetchall()
    assert wrong == 0
    assert bad < 3 < good
    [(open_ones, message)] = db.execute("""
        select count(*), count(resolution_time_hours) + count(csat_score) + count(nps_score)
        from tickets
        where closed_at is null""").fetchall()
    assert open_ones > 0
    assert message == 0


def test_some_messages_hold_an_address_of_a_person(db: duckdb.DuckDBPyConnection) -> None:
    [(share,)] = db.execute(
        "select avg((message like '%@example.com%')::int) from ticket_interactions"
    ).fetchall()
    assert share == pytest.approx(0.01, abs=0.004)


def test_the_leaky_tag_is_on_the_tickets_of_those_who_will_leave_and_of_no_other(
    tmp_path: Path,
) -> None:
    simulate(World.read("leaky_tag", customers=200), tmp_path, processes=1)
    [(differ, tagged)] = duckdb.sql(f"""
        select count(*) filter ((tags like '%CHURN_RISK%') <> (status_of = 'CANCELLED')),
          count(*) filter (tags like '%CHURN_RISK%')
        from read_csv('{tmp_path}/landing/tickets_en.csv')
        join (select company_id, status as status_of
          from read_csv('{tmp_path}/landing/companies_en.csv'))
        using (company_id)""").fetchall()
    assert differ == 0
    assert tagged > 100


def test_a_scenario_like_another_differs_in_what_it_says_and_an_unknown_one_is_told(
    tmp_path: Path,
) -> None:
    desk, leaky = World.read("helpdesk"), World.read("leaky_tag")
    assert leaky.model_copy(update={"about": desk.about, "faults": desk.faults}) == desk
    own = tmp_path / "own.yaml"
    own.write_text("like: nothing\nabout: mine\n")
    with pytest.raises(ScenarioError, match="there is no scenario nothing"):
        World.read(str(own))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"faults": {"late": 0.1}}, "late is no fault of the business helpdesk"),
        ({"leaving": {"may_return": 0.2}}, "a company that has cancelled does not return"),
        ({"outreach": [{"action": "call", "first": "2024-02-01", "last": "2024-02-02",
         "per_day": 0.1,
                        "effect": {}}]}, "a help desk has none of them"),
        ({"new_channel_from": "2024-06-01"}, "a help desk has none of them"),
        ({"business": "retail", "faults": {"leaky_tag": True}},
         "leaky_tag is no fault of the business"),
    ],
)  # fmt: skip
def test_what_a_help_desk_cannot_be_is_refused(said: dict, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        World.read("helpdesk", **said)


@pytest.mark.parametrize(
    ("scenario", "noun"),
    [("outreach", "Orders"), ("messy_landing", "Orders"), ("helpdesk", "Tickets")],
)
def test_the_page_shows_what_happened_and_rows_of_all_tables(
    tmp_path: Path, scenario: str, noun: str
) -> None:
    world = World.read(scenario, customers=300)
    counts = simulate(world, tmp_path, processes=1)
    page = write_page(world, tmp_path).read_text(encoding="utf-8")
    titles = [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", page)]
    assert titles[:4] == [f"{noun} by week", "Who comes, who leaves, and what weighed most",
                          "How long they stay, by segment (Kaplan-Meier)", "Cohorts"]  # fmt: skip
    assert page.count("<svg ") == 5
    shown = {re.sub(r"(_en|_[0-9-]{10})\.csv$", "", title) for title in titles[6:]}
    assert shown == set(counts)
