-- One row per ticket that is open at the end of the day: which to take first. rank: 1 is the first.
-- priority_score: 3 times the company's probability to leave, 1 for each power of ten of its monthly volume, 4, 3, 1 or
-- 0.5 for the ticket's own priority.
select
    t.ticket_id, t.company_id, t.category, t.priority,
    $as_of - t.day as days_open,
    3 * coalesce(p.churn_probability, 0) + log10(1 + coalesce(f.company_volume, 0))
    + case t.priority when 'CRITICAL' then 4 when 'HIGH' then 3 when 'MEDIUM' then 1 else 0.5 end as priority_score,
    rank() over (order by priority_score desc, days_open desc, t.ticket_id) as rank
from silver.tickets as t
anti join silver.resolutions as r using (ticket_id)
left join gold.company_features as f on f.company_id = t.company_id and f.as_of = $as_of
left join predictions.cancels_90d as p on p.company_id = t.company_id and p.as_of = $as_of
