-- One row per customer: what the last year brought, what kind of customer that makes, and what is at stake.
-- annual_value_usd: spent in the last 365 days. tier: high from 1,000 US dollars a year, middle from 200, else low.
-- status: active up to 30 days after the last order, lapsing up to 90, else silent.
-- at_stake_usd: annual value times the probability to leave; null where the day has no forecast.
select
    f.customer_id,
    f.orders_amount_sum_365d as annual_value_usd,
    case
        when f.orders_amount_sum_365d >= 1000 then 'high'
        when f.orders_amount_sum_365d >= 200 then 'middle'
        else 'low'
    end as tier,
    case
        when f.orders_days_since_last <= 30 then 'active'
        when f.orders_days_since_last <= 90 then 'lapsing'
        else 'silent'
    end as status,
    f.orders_amount_sum_365d * p.churn_probability as at_stake_usd
from gold.customer_features as f
left join predictions.churn_90d as p on p.customer_id = f.customer_id and p.as_of = $as_of
where f.as_of = $as_of
