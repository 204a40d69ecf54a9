"""`churn status` of a shop with a refused day, and of states written down by hand."""

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from churn_orchestration.cli import main
from churn_orchestration.components.tree import component_tree, questions_of
from churn_orchestration.report import refreshed, up_to_date
from churn_orchestration.report.declared import declared, save
from churn_orchestration.report.ranking import unranked_message
from churn_orchestration.report.status import status_report
from churn_orchestration.storage import ledger
from churn_orchestration.storage.door import door, publish
from churn_orchestration.storage.freshness import Missing, causes
from churn_orchestration.storage.warehouse import Tables
from churn_orchestration_tests.support.in_process import commanded
from churn_orchestration_tests.support.shop import JAN, Shop

MEASURES = ("at_risk", "churn_rate", "movers", "retention")


def said(shop: Shop) -> list[str]:
    """The lines that a person reads, blanks before and after left out."""
    return [line.strip() for line in status_report(shop.business)[1].splitlines() if line.strip()]


def facts(shop: Shop) -> dict[str, Any]:
    return status_report(shop.business)[0]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Good days but for 2024-01-07, whose file lacks a column; a file of 2024-01-09 is not taken
    in.
    """
    folder = tmp_path_factory.mktemp("troubled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_DATA", str(folder / "data"))
        patch.setenv("DAGSTER_HOME", str(folder / "data"))
        patch.setenv("COLUMNS", "110")
        patch.setenv("CHURN_BUSINESS", "")
        patch.chdir(folder)
        shop = Shop(folder / "shop", folder / "data/landing")
        shop.land_quiet_days(1, 8)
        shop.land("orders_2024-01-07.csv", "order_id,amount_usd\no7,7.50\n")
        shop.land_orders(8, "o8,ann,2024-01-08 10:00,8.50", "p8,bob,2024-01-08 10:00,-1")
        shop.refresh(5, 8)
        shop.land_quiet_days(9, 9)
        yield shop


def test_the_first_line_says_whether_all_is_well(troubled: Shop) -> None:
    assert said(troubled)[0] == (
        "shop: 1 day refused, 1 waiting for it, all fresh up to 2024-01-06, 1 new file not taken in"
    )
    assert facts(troubled)["fresh"] is False


def test_a_status_that_checks_exits_with_1_where_a_day_is_refused(troubled: Shop) -> None:
    ask = ("--business", str(troubled.folder), "status")
    assert commanded(*ask, "--check", expect=1).stdout == commanded(*ask).stdout


def test_a_roll_back_that_nobody_can_confirm_names_the_option_that_does(troubled: Shop) -> None:
    message = commanded(
        "--business", str(troubled.folder), "rollback", "--reason", "worse", expect=1
    ).stderr
    assert (
        "churn_90d: what scored before the champion scores from 2024-01-08 on? Nobody is here"
        in message
    )
    assert "add --yes" in message


def test_what_is_kept_of_a_declaration_is_read_again_once_a_file_changes(shop: Shop) -> None:
    save(shop.business, component_tree(shop.business))
    before = declared(shop.business)
    assert (before.files, list(before.meanings)) == ({"orders": "orders_{day}.csv"}, ["churn_90d"])
    shop.change("raw/defs.yaml", "orders_{day}.csv", "sold_{day}.csv")
    shop.change("churn_90d/defs.yaml", "horizon_days: 90", "horizon_days: 60")
    after = declared(shop.business)
    assert after.files == {"orders": "sold_{day}.csv"}
    assert after.meanings != before.meanings


def test_a_refused_day_is_told_once_at_its_root_with_what_mends_it(troubled: Shop) -> None:
    lines = said(troubled)
    first = next(n for n, line in enumerate(lines) if line.startswith("refused:"))
    assert sum(line.startswith("refused:") for line in lines) == 1
    assert lines[first].startswith(
        'refused: bronze.orders 2024-01-07: orders_2024-01-07.csv has no column "customer_id"'
    )
    assert lines[first + 2 : first + 6] == [
        "mend the file, or the declaration of orders, then:",
        "churn --business shop run --to 2024-01-08",
        "or let the day count as closed, and run:",
        "churn --business shop waive --table bronze.orders --day 2024-01-07 --reason WHY",
    ]


def test_a_damaged_file_is_named_with_what_recomputes_it(troubled: Shop) -> None:
    with door(troubled.business.state) as db:
        path = Tables(db, troubled.business.state).day_file(
            "predictions.churn_90d", dt.date(2024, 1, 6)
        )
    assert path
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    try:
        message, lines = facts(troubled), said(troubled)
    finally:
        path.write_bytes(content)
    [damaged] = message["damaged"]
    assert (damaged["table"], damaged["day"]) == ("predictions.churn_90d", dt.date(2024, 1, 6))
    assert "1 damaged file" in lines[0]
    at = next(
        n
        for n, line in enumerate(lines)
        if line.startswith("damaged: predictions.churn_90d 2024-01-06")
    )
    assert any(line.endswith("shop run") for line in lines[at:])


def test_the_facts_name_every_refusal_and_its_one_cause(troubled: Shop) -> None:
    refused = [(row["table"], str(row["day"])) for row in facts(troubled)["refused"]]
    assert refused == [
        ("bronze.orders", "2024-01-07"),
        ("gold.customer_features", "2024-01-07"),
        ("gold.customer_features", "2024-01-08"),
        *(
            (f"measures.churn_90d_{name}", str(day))
            for name in MEASURES
            for day in (JAN[7], JAN[8])
        ),
        ("monitoring.churn_90d_drift", "2024-01-07"),
        ("monitoring.churn_90d_drift", "2024-01-08"),
        ("monitoring.churn_90d_first_week", "2024-01-07"),
        ("monitoring.churn_90d_first_week", "2024-01-08"),
        ("monitoring.churn_90d_graded", "2024-01-07"),
        ("monitoring.churn_90d_graded", "2024-01-08"),
        ("monitoring.churn_90d_performance", "2024-01-07"),
        ("monitoring.churn_90d_performance", "2024-01-08"),
        ("predictions.churn_90d", "2024-01-07"),
        ("predictions.churn_90d", "2024-01-08"),
        ("silver.orders", "2024-01-07"),
        ("silver.orders_days", "2024-01-07"),
    ]
    [cause] = facts(troubled)["causes"]
    assert (cause["table"], cause["waiting"]) == ("bronze.orders", [JAN[7], JAN[8]])


def test_a_table_that_lags_names_the_root_table_and_day(troubled: Shop) -> None:
    lines = said(troubled)
    assert lines[1].split() == ["table", "newest", "day", "days", "rows"]
    message = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[2:9]}
    assert message == {
        "raw.orders": "2024-01-08 4 9",
        "bronze.orders": "2024-01-08 3 7 2024-01-07 is refused",
        "quarantine.orders": "2024-01-08 4 1",
        "silver.orders": "2024-01-08 3 7 waits: bronze.orders 2024-01-07 is refused",
        "silver.orders_days": "2024-01-08 3 7 waits: bronze.orders 2024-01-07 is refused",
        "gold.customer_features": "2024-01-06 2 2 waits: bronze.orders 2024-01-07 is refused",
        "predictions.churn_90d": "2024-01-06 2 2 waits: bronze.orders 2024-01-07 is refused",
    }


def test_quarantine_is_told_of_all_days_and_of_the_newest(troubled: Shop) -> None:
    assert (
        "quarantine: orders: 1 of 8 rows (12.5%) in all, 1 of 2 rows (50.0%) on 2024-01-08; most "
        "by "
        "where:positive_amount" in " ".join(said(troubled))
    )
    assert facts(troubled)["quarantine"]["orders"]["rules"] == {"where:positive_amount": 1}


def test_files_that_no_run_took_in_are_named_with_the_command_that_does(troubled: Shop) -> None:
    lines = said(troubled)
    assert lines[-2:] == [
        "not taken in yet: orders: orders_2024-01-09.csv",
        "churn --business shop run --to 2024-01-09",
    ]


def test_without_a_model_the_next_command_is_told(troubled: Shop) -> None:
    lines = said(troubled)
    at = lines.index("model: churn_90d: none in force, scored by rules; no model is trained yet")
    assert lines[at + 1] == "churn --business shop train --cutoff 2024-01-06"


@pytest.mark.parametrize("columns", [80, 100, 118])
def test_no_line_but_a_command_is_wider_than_the_terminal_and_no_name_is_cut(
    troubled: Shop, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = status_report(troubled.business)[1]
    assert all(len(line) <= columns for line in text.splitlines() if "churn --business" not in line)
    assert "gold.customer_features" in text
    assert "\x1b" not in text


def test_a_run_at_work_does_not_keep_the_status_from_answering(troubled: Shop) -> None:
    with troubled.tables():  # the warehouse is locked as a step of a run locks it
        assert said(troubled)[0].startswith("shop: 1 day refused")


def test_a_waived_day_is_told_with_who_and_why_and_what_waited_for_it_with_the_next_run(
    shop: Shop,
) -> None:
    shop.land_quiet_days(1, 6)
    shop.land("orders_2024-01-06.csv", "nothing\n1\n")
    shop.refresh(5, 6)
    waive = [
        "waive",
        "--table",
        "raw.orders",
        "--day",
        "2024-01-06",
        "--reason",
        "the shop was closed",
    ]
    done = CliRunner().invoke(main, ["--business", str(shop.folder), *waive], standalone_mode=False)
    assert done.exit_code == 0
    lines = said(shop)
    assert lines[0].startswith("shop: nothing refused, but 13 tables not up to date, 1 day waived")
    assert (
        "waived: raw.orders 2024-01-06: the shop was closed (churn waive, decision 1 of the ledger)"
        in lines
    )
    assert any(
        line.startswith("silver.orders") and "waits for a run of 2024-01-06" in line
        for line in lines
    )
    commanded("--business", str(shop.folder), "status", "--check")
    shop.refresh(6)
    assert said(shop)[0] == "shop: all fresh up to 2024-01-06, 1 day waived"


def test_a_file_that_came_late_is_taken_in_by_the_next_day_and_after_the_end_by_the_last_one(
    shop: Shop,
) -> None:
    shop.land_orders(3, "o3,ann,2024-01-03 10:00,3.50")
    written(shop, JAN[8])
    assert facts(shop)["landing"]["run"].endswith("run --to 2024-01-09")
    written(shop, JAN[20])  # the end_date
    assert facts(shop)["landing"]["run"].endswith("run --from 2024-01-20 --to 2024-01-20")


def test_a_run_with_nothing_to_do_names_a_file_that_was_corrected_in_place_and_what_takes_it_in(
    shop: Shop,
) -> None:
    written(shop, JAN[20])
    assert up_to_date(shop.business, JAN[20])[1].startswith(
        "shop: everything up to 2024-01-20 is there already\n"
    )
    shop.land_orders(3, "o3,ann,2024-01-03 10:00,3.50")
    result, message, done = up_to_date(shop.business, JAN[20])
    assert message.startswith(
        "shop: everything up to 2024-01-20 is there already, but not what is in "
        f"orders_2024-01-03.csv now; to take that in: churn --business {shop.folder} run --from "
        "2024-01-20 --to 2024-01-20\n"
    )
    assert (result["landing"]["new_files"], done) == ({"orders": ["orders_2024-01-03.csv"]}, False)


def test_a_history_is_taken_in_by_a_run_to_the_end_not_to_the_next_day(shop: Shop) -> None:
    shop.change("raw/defs.yaml", "orders_{day}.csv", "history.csv")
    shop.land("history.csv", "order_id\n")
    written(shop, JAN[10])
    assert facts(shop)["landing"]["run"] == f"churn --business {shop.folder} run"
    written(shop, JAN[20])  # the end_date: nothing is stale, so that day is made again
    assert facts(shop)["landing"]["run"].endswith("run --from 2024-01-20 --to 2024-01-20")
    shop.change("business.yaml", "end_date: 2024-01-20\n", "")
    assert facts(shop)["landing"]["run"].endswith("run --to DAY")


def test_a_link_to_nothing_and_a_folder_are_no_new_files(shop: Shop) -> None:
    written(shop, JAN[8])
    (shop.landing / f"orders_{JAN[9]}.csv").symlink_to("/nowhere")
    (shop.landing / f"orders_{JAN[10]}.csv").mkdir()
    assert facts(shop)["landing"] == {
        "new_files": {},
        "after_end_date": 0,
        "run": None,
        "again": False,
    }


def test_files_of_days_after_the_end_are_counted_and_not_asked_for(shop: Shop) -> None:
    shop.land_orders(21, "o21,ann,2024-01-21 10:00,3.50")
    written(shop, JAN[20])
    assert facts(shop)["landing"] == {
        "new_files": {},
        "after_end_date": 1,
        "run": None,
        "again": False,
    }
    assert "1 file of days after end_date (business.yaml): left out" in said(shop)


def written(shop: Shop, *days: dt.date) -> None:
    """Days of raw and predictions as the tables note them, without a run."""
    select = (
        "select 'ann' as customer_id, date '{day}' as as_of, 0.5 as churn_probability, "
        "'rules' as model_version, false as backtest"
    )
    with shop.tables() as tables:
        for table in ("raw.orders", "predictions.churn_90d"):
            tables.days.record(table, "stored", dict.fromkeys(days, 1), "test")
        for day in days:
            tables.put_day("predictions.churn_90d", day, select.format(day=day))
        publish(tables)


def test_days_that_no_run_has_made_wait_for_a_run_and_are_nobodys_fault(shop: Shop) -> None:
    written(shop, JAN[8])
    with shop.tables() as tables:
        tables.days.record("raw.orders", "stored", {JAN[9]: 1}, "test")
        publish(tables)
    assert facts(shop)["waits_for_a_run"] == [JAN[9]]
    lines = said(shop)
    assert (
        lines[0] == "shop: nothing refused, but 1 table not up to date, all fresh up to 2024-01-08"
    )
    at = lines.index("not up to date, and nothing is in the way of it; run:")
    assert lines[at + 1].endswith("run --to 2024-01-09")


def test_the_newest_day_of_a_quarantine_is_the_newest_that_was_judged_and_stands(
    shop: Shop,
) -> None:
    written(shop, JAN[8], JAN[9])
    with shop.tables() as tables:
        tables.days.record("quarantine.orders", "stored", {JAN[8]: 1, JAN[9]: 0}, "test")
        tables.days.record("bronze.orders", "stored", {JAN[8]: 0}, "test")
        tables.days.record("bronze.orders", "refused", {JAN[9]: 0}, "test", "no column")
        publish(tables)
    assert facts(shop)["quarantine"]["orders"]["newest"] == {
        "day": JAN[8],
        "rows": 1,
        "of": 1,
        "share": 1.0,
    }


def decided(shop: Shop, decision: str, evidence: dict[str, Any], reason: str = "because") -> None:
    facts = {
        "model_version": "abc",
        "cutoff": "2024-01-05",
        "decided_on": "2024-01-05",
        "mlflow_version": 1,
    }
    meaning = questions_of(shop.business)["churn_90d"].question.meaning
    ledger.append(
        shop.business.state,
        "churn_90d",
        decision,
        reason,
        "train",
        evidence,
        **facts,
        meaning=meaning,
    )


def test_the_champion_is_told_with_its_age_in_days_of_data_and_its_grade(shop: Shop) -> None:
    graded = {"model": (0.48, 0.85), "rules": (0.54, 0.81), "constant": (0.69, 0.5)}
    report = {
        name: {"log_loss": {"value": loss}, "auc": {"value": auc}}
        for name, (loss, auc) in graded.items()
    }
    written(shop, JAN[19])
    decided(shop, "promote", {"report": report, "differences": {"rules": {}, "constant": {}}})
    lines = said(shop)
    at = lines.index("model: churn_90d: abc, cut-off 2024-01-05, 14 days old")
    assert lines[at + 1 : at + 4] == [
        "last scored day: 2024-01-19, by rules; to have this model score it:",
        f"churn --business {shop.folder} score --from 2024-01-19 --to 2024-01-19",
        "on later days: log loss 0.480 (rules 0.540, constant 0.690), AUC 0.850 (rules 0.810)",
    ]


def test_a_champion_decided_after_the_last_scored_day_says_from_when_it_scores(shop: Shop) -> None:
    written(shop, JAN[4])
    decided(shop, "promote", {})
    assert "last scored day: 2024-01-04, by rules; this model scores from 2024-01-05 on" in said(
        shop
    )


def test_a_refused_candidate_is_told_with_its_reason(shop: Shop) -> None:
    written(shop, JAN[19])
    decided(shop, "refuse", {}, reason="log loss is not below that of the rules")
    assert any(
        line.startswith(
            "model: churn_90d: none in force, scored by rules; the newest candidate, cut-off"
        )
        for line in said(shop)
    )
    assert facts(shop)["models"]["churn_90d"]["refused_candidate"]["reason"] == (
        "log loss is not below that of the rules"
    )


def test_a_training_that_was_refused_before_there_was_a_candidate_is_told_with_its_reason(
    shop: Shop,
) -> None:
    written(shop, JAN[19])
    decided(shop, "not trained", {}, reason="a feature knows the outcome: fee")
    message = " ".join(said(shop))
    assert (
        "the newest training, cut-off 2024-01-05, was refused: a feature knows the outcome: fee"
        in message
    )
    assert facts(shop)["models"]["churn_90d"]["refused_candidate"]["trained"] is False


def test_a_list_that_no_model_has_made_says_so_and_why(shop: Shop) -> None:
    assert unranked_message(shop.business, "churn_90d", "abc") == ""
    message = unranked_message(shop.business, "churn_90d", "rules")
    assert (
        message
        == "; scored by rules of silence alone, for no model is in force; no model is trained yet"
    )
    decided(shop, "not trained", {}, reason="a feature knows the outcome: fee")
    message = unranked_message(shop.business, "churn_90d", "base_rate")
    assert "not ranked by risk: all have the same churn probability" in message
    assert (
        "the newest training, cut-off 2024-01-05, was refused: a feature knows the outcome: fee"
        in message
    )


def test_a_landing_folder_that_is_gone_is_told_with_all_the_rest(shop: Shop) -> None:
    written(shop, JAN[5])
    shop.landing.rmdir()
    assert "does not exist: check `landing` in business.yaml" in " ".join(said(shop))
    assert said(shop)[0] == "shop: all fresh up to 2024-01-05"


BRONZE = Missing(JAN[7], "bronze.orders", "no column")
LINEAGE = {
    "silver.orders": {"bronze.orders"},
    "gold.days": {"silver.orders", "bronze.orders"},
}


def test_silver_waits_for_its_own_day_only_and_gold_for_every_day_before() -> None:
    silver, gold = Missing(JAN[8], "silver.orders"), Missing(JAN[9], "gold.days")
    assert causes([BRONZE, silver, gold], LINEAGE) == ({BRONZE: [gold]}, [silver])


def test_a_refusal_caused_by_one_above_it_is_no_root_even_when_that_one_is_mended() -> None:
    reason = "bronze.orders 2024-01-07 is refused (no column)"
    repeats = Missing(JAN[7], "silver.orders", reason, cause="bronze.orders")
    assert causes([repeats], LINEAGE) == ({}, [repeats])


def test_a_reason_that_only_names_a_table_above_is_a_root_of_its_own() -> None:
    own = Missing(JAN[7], "silver.orders", "fewer rows than bronze.orders 2024-01-07 has")
    assert causes([own], LINEAGE) == ({own: []}, [])


def test_two_faults_are_two_causes_and_a_day_waits_for_the_first() -> None:
    other, gold = Missing(JAN[8], "bronze.orders", "cannot be read"), Missing(JAN[9], "gold.days")
    assert causes([gold, other, BRONZE], LINEAGE) == ({BRONZE: [gold], other: []}, [])


def test_nothing_published_yet_is_one_line_with_the_next_command(shop: Shop) -> None:
    done = CliRunner().invoke(main, ["--business", str(shop.folder), "status"])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "churn run --to DAY" in done.stderr


def test_the_command_names_the_business_from_where_one_stands(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from churn_orchestration.report.text import command

    assert command(shop.business, "status") == f"churn --business {shop.folder} status"
    monkeypatch.chdir(tmp_path)
    assert command(shop.business, "status") == "churn --business shop status"


def test_a_business_that_has_only_a_source_shows_what_landed_and_what_was_refused(
    shop: Shop,
) -> None:
    """One writes the first block, runs, looks, and then writes the next."""
    for folder in ("silver", "gold", "churn_90d"):
        shutil.rmtree(shop.folder / folder)
    shop.land_orders(5, "o1,ann,2024-01-05,1.50", "o2,bob,2024-01-05,1,000.50")
    done = shop.refresh(5)
    facts, message, succeeded = refreshed(shop.business, done)
    assert succeeded
    assert facts["rows"] == {"raw.orders": 2, "bronze.orders": 1, "quarantine.orders": 1}
    assert "raw.orders            2  = 1 bronze + 1 quarantine + 0 exact duplicates" in message
    assert status_report(shop.business)[0]["quarantine"]["orders"]["rules"] == {"malformed": 1}
    shop.land("orders_2024-01-06.csv", "order_id\n")
    shop.refresh(6)
    assert [refused["day"] for refused in status_report(shop.business)[0]["refused"]] == [JAN[6]]
    shop.land_orders(6, "o3,ann,2024-01-06,2.50")
    shop.refresh(6)
    assert status_report(shop.business)[0]["refused"] == []
