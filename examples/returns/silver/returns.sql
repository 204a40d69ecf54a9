-- One row per returned invoice line: its invoice number starts with C. Source: bronze.lines.
select customer_id, day, invoice_id, known_on, _partition
from bronze.lines
where starts_with(invoice_id, 'C')
