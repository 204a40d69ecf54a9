"""Pictures of training: the snapshot's churn rates, a model's grades, worth and influences."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from churn_orchestration.pictures.canvas import (
    BLUE,
    DASHED,
    GREEN,
    INK,
    ORANGE,
    RED,
    as_ofs_below,
    dots,
    picture,
    titled,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_FAMILIES, MOST_SEGMENTS = 6, 10
SHARES = range(0, 101, 5)  # of the gain curve, see churn.curves


def churn_by_as_of(question: str, as_ofs: Sequence[Mapping[str, Any]]) -> str | None:
    """The churn rate of each as_of of a snapshot with its 95 % interval, and how many it was
    measured on.

    ``as_ofs``: of each ``as_of``, ``rows`` and ``churn_rate``. None where there is none.
    """
    if not as_ofs:
        return None
    from churn_orchestration.churn.grading.curves import rate_interval

    names, rows = [str(entry["as_of"]) for entry in as_ofs], [entry["rows"] for entry in as_ofs]
    rates, places = [entry["churn_rate"] for entry in as_ofs], range(len(as_ofs))
    low, high = rate_interval([n * rate for n, rate in zip(rows, rates, strict=True)], rows)
    result = f"{100 * rates[-1]:.1f} % churned, as_of {names[-1]}"

    def churned(axes: "Axes") -> None:
        dots(axes, places, rates, low, high)
        for place in places:
            write(axes, f"{100 * rates[place]:.1f}", (place, 100 * rates[place]), (7, -3), BLUE)
        axes.set(title=result, ylabel="churn rate, %, 95 % interval", ylim=(0, 115 * max(high)))
        as_ofs_below(axes, names)

    def population(axes: "Axes") -> None:
        axes.bar(places, rows, color=GREEN, width=0.6)
        for place in places:
            write(axes, f"{rows[place]:,}", (place, rows[place]), (0, 2), GREEN, "center")
        axes.set(title="Population by as_of", ylabel="rows", ylim=(0, 1.15 * max(rows)))
        as_ofs_below(axes, names)

    return picture(f"{question}: {result}, of {rows[-1]:,}", churned, population, height=2.8)


def quality(record: Mapping[str, Any]) -> str | None:
    """Calibration and gain of a model on held-out rows, from its record. None where nothing graded
    it.
    """
    if not record["curves"]:
        return None
    bins, gains = record["curves"]["calibration"], record["curves"]["gain"]
    held_out = f"{sum(result['rows'] for result in bins):,} held-out rows"
    caveat = record["evaluation"].get("caveat")
    heading = (
        f"Churned as forecast? {held_out}"
        if not caveat
        else f"{held_out}, not out of time: as forecast?"
    )
    result = f"The riskiest 20 % hold {100 * gains['model'][SHARES.index(20)]:.0f} % of churners"

    def calibration(axes: "Axes") -> None:
        forecast, rate, low, high = (
            [result[name] for result in bins]
            for name in ("mean_probability", "churn_rate", "low", "high")
        )
        top = 105 * max(*high, *forecast)
        axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle=DASHED)
        write(axes, "dashed: exactly as forecast", (top, 0), (0, 6), INK, "right")
        dots(axes, [100 * p for p in forecast], rate, low, high)
        axes.set(title=heading, xlim=(0, top), ylim=(0, top))
        axes.set(xlabel="mean forecast of each tenth, %", ylabel="churned, %, 95 % interval")

    def gain(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=DASHED)
        for name, color, height in (("rules", ORANGE, 24), ("model", BLUE, 14)):
            if name in gains:
                axes.plot(SHARES, [100 * share for share in gains[name]], color=color)
                write(axes, name, (62, height), (0, 0), color)
        write(axes, "dashed: by chance", (62, 34), (0, 0), INK)
        axes.plot([20], [100 * gains["model"][SHARES.index(20)]], "o", color=BLUE)
        axes.set(title=result, xlim=(0, 100), ylim=(0, 102))
        axes.set(xlabel="customers, riskiest first, %", ylabel="churners reached, %")

    tests = ", ".join(fold["test"] for fold in record["evaluation"]["tests"])
    return picture(
        f"Calibration and gain on {held_out} ({caveat or tests}): {result}",
        calibration,
        gain,
        height=3.6,
    )


def worth(record: Mapping[str, Any]) -> str | None:
    """Lift and profit of contacting the riskiest, from a model's record. None where nothing graded
    it.
    """
    if not record["curves"]:
        return None
    gains, earned = record["curves"]["gain"], record["profit"]
    lifts = {
        name: [g / (s / 100) for g, s in zip(gain, SHARES, strict=True) if s]
        for name, gain in gains.items()
    }
    best = max(earned["model"]["curve"])
    share = SHARES[earned["model"]["curve"].index(best)]
    message = (
        f"Contacting the riskiest {share} % earns most"
        if share
        else "Contacting nobody loses least"
    )

    def lift(axes: "Axes") -> None:
        axes.axhline(1, color=INK, linewidth=1, linestyle=DASHED)
        for name, color in (("rules", ORANGE), ("model", BLUE)):
            if name in lifts:
                axes.plot(SHARES[1:], lifts[name], color=color)
        axes.set(
            title=f"The riskiest 10 % churn {lifts['model'][1]:.2f} times as often", xlim=(0, 100)
        )
        axes.set(
            xlabel="customers, riskiest first, %",
            ylabel="churn rate over that of all",
            ylim=(0, None),
        )

    def profit(axes: "Axes") -> None:
        axes.axhline(0, color=INK, linewidth=1, linestyle=DASHED)
        for name, color, height in (("rules", ORANGE, 0.34), ("model", BLUE, 0.24)):
            if name in earned:
                axes.plot(SHARES, earned[name]["curve"], color=color)
                write(axes, name, (62, height * best), (0, 0), color)
        axes.plot([share], [best], "o", color=BLUE)
        axes.set(title=message, xlim=(0, 100))
        axes.set(
            xlabel="customers contacted, riskiest first, %", ylabel="profit, of a customer's value"
        )

    return picture(f"Lift and profit: {message}, {best:.3f} a customer", lift, profit, height=3.6)


def learning(record: Mapping[str, Any], titles: Mapping[str, str]) -> str | None:
    """Log loss by number of customers learned from, and what is known of segments; None without.

    ``titles``: the features in words, by name.
    """
    curve = record["evaluation"].get("learning", [])
    segments = [result for result in record.get("segments", []) if "skill" in result][
        :MOST_SEGMENTS
    ][::-1]
    if len(curve) < 2 or not segments:
        return None
    few, all_ = ((point["entities"], point["log_loss"]["value"]) for point in (curve[0], curve[-1]))
    message = f"{all_[0]:,} customers: log loss {all_[1]:.3f}; {few[0]:,} of them: {few[1]:.3f}"
    worst = segments[-1]

    def losses(axes: "Axes") -> None:
        known = [point["entities"] for point in curve]
        low, value, high = (
            [point["log_loss"][end] for point in curve] for end in ("low", "value", "high")
        )
        axes.vlines(known, low, high, color=BLUE, alpha=0.55, linewidth=5)
        axes.plot(known, value, "o-", color=BLUE, markersize=5)
        axes.set(title="Would more customers help?", xlim=(0, 1.05 * known[-1]))
        axes.set(xlabel="customers learned from", ylabel="log loss, 95 % interval")

    def skill(axes: "Axes") -> None:
        sizes = [100 * result["skill"] for result in segments]
        axes.barh(
            range(len(sizes)),
            sizes,
            color=[RED if size < 0 else BLUE for size in sizes],
            height=0.62,
        )
        for place, result in enumerate(segments):
            words = titled(titles, result["feature"], result["segment"])
            write(axes, words, (max(sizes[place], 0), place), (5, -3), INK)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(
            title="Least is known of these", yticks=[], xlim=(min(0, *sizes), 4.2 * max(1, *sizes))
        )
        axes.set_xlabel("log loss taken off the segment's own rate, %")

    least = titled(titles, worst["feature"], worst["segment"])
    alt = f"Learning curve and segments: {message}; least is known of {least}"
    return picture(alt, losses, skill, height=3.6)


def influences(families: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str | None:
    """How far each family of features moves a forecast, in log odds.

    ``families`` has the strongest first; ``titles``: the features in words, by name.
    """
    if not families:
        return None
    shown = families[:MOST_FAMILIES][::-1]
    sizes = [entry["mean_abs_log_odds"] for entry in shown]
    most = shown[-1]["family"].replace("_", " ")
    message = f"{most} moves a forecast most: by {sizes[-1]:.2f} in log odds on average"

    def paint(axes: "Axes") -> None:
        axes.barh(range(len(shown)), sizes, color=BLUE, height=0.62)
        for place, entry in enumerate(shown):
            words = f"{sizes[place]:.2f}   {titled(titles, entry['feature'])}"
            write(axes, words, (sizes[place], place), (5, -3), INK)
        axes.set_yticks(range(len(shown)), [entry["family"].replace("_", " ") for entry in shown])
        axes.set(title=message, xlim=(0, 1.8 * sizes[-1] or 1))
        axes.set_xlabel(
            "mean absolute contribution of the family, log odds; with it its strongest feature"
        )

    return picture(message, paint, height=1.1 + 0.3 * len(shown), left=0.12)


def dependence(curves: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str | None:
    """The mean forecast by the value of a feature, with its range over refitted models.

    ``curves``: from ``churn.learning.stability``; ``titles``: the features in words, by name.
    """
    if not curves:
        return None
    top = 110 * max(max(curve["high"]) for curve in curves)

    def panel(curve: Mapping[str, Any]) -> "Callable[[Axes], None]":
        def paint(axes: "Axes") -> None:
            low, high = ([100 * end for end in curve[name]] for name in ("low", "high"))
            axes.fill_between(curve["values"], low, high, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(curve["values"], [100 * mean for mean in curve["mean"]], "o-", color=BLUE)
            axes.set(title=titled(titles, curve["feature"], width=99), ylim=(0, top))
            axes.set_ylabel("mean forecast, %" if curve is curves[0] else "")

        return paint

    message = "Mean forecast if everybody had the value, all else as it is; shaded: refitted models"
    return picture(message, *map(panel, curves), height=2.9)
