-- One row per ticket on the day on which it was opened, with what is known then. Source: bronze.tickets.
select ticket_id, company_id, user_id, day, priority, category, channel, known_on, _partition
from bronze.tickets
