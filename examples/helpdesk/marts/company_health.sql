-- One row per company: how well things are with it, 0 to 100.
-- health: 50, up to 20 for volume (3 for each power of ten a month), less 5 a ticket and 10 an open ticket of the last
-- 90 days, and 20 times the share of them that was resolved. level: good from 80, fair from 50, else poor.
with numbers as (
    select
        company_id,
        coalesce(company_volume, 0) as volume_usd,
        coalesce(tickets_count_90d, 0) as tickets,
        coalesce(resolutions_count_90d, 0) as resolved
    from gold.company_features
    where as_of = $as_of
),
scored as (
    select
        company_id, volume_usd, tickets, resolved,
        greatest(tickets - resolved, 0) as open_tickets,
        50 + least(20, 3 * log10(1 + volume_usd)) - 5 * tickets - 10 * greatest(tickets - resolved, 0)
        + 20 * least(coalesce(resolved / nullif(tickets, 0), 0), 1) as points
    from numbers
)
select
    company_id, volume_usd, tickets, resolved, open_tickets,
    greatest(0, least(100, points)) as health,
    case when health >= 80 then 'good' when health >= 50 then 'fair' else 'poor' end as level
from scored
