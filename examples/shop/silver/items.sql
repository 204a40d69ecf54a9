-- One row per line of an order, with who bought it and the category of the product as it was on that day. An order
-- may land later than its lines; the row is there once both are. Sources: bronze.order_items, orders, products.
select
    i.order_id, i.line, o.customer_id, o.day, i.quantity, p.category,
    greatest(i.known_on, o.known_on, p.known_on) as known_on,
    greatest(i._partition, o._partition, p._partition) as _partition
from bronze.order_items as i
inner join bronze.orders as o using (order_id)
asof inner join bronze.products as p on i.product_id = p.product_id and o.day >= p.valid_from
