-- One row per order. amount_usd: goods less discount, with shipping. Source: bronze.orders.
select order_id, customer_id, day, amount_usd, channel, status, discount_usd, known_on, _partition
from bronze.orders
