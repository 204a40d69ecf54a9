"""`churn what-if`: who is alike and at a lower risk, and the least change that leads there."""

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from churn_orchestration.business import Business, BusinessError
from churn_orchestration.churn.features.feature import topic_of
from churn_orchestration.churn.protocol import FACTORS, UNTRAINED
from churn_orchestration.components.question.question import QuestionSettings
from churn_orchestration.components.question.scoring.forecaster import Forecaster, forecast
from churn_orchestration.components.question.scoring.scores import catalogue_words, moves
from churn_orchestration.report.customer import Words, catalogue, feature_text
from churn_orchestration.report.explain import asked_row, rows_of
from churn_orchestration.report.explain_text import factor_lines
from churn_orchestration.report.history import became
from churn_orchestration.report.text import plain
from churn_orchestration.storage.door import door, refuse_damaged
from churn_orchestration.storage.warehouse import Tables, literal, quoted

if TYPE_CHECKING:
    import pandas as pd

    from churn_orchestration.churn.learning.what_if import Change

APART = 3  # matters in which two customers differ that are shown
NO_PROMISE = (
    "This is what the model says of somebody who is otherwise the same. It is no promise: what "
    "moves a forecast need not be a cause."
)


def what_if(
    business: Business, settings: QuestionSettings, entity: str, day: dt.date | None
) -> tuple[dict[str, Any], str]:
    """Of a customer and a day (None: the last scored one): the nearest look-alike in a lower band,
    and the least change of what is declared actionable that leads to the next lower band.

    Raises
    ------
    BusinessError : the customer was not scored that day, or by no model; or gold, the model or the
        bands are not those that scored it
    """
    with door(business.state) as db:
        tables = Tables(db, business.state)
        customer = _Customer(tables, settings, entity, day)
        facts = {
            "entity": str(customer.row[customer.key]),
            "key": customer.key,
            "question": settings.name,
            "day": customer.day,
            "model_version": customer.by.version,
            "churn_probability": float(customer.row["churn_probability"]),
            "band": customer.row["band"],
            "below": customer.below,
            **customer.factors(),
            "look_alike": customer.look_alike(),
            "change": customer.change(),
        }
    return facts, _text(facts)


