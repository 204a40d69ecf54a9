-- One row per delivery on the day of its arrival. days_late: after the promised day, below 0 before it.
-- Source: bronze.deliveries.
select order_id, customer_id, day, delivered_on - promised_on as days_late, known_on, _partition
from bronze.deliveries
