-- One row per order, as known on known_on; a corrected order comes again with a later known_on.
-- amount_usd: US dollars. day: calendar day of the order, UTC. Source: bronze.orders.
select order_id, customer_id, day, ordered_at, amount_usd, channel, known_on, _partition
from bronze.orders
