"""Pictures: the same bytes for the same data, small, in words too, whatever the data."""

import base64
import datetime as dt
import re
from collections.abc import Callable

import matplotlib as mpl
import pytest

from churn_orchestration import pictures
from churn_orchestration.churn.calendar import days_between
from churn_orchestration.pictures import canvas

DAY = dt.date(2024, 3, 1)
TWO_YEARS = {day: 50 + day.day for day in days_between(dt.date(2022, 3, 2), DAY)}
RULES = [(day, f"type:column_{n}", n + 1) for day in TWO_YEARS for n in range(9)]
AS_OFS = [
    {"as_of": f"2024-0{n}-17", "rows": 2_000 + n, "churn_rate": 0.4 + n / 100} for n in range(1, 7)
]
BINS = [
    {
        "rows": 10,
        "churned": n,
        "mean_probability": n / 10,
        "churn_rate": n / 10,
        "low": n / 20,
        "high": 0.95,
    }
    for n in range(10)
]
GAIN = [n / 20 for n in range(21)]
RECORD = {
    "curves": {"calibration": BINS, "gain": {"model": GAIN, "rules": GAIN}},
    "evaluation": {
        "tests": [{"test": "2024-03-01", "train": []}],
        "learning": [
            {
                "entities": count,
                "log_loss": {"low": 0.5, "value": 0.7 - count / 10_000, "high": 0.8},
            }
            for count in (200, 400, 1_000)
        ],
    },
    "profit": {
        "model": {"curve": [(n - n * n / 24) / 100 for n in range(21)]},
        "rules": {"curve": [0.001 * n for n in range(21)]},
    },
    "segments": [{"feature": "plan", "segment": f"p{n}", "skill": n / 10 - 0.1} for n in range(14)],
}
FAMILIES = [
    {"family": f"family {n}", "feature": f"orders_{n}", "mean_abs_log_odds": 1 / n}
    for n in range(1, 9)
]
SCORES = dict.fromkeys(range(pictures.SCORE_BINS), 75)
BANDS = {
    "low": (900, 0.0, 0.29),
    "medium": (600, 0.3, 0.49),
    "high": (600, 0.5, 0.69),
    "critical": (900, 0.7, 1.0),
}
RATES = [
    {
        "as_of": day,
        "is_expected": is_expected,
        "churn_rate": 0.3 + is_expected / 10,
        "low": 0.2,
        "high": 0.5,
    }
    for day in days_between(dt.date(2023, 6, 1), DAY)
    for is_expected in (False, True)
    if is_expected or day < dt.date(2023, 12, 1)
]
STAKE = {"feature": None, "segment": None, "band": None, "customers": 90, "expected_churners": 30.0}
AT_RISK = [
    STAKE | {"value": 4_000.0, "value_at_risk": 1_200.0},
    *(STAKE | {"band": band, "value": 1_000.0, "value_at_risk": 300.0} for band in BANDS),
    *(
        STAKE | {"feature": "plan", "segment": f"p{n}", "value": 400.0, "value_at_risk": 10.0 * n}
        for n in range(10)
    ),
]
COHORTS = [dt.date(2022 + n // 12, n % 12 + 1, 1) for n in range(24)]
CELLS = [
    {"cohort": cohort, "age": age, "customers": 50, "active": 50 if age == 0 else 30 - age}
    for n, cohort in enumerate(COHORTS)
    for age in range(24 - n)
]
BY_COHORT = [(cell["cohort"], cell["age"], cell["active"] / 50) for cell in CELLS]
SPENT = [(cohort, age, 1_250.0 * (age + 1)) for cohort, age, _ in BY_COHORT]
LAST = dt.date(2023, 12, 30)
COHORT_KEY = ("cohort", "month")
MOVERS = [
    {
        "who": f"c{n}",
        "before": 0.1,
        "now": 0.9 - n / 20,
        "reason": "↑ silent " * 9,
        "forecaster_changed": True,
    }
    for n in range(12)
]

FLOWS = [("low", "medium", 40), ("low", "high", 3), ("critical", "low", 12)]

EFFECTS = [
    {
        "measured_on": day,
        "outcome": outcome,
        "effect": 0.05,
        "low": n / 300 - 0.25,
        "high": 0.35 - n / 900,
    }
    | {"verdict": "not_known_yet" if n < 80 else "works"}
    for n, day in enumerate(days_between(dt.date(2023, 12, 1), DAY))
    for outcome in ("leaves", "spend")
]

TITLES = {
    "plan": "plan …",
    "orders_1": "… orders so far",
    "fee": "fee of … usd in the last 90 days",
}
COURSE = [
    {
        "as_of": dt.datetime(2024, 1, day, tzinfo=dt.UTC),
        "metric": metric,
        "is_expected": True,
        "value": 0.8,
        "low": 0.7,
    }
    | {"high": 0.9}
    for metric in ("auc", "base_rate")
    for day in range(1, 29)
]
DRIFTED = [
    {"feature": "fee", "measure": "psi", "value": 0.4, "usual_up_to": 0.2, "alarm": True}
    | {"verdict": "harmful", "effect": 0.3}
]

DRAWN: dict[str, Callable[[], str | None]] = {
    "rows": lambda: pictures.rows_by_day("raw.orders", TWO_YEARS, [DAY]),
    "quarantine": lambda: pictures.quarantined_by_rule("orders", RULES),
    "churn": lambda: pictures.churn_by_as_of("churn_90d", AS_OFS),
    "quality": lambda: pictures.quality(RECORD),
    "worth": lambda: pictures.worth(RECORD),
    "learning": lambda: pictures.learning(RECORD, TITLES),
    "influences": lambda: pictures.influences(FAMILIES, TITLES),
    "scores": lambda: pictures.scores_by_band("churn_90d", DAY, 0.5, SCORES, BANDS),
    "churn_rate": lambda: pictures.churn_rate("churn_90d", RATES),
    "at_risk": lambda: pictures.at_risk("churn_90d", DAY, AT_RISK, TITLES, "usd"),
    "retention": lambda: pictures.retention("churn_90d", "order", CELLS),
    "cohorts": lambda: pictures.cohorts("marts.c", "retention", COHORT_KEY, LAST, BY_COHORT),
    "cohorts_spent": lambda: pictures.cohorts("marts.c", "spent_usd", COHORT_KEY, LAST, SPENT),
    "movers": lambda: pictures.movers("churn_90d", DAY, MOVERS),
    "performance": lambda: pictures.performance("churn_90d", COURSE),
    "flows": lambda: pictures.flows("rfm", list(BANDS), dt.date(2023, 12, 1), DAY, FLOWS),
    "drift": lambda: pictures.drift("churn_90d", DAY, DRIFTED, TITLES),
    "listed": lambda: pictures.listed("win_back", DAY, [9.0, 5.0] * 60, [4.0, 1.0] * 300),
    "effect": lambda: pictures.effect("win_back", EFFECTS),
}


def svg(markdown: str | None) -> str:
    """The text of the picture in a piece of Markdown."""
    result = re.fullmatch(
        r"!\[[^\]]{10,}\]\(data:image/svg\+xml;base64,([\w+/=]+)\)", markdown or ""
    )
    assert result, markdown
    return base64.b64decode(result[1]).decode()


def words(markdown: str | None) -> str:
    """What is written in a picture; the lines of a title one after the other."""
    return " ".join(re.findall(r"<text[^>]*>([^<]+)</text>", svg(markdown)))


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_data_give_the_same_bytes(name: str) -> None:
    first = DRAWN[name]()
    assert DRAWN[name]() == first
    assert "<dc:date>" not in svg(first)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_small_and_its_background_is_the_pages(name: str) -> None:
    markdown = DRAWN[name]() or ""
    assert 1_000 < len(markdown) < 40_000
    assert not re.search(r"fill: ?#(fff|ffffff|000|000000)\b", svg(markdown))


def _luminance(color: str) -> float:
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("background", ["#ffffff", "#0d0e11"])
def test_every_colour_holds_its_contrast_on_either_theme(background: str) -> None:
    """As WCAG 2 measures it; 3 is asked for of pictures, 4.5 of small text."""
    for color in (canvas.INK, canvas.BLUE, canvas.RED, canvas.ORANGE, canvas.GREEN):
        dark, light = sorted((_luminance(color), _luminance(background)))
        assert (light + 0.05) / (dark + 0.05) > 4.1, color


def test_the_words_say_what_was_found() -> None:
    assert "raw.orders: 48,055 rows, 51 of them on 2024-03-01; 1 day refused" in words(
        DRAWN["rows"]()
    )
    assert "orders: 32,895 rows quarantined, most by type:column_8 (20 %)" in words(
        DRAWN["quarantine"]()
    )
    assert "46.0 % churned, as_of 2024-06-17" in words(DRAWN["churn"]())
    assert "The riskiest 20 % hold 20 % of churners" in words(DRAWN["quality"]())
    assert "The riskiest 10 % churn 1.00 times as often" in words(DRAWN["worth"]())
    assert "Contacting the riskiest 60 % earns most" in words(DRAWN["worth"]())
    assert "1,000 customers: log loss 0.600; 200 of them: 0.680" in (DRAWN["learning"]() or "")
    assert "least is known of plan p0" in (DRAWN["learning"]() or "")
    assert "plan p9" in words(DRAWN["learning"]())
    assert "plan p10" not in words(DRAWN["learning"]())
    assert "family 1 moves a forecast most: by 1.00" in words(DRAWN["influences"]())
    assert "1.00   … orders so far" in words(DRAWN["influences"]())
    assert "fee of … usd in the last 90 days" in words(DRAWN["drift"]())
    assert "50.0 % of 3,000 expected to churn" in words(DRAWN["scores"]())
    assert "30.0 % churned of 2023-11-30" in words(DRAWN["churn_rate"]())
    assert "40.0 % expected of 2024-03-01" in words(DRAWN["churn_rate"]())
    assert "churn_90d 2024-03-01: 1,200 of 4,000 usd at risk" in words(DRAWN["at_risk"]())
    assert "plan p2" in words(DRAWN["at_risk"]())
    assert "plan p1 " not in words(DRAWN["at_risk"]())
    assert "58 % active a month later, 14 % after 23" in words(DRAWN["retention"]())
    assert "2023-11" in words(DRAWN["retention"]())
    assert "2022-11" not in words(DRAWN["retention"]())
    assert "c0 rose most, 10 to 90 %; the forecaster changed" in words(DRAWN["movers"]())
    assert "↑ silent ↑ silent ↑ silent ↑ silent ↑ ..." in words(DRAWN["movers"]())


def test_a_campaign_s_pictures_say_what_the_room_holds_and_what_is_known() -> None:
    list_ = words(pictures.listed("win_back", DAY, [9, 5], [4.0]))
    assert "win_back on 2024-03-01: 2 contacts gain 14 after their cost" in list_
    assert "1 wait for room: 4" in list_
    known = words(pictures.effect("win_back", EFFECTS))
    assert "Fewer who leave, % of all: works" in known
    early = [row | {"effect": None, "low": None, "high": None} for row in EFFECTS[:40]]
    one = [*early, *EFFECTS[40:42]]
    assert "More spent by a customer: not known yet" in words(pictures.effect("win_back", one))
    assert pictures.effect("win_back", early) is None
    assert pictures.listed("win_back", DAY, [], []) is None


def test_rules_beyond_the_fifth_are_told_together() -> None:
    text = svg(DRAWN["quarantine"]())
    assert "type:column_5" in text
    assert "type:column_4" not in text
    assert "other rules" in text


def test_where_there_is_nothing_there_is_no_picture() -> None:
    assert pictures.rows_by_day("raw.orders", {}) is None
    assert pictures.quarantined_by_rule("orders", []) is None
    assert pictures.churn_by_as_of("churn_90d", []) is None
    assert pictures.quality({"curves": {}, "evaluation": {"tests": []}}) is None
    assert pictures.worth({"curves": {}}) is None
    assert pictures.learning({"evaluation": {}, "segments": RECORD["segments"]}, TITLES) is None
    assert pictures.learning(RECORD | {"segments": []}, TITLES) is None
    assert pictures.influences([], TITLES) is None
    assert pictures.scores_by_band("churn_90d", DAY, None, {}, {}) is None
    assert pictures.churn_rate("churn_90d", []) is None
    assert pictures.at_risk("churn_90d", DAY, [AT_RISK[0] | {"customers": 0}], TITLES, "") is None
    assert pictures.retention("churn_90d", "order", [CELLS[0]]) is None
    assert pictures.movers("churn_90d", DAY, []) is None
    assert pictures.cohorts("marts.c", "a", COHORT_KEY, DAY, [(DAY, 0, None)]) is None


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: pictures.rows_by_day("raw.orders", {DAY: 1}),
        lambda: pictures.rows_by_day("raw.orders", {DAY: 0}, [DAY]),
        lambda: pictures.rows_by_day("raw.orders", {dt.date(1990, 1, 1): 3, DAY: 4}),
        lambda: pictures.quarantined_by_rule("orders", [(DAY, "where:$cost] (of $ 5)", 1)]),
        lambda: pictures.churn_by_as_of(
            "q", [{"as_of": "2024-03-01", "rows": 1, "churn_rate": 1.0}]
        ),
        lambda: pictures.churn_by_as_of(
            "q", [{"as_of": "2024-03-01", "rows": 9, "churn_rate": 0.0}]
        ),
        lambda: pictures.worth(RECORD | {"profit": {"model": {"curve": [0.0] + 20 * [-0.1]}}}),
        lambda: pictures.learning(
            RECORD | {"segments": [{"feature": "a", "segment": "b", "skill": 0.0}]}, TITLES
        ),
        lambda: pictures.influences(
            [{"family": "recency", "feature": "a", "mean_abs_log_odds": 0.0}], TITLES
        ),
        lambda: pictures.scores_by_band("q", DAY, 1.0, {39: 1}, {"critical": (1, 1.0, 1.0)}),
        lambda: pictures.scores_by_band("q", DAY, 0.2, {8: 5}, {"low": (5, 0.2, 0.2)}),
        lambda: pictures.churn_rate("q", RATES[:1]),
        lambda: pictures.churn_rate("q", RATES[-1:]),
        lambda: pictures.churn_rate(
            "q", [RATES[0] | {"churn_rate": 0.0, "low": None, "high": None}]
        ),
        lambda: pictures.at_risk(
            "q", DAY, [AT_RISK[0], AT_RISK[1] | {"value": 0.0, "value_at_risk": 0.0}], {}, ""
        ),
        lambda: pictures.retention("q", "order", [CELLS[0], CELLS[1] | {"active": 0}]),
        lambda: pictures.movers("q", DAY, [MOVERS[0] | {"reason": None}]),
        lambda: pictures.cohorts("marts.c", "a", COHORT_KEY, DAY, [("spring", 0, 0.0)]),
        lambda: pictures.cohorts("marts.c", "a", COHORT_KEY, DAY, [(DAY, 0, -5.0), (DAY, 1, None)]),
    ],
)
def test_scarce_data_still_give_a_picture(drawn: Callable[[], str | None]) -> None:
    assert "<svg" in svg(drawn())