class _Customer:
    """A customer of a day among all that were scored then, with what scored them."""

    def __init__(
        self, tables: Tables, settings: QuestionSettings, entity: str, day: dt.date | None
    ) -> None:
        self.tables, self.settings = tables, settings
        self.key, rows = rows_of(tables, settings.name, entity)
        now = asked_row(tables, settings.name, entity, rows, day)
        self.day, version = now["as_of"], now["model_version"]
        if version in UNTRAINED:
            raise BusinessError(
                f"{settings.name}: {self.day} was scored by {version}, before any model: there is "
                "none that could say what would change it; `churn train` first"
            )
        self.by = Forecaster.named(tables, settings, version, self.day)
        self.people = self._scored(now)
        self.place = int((self.people[self.key] == now[self.key]).to_numpy().argmax())
        self.row = self.people.iloc[self.place]
        self._refuse_another_forecast()
        assert self.by.model is not None
        self.names = list(self.by.model.feature_names_in_)
        self.features = self.people[self.names].astype(float)
        self.words: Words = catalogue(tables, settings.gold)

    def _scored(self, now: dict[str, Any]) -> "pd.DataFrame":
        """Everybody who was scored that day, with what gold says of them, in the order of their
        ids.
        """
        table, file = (
            self.settings.store.forecasts,
            self.tables.day_file(self.settings.gold, self.day),
        )
        refuse_damaged(self.tables.db, table)
        if file is None:
            raise BusinessError(
                f"{self.settings.gold} keeps no {self.day}, a look back keeps none: "
                "name a day that `churn score` has scored"
            )
        key = quoted(self.key)
        return self.tables.db.execute(
            f"select p.{key}, g.* exclude ({key}), p.churn_probability, p.band from (from {table} "
            f"where as_of = {literal(self.day)} and model_version = ? and backtest = ?) as p "
            f"left join {literal(file)} as g using ({key}) order by p.{key}",
            [now["model_version"], now["backtest"]],
        ).df()

    def _refuse_another_forecast(self) -> None:
        """Refuse where the same scoring gives another probability or band than was stored."""
        import numpy as np

        from churn_orchestration.churn.learning.bands import BANDS, band

        settings, scored = self.settings, self.people["churn_probability"].to_numpy()
        assert self.by.model is not None
        is_there = set(self.by.model.feature_names_in_) <= set(self.people)
        again = forecast(settings, self.people, self.by) if is_there else np.zeros(len(scored))
        rate = (self.by.base_rate or float(scored.mean())) if settings.relative_bands else None
        bands = band(again, settings.edges, rate)
        if not np.allclose(again, scored, rtol=0, atol=1e-9) or bands != list(self.people["band"]):
            raise BusinessError(
                f"{settings.name}: {self.day} was scored on other features, or with other bands, "
                f"than there are now: `churn score --from {self.day} --to {self.day}` scores it "
                "again"
            )
        edges = np.asarray(settings.edges) * (1 if rate is None else rate)
        level = BANDS.index(self.row["band"])
        self.below: float | None = float(edges[level - 1]) if level else None
        self.lower = BANDS[level - 1] if level else None

    def factors(self) -> dict[str, list[str]]:
        """What raises the forecast most and what lowers it most, in words."""
        from churn_orchestration.churn.learning.reasons import factors

        row = self.people.iloc[[self.place]]
        moved = moves(self.settings, self.people, row, self.by)
        assert moved is not None  # only a known churn rate has none
        words = catalogue_words(self.tables, self.settings)
        said = factors(moved, row, words, among=self.people, withheld=self.by.unstable)
        of_row = [each[0] for each in said]
        return dict(zip(FACTORS, of_row, strict=True))

    def look_alike(self) -> dict[str, Any] | None:
        """The nearest customer in a lower band; None: nobody is in one."""
        import numpy as np

        from churn_orchestration.churn.learning.bands import BANDS
        from churn_orchestration.churn.learning.what_if import nearest, spreads

        if self.below is None:
            return None
        lower = self.people["band"].isin(BANDS[: BANDS.index(self.row["band"])]).to_numpy()
        result = nearest(self.features, self.place, np.asarray(lower), spreads(self.features))
        if result is None:
            return None
        place, distance = result
        other = self.people.iloc[place]
        return {
            "entity": str(other[self.key]),
            "churn_probability": float(other["churn_probability"]),
            "band": other["band"],
            "distance": distance,
            "features": len(self.names),
            "differs": self._differs(place),
        }

    def _differs(self, place: int) -> list[str]:
        """The matters that make the model say more of the customer than of another, in words."""
        from churn_orchestration.churn.learning.contributions import of_entities

        pair = [self.place, place]
        features = self.features.iloc[pair].reset_index(drop=True)
        entity = self.people[self.key].iloc[pair].reset_index(drop=True)
        assert self.by.model is not None
        moved = of_entities(self.by.model, features, entity)
        more = (moved.iloc[0] - moved.iloc[1]).sort_values(ascending=False, kind="stable")
        topic = {name: topic_of(self.words[name]["source"], self.words[name]["family"])
                 for name in more.index}  # fmt: skip
        by_topic = more.groupby(topic, sort=False).sum().sort_values(ascending=False, kind="stable")
        said = []
        for matter in by_topic[by_topic > 0].index:
            for name in (name for name in more.index if topic[name] == matter and more[name] > 0):
                here, there = (self._worded(name, each) for each in features[name])
                if here != there:
                    said.append(became(here, there))
                    break
        return said[:APART]

    def change(self) -> dict[str, Any] | None:
        """The least change that leads to the next lower band; None: nothing is declared, or the
        band is the lowest.
        """
        from churn_orchestration.churn.learning.what_if import least_change, spreads

        levers = self.settings.actionable
        if self.below is None or not levers:
            return None
        values = {
            lever.feature: float(self.people[lever.feature].iloc[self.place]) for lever in levers
        }
        spread = dict(zip(self.names, spreads(self.features), strict=True))
        read = [lever for lever in levers if lever.feature in spread]
        change, lowest = least_change(
            values, read, self._seen([lever.feature for lever in read]), spread, self._otherwise,
            self.below,
        )  # fmt: skip
        return {
            "to": self.lower,
            "least": self._moves(change),
            "lowest": self._moves(lowest),
            "not_read": [lever.feature for lever in levers if lever.feature not in spread],
        }

    def _otherwise(self, rows: "pd.DataFrame") -> "Any":
        """The probabilities of the customer with other values of some features."""
        everything = self.people.iloc[[self.place] * len(rows)].reset_index(drop=True)
        return forecast(self.settings, everything.assign(**rows), self.by)

    def _seen(self, names: list[str]) -> dict[str, Any]:
        """The values of features in the snapshot that the model was trained on."""
        from churn_orchestration.storage.model_store import ModelFiles

        state, settings = self.tables.state, self.settings
        cutoff = ModelFiles(state, settings.name, self.by.version).record()["cutoff"]
        folder = settings.store.snapshot_files(state)
        manifest = json.loads((folder / f"{cutoff}.json").read_text())
        file = literal(folder / manifest["file"])
        return {
            name: self.tables.db.execute(
                f"select distinct {quoted(name)}::double as value from {file} "
                f"where {quoted(name)} is not null order by 1"
            ).df()["value"].to_numpy()
            for name in names
        }  # fmt: skip

    def _moves(self, change: "Change | None") -> dict[str, Any] | None:
        if change is None:
            return None
        return {
            "churn_probability": change.probability,
            "size": change.size,
            "moves": {
                name: {
                    "from": before,
                    "to": after,
                    "words": became(self._worded(name, before), self._worded(name, after)),
                }
                for name, (before, after) in change.moves.items()
            },
        }

    def _worded(self, name: str, value: float) -> str:
        return feature_text(self.words[name], None if value != value else value)


