"""The features from which a purchase history is read; to name them loads nothing that computes."""


def gold_columns(source: str) -> tuple[str, str, str]:
    """The features of an event source from which x, t_x and T follow."""
    return (
        f"{source}_active_days_all",
        f"{source}_days_since_last",
        f"{source}_days_since_first",
    )


def spend_columns(source: str, measure: str) -> tuple[str, str, str, str]:
    """The same and what was spent so far: all that a forecast of spend reads."""
    return (*gold_columns(source), f"{source}_{measure}_sum_all")