def test_the_newest_bar_is_a_whole_one_and_no_row_is_lost() -> None:
    edges, rows, width = canvas.in_bins(TWO_YEARS, min(TWO_YEARS), DAY)
    assert width == 7
    assert edges[-1] - edges[-2] == 7
    assert sum(rows) == sum(TWO_YEARS.values())
    assert rows[-1] == sum(TWO_YEARS[day] for day in days_between(dt.date(2024, 2, 24), DAY))


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    assert "where:cost_$_or_$" in svg(
        pictures.quarantined_by_rule("orders", [(DAY, "where:cost_$_or_$", 1)])
    )


def test_a_title_that_is_wider_than_its_panel_goes_on_in_a_second_line_and_meets_no_other() -> None:
    def titled(text: str) -> canvas.Panel:
        return lambda axes: axes.set(title=text) and None

    long = "no outcome yet, so expected from the forecasts alone"
    with mpl.rc_context(canvas.STYLE):
        figure = canvas.painted([titled(long), titled("Churn rate, %")], 3.2, 0.08)
    left, right = (axes.get_title(loc="left") for axes in figure.axes)
    assert left.replace("\n", " ") == long
    assert (left.count("\n"), right) == (1, "Churn rate, %")
    renderer = figure.canvas.get_renderer()
    boxes = [axes._left_title.get_window_extent(renderer) for axes in figure.axes]
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[0].y1 <= figure.bbox.height