def _text(facts: dict[str, Any]) -> str:
    """The answer in sentences."""
    lines = [
        f"{facts['key']} {facts['entity']}, {facts['question']} on {facts['day']}: "
        f"{facts['churn_probability']:.0%}, {facts['band']}",
        *factor_lines(facts),
        "",
    ]
    if facts["below"] is None:
        return plain(*lines, "There is no lower band.")
    other = facts["look_alike"]
    if other is None:
        lines.append("Nobody who was scored that day is in a lower band.")
    else:
        lines.append(
            f"most alike in a lower band: {other['entity']}, {other['churn_probability']:.0%}, "
            f"{other['band']} ({other['distance']:.2f} usual spreads apart, on average of "
            f"{other['features']} features)"
        )
        lines += [f"  {difference}" for difference in other["differs"]]
    return plain(*lines, *_change_lines(facts), "", NO_PROMISE)


def _change_lines(facts: dict[str, Any]) -> list[str]:
    change, edge = facts["change"], f"{facts['below']:.1%}"
    if change is None:
        return ["", f"`actionable` of {facts['question']} names nothing that somebody can move."]
    lines = [""]
    if least := change["least"]:
        lines.append(
            f"least change that leads to {change['to']}, below {edge}: "
            f"{least['churn_probability']:.1%} with"
        )
        lines += [f"  {move['words']}" for move in least["moves"].values()]
    elif lowest := change["lowest"]:
        lines.append(
            f"no change of one or two actionable features leads to {change['to']}, below {edge}, "
            "within what the training has seen; the lowest is "
            f"{lowest['churn_probability']:.1%} with"
        )
        lines += [f"  {move['words']}" for move in lowest["moves"].values()]
    else:
        lines.append("none of the actionable features can move further, or all are unknown")
    if change["not_read"]:
        lines.append(f"the model does not read {', '.join(change['not_read'])}")
    return lines
