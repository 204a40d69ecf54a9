-- One row per article bought. price: the file's own scale. Source: bronze.transactions.
select customer_id, day, article_id, price, sales_channel, known_on, _partition
from bronze.transactions
