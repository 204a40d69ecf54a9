-- One row per customer: what the last year brought, and what kind of customer that makes.
-- annual_value_gbp: bought in the last 365 days, pounds. rank: by it, 1 is the largest.
-- tier: high from 2,000 pounds a year, middle from 500, else low.
-- status: active up to 60 days after the last purchase, lapsing up to 180, else lost.
-- at_stake_gbp: annual value times the probability to leave; null where the day has no forecast.
select
    f.customer_id,
    f.purchases_amount_sum_365d as annual_value_gbp,
    rank() over (order by f.purchases_amount_sum_365d desc nulls last) as rank,
    case
        when f.purchases_amount_sum_365d >= 2000 then 'high'
        when f.purchases_amount_sum_365d >= 500 then 'middle'
        else 'low'
    end as tier,
    case
        when f.purchases_days_since_last <= 60 then 'active'
        when f.purchases_days_since_last <= 180 then 'lapsing'
        else 'lost'
    end as status,
    f.purchases_amount_sum_365d * p.churn_probability as at_stake_gbp
from gold.customer_features as f
left join predictions.churn_90d as p on p.customer_id = f.customer_id and p.as_of = $as_of
where f.as_of = $as_of
