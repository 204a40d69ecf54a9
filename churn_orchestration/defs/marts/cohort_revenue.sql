-- One row per cohort and month of its life: how many of those who first ordered in a month order again, for how much.
-- cohort: the month of the first order. month: since then, 0 is that month; the last one may not be over.
-- customers: in the cohort. active: of them, those who ordered in the month. retention: their share.
-- health: of the retention: good from 0.5, fair from 0.3, poor from 0.1, else lost.
-- revenue_usd: of the month, US dollars. revenue_per_customer_usd: the same over all of the cohort.
with orders as (
    select
        customer_id, amount_usd, date_trunc('month', day)::date as ordered_in,
        min(date_trunc('month', day)::date) over (partition by customer_id) as cohort
    from silver.orders
),
cohorts as (select cohort, count(distinct customer_id) as customers from orders group by cohort)
select
    cohort,
    date_diff('month', cohort, ordered_in) as month,
    customers,
    count(distinct customer_id) as active,
    count(distinct customer_id) / customers as retention,
    case
        when retention >= 0.5 then 'good' when retention >= 0.3 then 'fair' when retention >= 0.1 then 'poor' else 'lost'
    end as health,
    sum(amount_usd) as revenue_usd,
    cast(sum(amount_usd) as double) / customers as revenue_per_customer_usd
from orders
inner join cohorts using (cohort)
group by cohort, month, customers
