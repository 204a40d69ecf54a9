-- One row per cohort and month of its life: how many of those who first bought in a month buy again, for how much.
-- cohort: the month of the first purchase. month: since then, 0 is that month; the last one may not be over.
-- customers: in the cohort. active: of them, those who bought in the month. retention: their share.
-- revenue_gbp: of the month, pounds. revenue_per_customer_gbp: the same over all of the cohort.
with purchases as (
    select
        customer_id, amount_gbp, date_trunc('month', day)::date as bought_in,
        min(date_trunc('month', day)::date) over (partition by customer_id) as cohort
    from silver.purchases
),
cohorts as (select cohort, count(distinct customer_id) as customers from purchases group by cohort)
select
    cohort,
    date_diff('month', cohort, bought_in) as month,
    customers,
    count(distinct customer_id) as active,
    count(distinct customer_id) / customers as retention,
    sum(amount_gbp) as revenue_gbp,
    cast(sum(amount_gbp) as double) / customers as revenue_per_customer_gbp
from purchases
inner join cohorts using (cohort)
group by cohort, month, customers
