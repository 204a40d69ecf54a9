-- One row per category of products: how punctually its orders arrived in the last 90 days. An order that holds several
-- categories counts once for each.
-- late: deliveries after the promised day. rank: 1 is the most punctual.
with delivered as (
    select distinct i.category, d.order_id, d.days_late > 0 as is_late
    from silver.deliveries as d
    inner join silver.items as i using (order_id)
    where d.day > $as_of - 90 and i.category is not null
)
select
    category,
    count(*) as deliveries,
    count(*) filter (where is_late) as late,
    count(*) filter (where is_late) / count(*) as late_share,
    rank() over (order by late_share, deliveries desc, category) as rank
from delivered
group by category
