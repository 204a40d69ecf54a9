-- One row per customer. day: the day of sign-up, UTC. Source: bronze.customers.
select customer_id, day, segment, known_on, _partition
from bronze.customers
