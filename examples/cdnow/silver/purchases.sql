-- One row per purchase. amount_usd: US dollars, 0 included. Source: bronze.purchases.
select customer_id, day, cds_count, amount_usd, known_on, _partition
from bronze.purchases
