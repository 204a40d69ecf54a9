"""Leaks that people write, each with its clean twin: a silver table or a feature, as their .sql
would be.
"""

from dataclasses import dataclass

from churn_orchestration.churn.features.perturbation import Ground

GROUNDS = (
    Ground("bronze.orders", ("order_id",), "customer_id"),
    Ground("bronze.customers", ("customer_id",), "customer_id"),
    Ground("bronze.plans", (), "customer_id"),
    Ground("bronze.tickets", ("ticket_id",)),
    Ground("bronze.users", ("user_id",)),
)
"""Orders; customers and their segment, sent anew when it changes; plan changes; tickets; whose
users.
"""

SEEN = "day <= $as_of and known_on <= $as_of"


@dataclass(frozen=True)
class Planted:
    """One kind of leak.

    Parameters
    ----------
    leaks, clean : select with ``customer_id`` and ``x``; in it ``$as_of`` is the day
    tables : of the grounds, those that may be named as the source of the leak
    silver : SQL of the table silver.joined, where the leak lies there; ``clean_silver`` its twin
    """

    name: str
    leaks: str
    clean: str
    tables: tuple[str, ...] = ("bronze.orders",)
    silver: str = ""
    clean_silver: str = ""


_ORDERS = "select customer_id, {} as x from bronze.orders {} group by 1"
_LATEST = "qualify row_number() over (partition by {0} order by known_on desc, day desc, {1}) = 1"

