-- One row per message of a company's users to the desk. Sources: bronze.messages, and whose ticket it is about
-- from bronze.tickets.
select
    m.message_id, t.company_id, m.day, greatest(m.known_on, t.known_on) as known_on, m._partition
from bronze.messages as m
inner join bronze.tickets as t using (ticket_id)
where m.author = 'CUSTOMER'
