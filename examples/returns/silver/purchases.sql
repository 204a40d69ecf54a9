-- One row per purchased invoice line.
-- amount_gbp: quantity x unit price, pounds sterling. Source: bronze.lines.
select
    customer_id, day, cast(quantity * unit_price_gbp as decimal(18, 4)) as amount_gbp, known_on, _partition
from bronze.lines
where quantity > 0
