-- One row per line of an order, with who bought it and the category of the product as it was known with the order;
-- null if it was not. An order may land later than its lines; the row is there once both are.
-- Sources: bronze.order_items, bronze.orders, bronze.products.
with lines as (
    select
        i.order_id, i.line, i.product_id, o.customer_id, o.day,
        greatest(i.known_on, o.known_on) as known_on, greatest(i._partition, o._partition) as _partition
    from bronze.order_items as i
    inner join bronze.orders as o using (order_id)
)
select l.order_id, l.line, l.customer_id, l.day, l.product_id, p.category, l.known_on, l._partition
from lines as l
left join bronze.products as p
    on p.product_id = l.product_id and p.valid_from <= l.day and p.known_on <= l.known_on
qualify row_number() over (
    partition by l.order_id, l.line, l.known_on order by p.valid_from desc nulls last, p.known_on desc nulls last
) = 1
