-- One row per customer whom somebody should look at before an offer goes out.
-- returns_much: sent back at least half of at least four orders of a year.
-- spends_more: the last 30 days brought at least three times the other months of the year, and 100 US dollars.
with flags as (
    select
        customer_id,
        orders_count_365d as orders,
        returns_count_365d as returns,
        orders_amount_sum_30d as last_30_days_usd,
        (orders_amount_sum_365d - orders_amount_sum_30d) / 11 as usual_month_usd
    from gold.customer_features
    where as_of = $as_of
)
select
    *,
    orders >= 4 and coalesce(returns, 0) >= 0.5 * orders as returns_much,
    last_30_days_usd >= 100 and last_30_days_usd >= 3 * usual_month_usd as spends_more
from flags
where returns_much or spends_more
