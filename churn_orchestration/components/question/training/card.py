"""The model card: what a model is for, how good it is and where it is not, in Markdown and as a
page.
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn_orchestration import pictures
from churn_orchestration.business import BusinessError
from churn_orchestration.churn.question.labels import STATIC
from churn_orchestration.components.question import groups
from churn_orchestration.components.question.training.promotion import report_table
from churn_orchestration.pictures.canvas import titled
from churn_orchestration.storage import ledger
from churn_orchestration.storage.model_store import ModelFiles
from churn_orchestration.storage.warehouse import Tables

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.components.question.question import QuestionSettings

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:76em;margin:2em auto;padding:0 "
    "1em;color:#222}table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #ddd;padding:.3em .7em;text-align:left;white-space:nowrap}"
    "h1,h2{line-height:1.2}img{max-width:100%}code{background:#f3f3f3;padding:.1em .3em}"
)
OWN_PICTURE = "data:image/svg+xml;base64,"
MUCH_GAP = 0.05  # between forecast and churn rate, shown as a limit


def write(
    settings: "QuestionSettings",
    state: Path,
    version: str | None,
    folder: Path,
    tables: Tables | None = None,
) -> tuple[Path, Path]:
    """Write the card of a model, as a page and as Markdown; of the champion, where no version is
    named.

    ``tables``: the open warehouse, which says who is in which of the groups that are to fare alike.

    Raises
    ------
    BusinessError : no model, or more than one, has a version that begins so
    """
    records = state / "models" / settings.name
    if version is None:
        champion = ledger.champion(state, settings.name, dt.date.max, settings.question.meaning)
        if champion is None:
            raise BusinessError(
                f"{settings.name}: no model is champion: name a version of `churn models`"
            )
        version = champion["model_version"]
    result = sorted(path.stem for path in records.glob("*.json") if path.stem.startswith(version))
    if len(result) != 1:
        raise BusinessError(
            f'{settings.name}: "{version}" begins {len(result)} model versions; `churn models` '
            "lists "
            "them"
        )
    files = ModelFiles(state, settings.name, result[0])
    record = files.shown()
    if "search" not in record:
        raise BusinessError(
            f"{settings.name}: {result[0]} was trained before there were cards: train again"
        )
    if record["evaluation"][
        "report"
    ]:  # the rule of contact may have changed since: predictions follow it
        from churn_orchestration.churn.grading import contact

        held_out = files.held_out()
        entity, economics = settings.question.entity, settings.economics
        record["contact"] = contact.contact_summary(settings.contact, held_out, entity, economics)
        if settings.fairness and tables:
            record["groups"] = _groups(tables, settings, held_out, record["cutoff"])
    text = markdown(settings, record)
    folder.mkdir(parents=True, exist_ok=True)
    plain, html = (folder / f"{settings.name}-{result[0]}.{kind}" for kind in ("md", "html"))
    plain.write_text(text)
    html.write_text(page(text))
    return html, plain


def segments_table(settings: "QuestionSettings", record: Mapping[str, Any]) -> str:
    """How the model does by segment of customers, as a Markdown table, the worst first."""
    return _by_segment(record.get("segments", []), "segment", settings.titles)


def markdown(settings: "QuestionSettings", record: Mapping[str, Any]) -> str:
    """The card of a model from its record; pictures lie within it. Same record, same bytes."""
    evaluation, version = record["evaluation"], record["model_version"]
    parts: list[str | None] = [
        f"# Model card: {settings.name}",
        f"Model `{version}`, learned from what was known at the end of {record['cutoff']}. "
        f"When it was trained, on its own: **{record['decision']}**: {record['reason']}. "
        "Whether it scores, the ledger decides: `churn models`.",
        "## What it is for",
        _purpose(settings),
        "## What it learned from",
        f"{record['rows']:,} rows, a customer and an as_of each, as_ofs "
        f"{', '.join(record['as_ofs'])}; {record['base_rate']:.1%} of them churned. "
        f"{len(record['features'])} features of `{settings.gold}`, each as it was known at the end "
        f"of its as_of. Snapshot SHA-256 `{record['snapshot_sha256'][:12]}`. Learner: "
        f"{record['learner']}{_weighed(record)}. {_sought(record['search'])}",
    ]
    if not evaluation["report"]:
        return _joined([*parts, "## How good it is", "Not known: no later outcome to grade it on."])
    parts += [
        "## How good it is",
        _graded(evaluation),
        report_table(dict(record)),
        pictures.quality(record),
        pictures.worth(record),
        "By day, each forecast by a model that knew no outcome after it:",
        _by_segment(record["by_day"], "as_of", {}),
        "## Whom to contact",
        _contact(settings, record["contact"]),
        *_fair(record.get("groups"), settings),
        "## Where it is weak",
        "Segments of customers, the worst first. Skill: the share of the log loss of the segment's "
        "own churn rate that the forecast takes away; below 0 it knows less than that rate.",
        segments_table(settings, record),
        pictures.learning(record, settings.titles),
        "## What moves it",
        pictures.influences(record["influences"], settings.titles),
        _stable(record.get("stability")),
        pictures.dependence(record.get("stability", {}).get("dependence", []), settings.titles),
        "## What was checked",
        _controls(evaluation["controls"]),
        _list(f"Warning: {warning}." for warning in record.get("warnings", [])),
        "## Limits",
        _list(_limits(record)),
        "## How to see it again",
        f"`churn train --cutoff {record['cutoff']}` finds the same model again; "
        f"`churn backtest --as-of {record['cutoff']}` grades it once its outcomes are known."
        if settings.question.kind != STATIC
        else f"`churn train --cutoff {record['cutoff']}` finds the same model again.",
    ]
    return _joined(parts)


def page(text: str) -> str:
    """A card as one HTML file that needs no other file."""
    from markdown_it import MarkdownIt

    class Renderer(MarkdownIt):
        def validateLink(self, url: str) -> bool:  # noqa: N802 - its name there
            return url.startswith(OWN_PICTURE) or super().validateLink(url)

    renderer = Renderer("commonmark", {"html": False}).enable("table")
    title = text.partition("\n")[0].lstrip("# ")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n{renderer.render(text)}</body></html>\n"
    )


def _joined(parts: Iterable[str | None]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _purpose(settings: "QuestionSettings") -> str:
    return (
        f"{settings.sentence()} It gives every {settings.question.entity} of a day the probability "
        "of that, for customer success to turn first to those whose loss is likely and matters. It "
        "does not say why somebody leaves, nor who can be kept: what moves a forecast is no cause. "
        "It is not made for decisions to a customer's harm, as higher prices or worse service "
        "would be."
    )


def _weighed(record: Mapping[str, Any]) -> str:
    """How much each member of a blend has of the vote, in words; of one alone, nothing.

    >>> _weighed({"weights": {"logistic": 0.4, "process": 0.6}}), _weighed({})
    (' (logistic 40%, process 60%)', '')
    """
    weights = record.get("weights", {})
    if len(weights) < 2:
        return ""
    return f" ({', '.join(f'{name} {weight:.0%}' for name, weight in weights.items())})"


def _sought(search: Mapping[str, Any]) -> str:
    if "skipped" in search:
        return f"Fixed settings: no search, for {search['skipped']}."
    if "trials" not in search:
        return "Fixed settings: none were sought."
    message = (
        f"{search['trials']} settings were tried in {search['seconds']:.0f} s, "
        f"ended by {search['ended_by']}"
    )
    if search["trials"] < 2:
        return f"Fixed settings: {message}, too few to compare."
    board = search.get("leaderboard", [])  # a search of an earlier version had one family
    ranked = f"\n\n{_leaderboard(board)}" if board else ""
    difference = search["difference"]
    if not difference or difference["high"] >= 0:
        return f"Fixed settings: {message}, none was better beyond chance.{ranked}"
    return (
        f"Settings chosen: {message}; log loss {_difference(difference)} against the fixed ones, "
        f"on days before those it is graded on.{ranked}"
    )


def _leaderboard(board: Sequence[Mapping[str, Any]]) -> str:
    """The best setting of each family on the days of the search, best first."""
    rows = []
    for row in board:
        against = _difference(row["difference"]) if row["difference"] else "the fixed settings"
        size = _size(row["learner"], row["capacity"])
        rows.append(
            [row["learner"], size, f"{row['log_loss']:.4f}", against, f"{row['seconds']:.1f}"]
        )
    head = ["family", "capacity", "log loss", "against the fixed settings", "seconds"]
    return _table(head, rows)


def _size(learner: str, capacity: Sequence[float] | None) -> str:
    """How much the members of a setting may learn, in words; ``capacity`` as a record keeps it."""
    if capacity is None:
        return "by the size of the evidence"
    trees, leaf_rows, leaves, rate, columns, penalty, c, *_ = capacity
    linear = f"C {c:.2g}"
    if learner == "logistic":
        return linear
    grown = f"{trees} trees, {leaf_rows} rows a leaf, {columns:.0%} of the features"
    if learner == "random_forest":
        return grown
    boosted = f"{grown}, {leaves} leaves, rate {rate:.2g}, penalty {penalty:.2g}"
    return boosted if learner in ("lightgbm", "xgboost") else f"{linear}; {boosted}"


def _difference(result: Mapping[str, float]) -> str:
    return f"{result['value']:+.4f} [{result['low']:+.4f}, {result['high']:+.4f}]"


def _graded(evaluation: Mapping[str, Any]) -> str:
    tests = ", ".join(fold["test"] for fold in evaluation["tests"])
    how = (
        evaluation.get("caveat")
        or f"on later days ({tests}), by models that knew no outcome after them"
    )
    return f"Graded {how}. In brackets: 95 % intervals, customers resampled with all their rows."


def _contact(settings: "QuestionSettings", result: Mapping[str, Any]) -> str:
    threshold, economics = result["threshold"], settings.economics
    least = "" if threshold is None else f", a probability of {threshold:.3f} or more"
    if threshold is not None and threshold > 1:
        least = ": no probability is high enough for it, so nobody"
    sought = settings.contact.by in ("recall", "precision")
    chosen = f"Chosen on {', '.join(result['chosen_on'])}. " if sought else ""
    rows = [
        [name, _interval(result[name])]
        for name in ("contacted", "precision", "recall", "profit")
        if name in result
    ]
    return (
        f"The rule: {result['rule']}{least}. {chosen}On {result['reported_on']} "
        f"({result['rows']:,} customers that had no part in the choice) it would have done this; "
        "profit per customer, of a customer's value, where an offer costs "
        f"{economics.offer_cost:.3g}, a contact {economics.contact_cost:.3g} and an offer keeps "
        f"{economics.kept:.0%} of the churners:\n\n" + _table(["", "value [95 % interval]"], rows)
    )


def _groups(
    tables: Tables, settings: "QuestionSettings", held_out: "pd.DataFrame", cutoff: str
) -> list[dict[str, Any]]:
    """How the declared groups would have fared by the rule of contact, on rows it was not chosen
    on.
    """
    from churn_orchestration.churn.grading import contact

    entity, as_of = settings.question.entity, held_out["as_of"].max().date()
    rows = contact.as_contacted(settings.contact, held_out, entity, settings.economics)
    folder = settings.store.snapshot_files(tables.state)
    manifest = json.loads((folder / f"{cutoff}.json").read_text())
    attributes = groups.attributes(tables, settings, as_of, folder / manifest["file"])
    return groups.compared(settings, rows[rows["as_of"].dt.date == as_of], attributes)


def _fair(result: Sequence[Mapping[str, Any]] | None, settings: "QuestionSettings") -> list[str]:
    """The groups that are to fare alike, and who does not; nothing where none is declared."""
    if not result:
        return []
    from churn_orchestration.churn.grading.fairness import unfair

    fairness = settings.fairness
    assert fairness is not None
    return [
        "## Who fares otherwise",
        "Of the same rows, by group: the share that the rule would have contacted, of all, of "
        "those who churned and of those who stayed, each with its 95 % interval; and against the "
        "group where it is highest, with intervals that hold for all comparisons together. A group "
        f"with fewer than {fairness.smallest} customers is not judged. A group that churns less is "
        "rightly contacted less: what is fair is for people to say.",
        groups.markdown(result),
        _list(f"Warning: {sentence}." for sentence in unfair(result, fairness))
        or "None fares worse than declared beyond chance.",
    ]


def _by_segment(result: Sequence[Mapping[str, Any]], name: str, titles: Mapping[str, str]) -> str:
    rows = [
        [
            titled(titles, part["feature"], part["segment"], 99) if titles else part["segment"],
            f"{part['rows']:,}",
            f"{part['base_rate']:.1%}",
            f"{part['mean_forecast']:.1%}",
            _interval(part["auc"]) if "auc" in part else "too few",
            _interval(part["log_loss"]) if "auc" in part else "",
            f"{part['skill']:.1%}" if "auc" in part else "",
        ]
        for part in result
    ]
    return _table([name, "rows", "churned", "mean forecast", "AUC", "log loss", "skill"], rows)


def _controls(controls: Mapping[str, Any]) -> str:
    return _list(
        [
            "No feature gives the outcome away by itself, and the base rate is not at chance level "
            "(`no_leak`, `answerable`: a training is blocked else).",
            f"AUC where its labels were shuffled: {_interval(controls['shuffled_auc'])}, 99.9 %; "
            "0.5 must lie within.",
            f"AUC on what trained it: {controls['auc_trained']:.3f}, on what did not: "
            f"{controls['auc_later']:.3f}.",
            f"A customer's forecast moves by {controls['company']:.2g} with the other rows "
            "that are scored together with it.",
        ]
    )


def _stable(result: Mapping[str, Any] | None) -> str | None:
    """How far refitted models give the same reasons, the least first; None: none was fitted."""
    if result is None:
        return None
    rows = [
        [topic, f"{of['sign']:.2f}", f"{of['rank']:.2f}", "" if of["stable"] else "withheld"]
        for topic, of in sorted(result["topics"].items(), key=lambda each: each[1]["sign"])
    ]
    return (
        f"{result['refits']} models, each fitted without another fifth of the customers, agree "
        "with it about the reasons so far: by direction, each customer weighted by how far the "
        "topic moves the forecast, and by rank. Topics about which they disagree are named to "
        f"nobody; they would be {result['withheld']:.0%} of the reasons of the newest as_of.\n\n"
        + _table(["topic", "same direction", "rank correlation", ""], rows)
    )


def _limits(record: Mapping[str, Any]) -> list[str]:
    """What the numbers of this very model say of its limits, and what holds for all."""
    report, limits = record["evaluation"]["report"]["model"], []
    limits += [f"{record[note]}." for note in ("bound", "copies") if record.get(note)]
    if caveat := record["evaluation"].get("caveat"):
        limits.append(f"Its grade is {caveat}: how it does on later days is not known.")
    for part in record["segments"]:
        words = f"{part['feature']} {part['segment']} ({part['rows']:,} rows)"
        if "auc" not in part:
            limits.append(f"Not graded, for too few have one of the outcomes: {words}.")
        elif part["skill"] < 0:
            limits.append(f"Of these it knows less than their own churn rate: {words}.")
    for day in record["by_day"]:
        gap = day["mean_forecast"] - day["base_rate"]
        if abs(gap) > MUCH_GAP:
            limits.append(
                f"On {day['segment']} it forecast {day['mean_forecast']:.1%} and "
                f"{day['base_rate']:.1%} churned: the churn rate moves faster than it learns."
            )
    wide = report["auc"]["high"] - report["auc"]["low"]
    limits.append(
        f"Its AUC is known to {wide / 2:.3f} either way: {report['entities']:,} customers graded "
        "it. Smaller differences between models are chance."
    )
    limits.append(
        "Customers who were contacted because of a forecast may have stayed because of it; nothing "
        "here distinguishes them."
    )
    return limits


def _interval(result: Mapping[str, float]) -> str:
    return f"{result['value']:.3f} [{result['low']:.3f}, {result['high']:.3f}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
