import datetime as dt
import os

import pytest

from churn_orchestration.business import Business, BusinessError, data_folder

GOOD = "name: shop\nlanding: files\nstart_date: 2024-01-05\n"


def refused(folder, text):
    """The message with which a business.yaml is refused."""
    (folder / "business.yaml").write_text(text)
    with pytest.raises(BusinessError) as refusal:
        Business(folder)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timezone: Mars/Olympus", 'timezone: "Mars/Olympus" is not an IANA time zone'),
        ("threads: 0", "threads: Input should be greater than 0"),
        ("closed: [caturday]", 'closed: "caturday" is no weekday'),
        (
            "closed: [2024-02-10..2024-02-01]",
            'closed: "2024-02-10..2024-02-01" ends before it begins',
        ),
        ("end_date: soon", "end_date: Input should be a valid date"),
    ],
)
def test_a_bad_setting_is_told_with_file_line_and_remedy(tmp_path, line, message):
    refusal = refused(tmp_path, f"# a shop\n{GOOD}{line}\n")
    assert refusal.startswith(f"{tmp_path}/business.yaml:5: {message}")


def test_a_misspelt_setting_is_told_with_the_known_ones(tmp_path):
    message = refused(tmp_path, GOOD + "time_zone: UTC\n")
    assert (
        f"{tmp_path}/business.yaml:4: time_zone: no such setting (known: name, landing, " in message
    )


def test_every_fault_of_the_settings_is_told_at_once(tmp_path):
    message = refused(tmp_path, "name: My Shop\nlanding: files\nstart_date: 2024-13-05\n")
    assert "business.yaml:1: name:" in message
    assert "business.yaml:3: start_date:" in message


def test_a_setting_that_is_missing_is_named(tmp_path):
    assert "landing: Field required" in refused(tmp_path, "name: shop\nstart_date: 2024-01-05\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("end_date: 2024-01-01", "end_date 2024-01-01 lies before start_date 2024-01-05"),
        ("history_from: 2024-02-01", "history_from 2024-02-01 lies after start_date 2024-01-05"),
    ],
)
def test_dates_out_of_order_are_refused(tmp_path, line, message):
    assert message in refused(tmp_path, GOOD + line + "\n")


def test_reading_where_files_land_leaves_the_environment_as_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("CHURN_DATA", raising=False)
    (tmp_path / "business.yaml").write_text(GOOD.replace("files", "${CHURN_DATA}/shop/landing"))
    before = dict(os.environ)
    assert Business(tmp_path).landing == data_folder() / "shop" / "landing"
    assert dict(os.environ) == before


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text):
    assert "wanted settings such as `name: my_shop`" in refused(tmp_path, text)


def test_broken_yaml_is_told_with_its_file_and_line(tmp_path):
    message = refused(tmp_path, GOOD + "closed:\n\t- saturday\n")
    assert message.startswith(f"{tmp_path}/business.yaml:5: not valid YAML: ")


def test_settings_that_are_not_utf_8_are_told_with_their_file(tmp_path):
    (tmp_path / "business.yaml").write_bytes((GOOD + "# caf\xe9\n").encode("latin-1"))
    with pytest.raises(BusinessError, match="business.yaml: not valid YAML in UTF-8"):
        Business(tmp_path)


@pytest.mark.parametrize("nothing", ["null", "~", ""])
def test_a_setting_of_nothing_is_as_if_not_given(tmp_path, nothing):
    (tmp_path / "business.yaml").write_text(f"{GOOD}end_date: {nothing}\n")
    assert Business(tmp_path).settings.end_date is None


def test_a_folder_without_business_yaml_is_no_business(tmp_path):
    with pytest.raises(
        BusinessError, match=r"is no business: it has no business.yaml \(see examples/ for one\)"
    ):
        Business(tmp_path)
    with pytest.raises(BusinessError, match="lies in no business"):
        Business.holding(tmp_path)


@pytest.mark.usefixtures("churn_data")
def test_an_unset_variable_of_the_landing_folder_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("SHOP_FILES", raising=False)
    (tmp_path / "business.yaml").write_text(GOOD.replace("files", "${SHOP_FILES}/orders"))
    with pytest.raises(BusinessError) as refusal:
        Business(tmp_path).landing  # noqa: B018
    assert str(refusal.value) == (
        f"{tmp_path}/business.yaml: landing: the environment variable 'SHOP_FILES' is not set; "
        "set it to the folder that holds the landing files (see docs/how-to/own-data.md)"
    )


@pytest.mark.usefixtures("churn_data")
def test_the_key_of_hashes_leaves_by_no_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("CHURN_PII_KEY", "pa55word")
    (tmp_path / "business.yaml").write_text(GOOD.replace("files", "a/${CHURN_PII_KEY}"))
    with pytest.raises(
        BusinessError, match="business.yaml: landing: no setting may hold CHURN_PII_KEY"
    ):
        Business(tmp_path).landing  # noqa: B018


@pytest.mark.usefixtures("churn_data")
def test_the_landing_folder_is_relative_to_the_business_and_may_name_variables(
    tmp_path, monkeypatch
):
    (tmp_path / "business.yaml").write_text(GOOD)
    assert Business(tmp_path).landing == tmp_path / "files"
    monkeypatch.setenv("SHOP_FILES", "/somewhere")
    (tmp_path / "business.yaml").write_text(GOOD.replace("files", "${SHOP_FILES}/orders"))
    assert str(Business(tmp_path).landing) == "/somewhere/orders"


def test_the_state_of_each_business_lies_in_a_folder_of_its_own(tmp_path, churn_data):
    (tmp_path / "business.yaml").write_text(GOOD)
    assert Business(tmp_path).state == churn_data / "shop"


def test_closed_days_are_weekdays_days_and_ranges_with_both_ends(tmp_path):
    closed = "closed: [Saturday, 2024-01-09, 2024-12-24..2025-01-02]\n"
    (tmp_path / "business.yaml").write_text(GOOD + closed)
    days = Business(tmp_path).closed
    assert dt.date(2024, 1, 6) in days  # a Saturday
    assert dt.date(2024, 1, 9) in days
    assert dt.date(2024, 12, 24) in days
    assert dt.date(2025, 1, 2) in days
    assert dt.date(2024, 1, 8) not in days
    assert dt.date(2025, 1, 3) not in days


def test_partitions_run_from_the_initial_load_to_the_last_day(tmp_path):
    (tmp_path / "business.yaml").write_text(
        GOOD + "history_from: 2024-01-03\nend_date: 2024-01-07\n"
    )
    business = Business(tmp_path)
    assert list(business.days.get_partition_keys()) == ["2024-01-05", "2024-01-06", "2024-01-07"]
    assert business.cutoffs.get_partition_keys()[0] == "2024-01-03"