def test_a_feature_is_named_in_words_with_a_segment_in_place_of_its_value() -> None:
    assert canvas.titled(TITLES, "fee", "up to 9") == "fee of up to 9 usd in the last 90 days"
    assert canvas.titled({"plan": "is a member"}, "plan", "1") == "is a member: 1"
    assert canvas.titled(TITLES, "gone_since", "2") == "gone_since: 2"


def test_cohorts_show_the_newest_with_the_month_that_is_not_over_in_brackets() -> None:
    text = words(DRAWN["cohorts"]())
    assert "retention, %, by cohort: the newest 12 of 24" in text
    assert "2023-01" in text
    assert "2022-12" not in text
    assert "in brackets: the month is not over" in text
    assert re.findall(r"\((\d+)\)", text) == [*map(str, range(38, 60, 2)), "100"]
    by_number = [(cohort, 0, 1.0) for cohort in range(1, 15)]
    numbers = words(pictures.cohorts("marts.c", "a", COHORT_KEY, LAST, by_number)).split()
    assert {"9", "14"} <= {*numbers} and not {"1", "2"} & {*numbers}
    over = words(pictures.cohorts("marts.c", "a", COHORT_KEY, dt.date(2023, 12, 31), BY_COHORT))
    assert "(" not in over
    assert {"1.2k", "2.5k", "(15k)"} <= set(words(DRAWN["cohorts_spent"]()).split())


def test_flows_show_who_moved_where_and_nothing_where_nobody_did() -> None:
    drawn = words(DRAWN["flows"]())
    assert "55 customers moved from 2023-12-01 to" in drawn
    assert all(f" {number} " in f" {drawn} " for number in (40, 3, 12))
    assert pictures.flows("rfm", list(BANDS), dt.date(2023, 12, 1), DAY, []) is None