PLANTED = (
    Planted(
        "a window without an upper bound",
        _ORDERS.format("count(*)", "where day > $as_of - 90"),
        _ORDERS.format("count(*)", f"where day > $as_of - 90 and {SEEN}"),
    ),
    Planted(
        "a window without an upper bound, of few values",
        _ORDERS.format("count(*)", "where amount_usd > 60 and day > $as_of - 90"),
        _ORDERS.format("count(*)", f"where amount_usd > 60 and day > $as_of - 90 and {SEEN}"),
    ),
    Planted(
        "rows that were not known yet",
        _ORDERS.format("sum(amount_usd)", "where day <= $as_of"),
        _ORDERS.format("sum(amount_usd)", f"where {SEEN}"),
    ),
    Planted(
        "days that are still to come",
        _ORDERS.format("count(*)", "where known_on <= $as_of"),
        _ORDERS.format("count(*)", f"where {SEEN}"),
    ),
    Planted(
        "a dimension overwritten in place",
        "select customer_id, (segment = 'big')::int as x from bronze.customers "
        + _LATEST.format("customer_id", "segment"),
        f"select customer_id, (segment = 'big')::int as x from bronze.customers where {SEEN} "
        + _LATEST.format("customer_id", "segment"),
        ("bronze.customers",),
    ),
    Planted(
        "a status as of now",
        "select customer_id, (arg_max(plan, (day, plan)) = 'paid')::int as x from bronze.plans "
        "group by 1",
        f"select customer_id, (arg_max(plan, (day, plan)) = 'paid')::int as x from bronze.plans "
        f"where {SEEN} group by 1",
        ("bronze.plans",),
    ),
    Planted(
        "a mean over all that ever came",
        "select customer_id, avg(amount_usd)::decimal(18, 4) - (select avg(amount_usd) from "
        f"bronze.orders)::decimal(18, 4) as x from bronze.orders where {SEEN} group by 1",
        f"select customer_id, avg(amount_usd)::decimal(18, 4) - (select avg(amount_usd) "
        f"from bronze.orders where {SEEN})"
        f"::decimal(18, 4) as x from bronze.orders where {SEEN} group by 1",
    ),
    Planted(
        "a target-encoded column",
        f"""with later as (select channel, count(*) filter (day > $as_of) / count(*) as rate
        from bronze.orders group by 1)
        select customer_id, max(rate) as x from bronze.orders join later using (channel)
        where {SEEN} group by 1""",
        f"""with before as (select channel, count(*) filter (day > $as_of - 30) / count(*) as rate
        from bronze.orders where {SEEN} group by 1)
        select customer_id, max(rate) as x from bronze.orders join before using (channel)
        where {SEEN} group by 1""",
    ),
    Planted(
        "a rank among all, whenever they came",
        "select customer_id, x from (select customer_id, percent_rank() over (order by total) as x "
        "from (select customer_id, sum(amount_usd) as total from bronze.orders group by 1))",
        "select customer_id, x from (select customer_id, percent_rank() over (order by total) as x "
        f"from (select customer_id, sum(amount_usd) as total from bronze.orders where {SEEN} group "
        "by 1))",
    ),
    Planted(
        "days until the next event",
        f"""select customer_id, max(gap) as x
        from (select *, lead(day) over (partition by customer_id order by day, order_id)
        - day as gap from bronze.orders) where {SEEN} group by 1""",
        f"""select customer_id, max(gap) as x
        from (select *, lead(day) over (partition by customer_id order by day, order_id)
        - day as gap from bronze.orders where {SEEN}) group by 1""",
    ),
    Planted(
        "tenure as last minus first of all time",
        _ORDERS.format("max(day) - min(day)", ""),
        _ORDERS.format("max(day) - min(day)", f"where {SEEN}"),
    ),
    Planted(
        "a frame that looks ahead",
        f"""select customer_id, max(s) as x from (select *, sum(amount_usd)
        over (partition by customer_id
        order by day, order_id rows between 2 preceding and 2 following) as s from bronze.orders)
        where {SEEN} group by 1""",
        f"""select customer_id, max(s) as x from (select *, sum(amount_usd)
        over (partition by customer_id
        order by day, order_id rows between 2 preceding and current row) as s from bronze.orders
        where {SEEN}) group by 1""",
    ),
    Planted(
        "an amount as it was corrected later",
        f"""select customer_id, max(amount) as x
        from (select *, first_value(amount_usd) over (partition by order_id
        order by known_on desc, amount_usd) as amount from bronze.orders) where {SEEN}
          group by 1""",
        f"""select customer_id, max(amount) as x
        from (select *, first_value(amount_usd) over (partition by order_id
        order by known_on desc, amount_usd) as amount from bronze.orders where {SEEN})
          group by 1""",
    ),
    Planted(
        "users of a company joined as they are now",
        """select u.customer_id, count(*) as x from bronze.tickets as t
        join bronze.users as u using (user_id)
        where t.day <= $as_of and t.known_on <= $as_of group by 1""",
        """select u.customer_id, count(*) as x from bronze.tickets as t
        join bronze.users as u using (user_id)
        where t.day <= $as_of and t.known_on <= $as_of and u.day <= $as_of and u.known_on <= $as_of
        group by 1""",
        ("bronze.users",),
    ),
    Planted(
        "a silver table that carries what a dimension says now",
        f"select customer_id, count(*) filter (segment = 'big') as x from silver.joined "
        f"where {SEEN} group by 1",
        f"select customer_id, count(*) filter (segment = 'big') as x from silver.joined "
        f"where {SEEN} group by 1",
        ("bronze.customers",),
        silver="""select o.*, c.segment from bronze.orders as o join (from bronze.customers
        qualify row_number() over (partition by customer_id
        order by known_on desc, segment) = 1) as c using (customer_id)""",
        clean_silver="""select o.*, c.segment from bronze.orders as o asof
        join bronze.customers as c
        on o.customer_id = c.customer_id and o.known_on >= c.known_on""",
    ),
    Planted(
        "the size of the whole table",
        "select customer_id, count(*) / (select count(*) from bronze.orders) as x from "
        f"bronze.orders where {SEEN} group by 1",
        f"select customer_id, count(*) / (select count(*) from bronze.orders where {SEEN}) as x "
        f"from bronze.orders where {SEEN} group by 1",
    ),
)
