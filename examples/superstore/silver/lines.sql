-- One row per order line. sales_usd, profit_usd: US dollars. Source: bronze.lines.
select
    line_id, order_id, customer_id, day, category, product_id, sales_usd, quantity, discount, profit_usd,
    known_on, _partition
from bronze.lines
