-- One row per contact that was made. Who was drawn and held back is in the log of the shop too, and no contact.
-- day: calendar day of the contact, UTC. Source: bronze.outreach.
select outreach_id, customer_id, 'win_back' as campaign, action, day, known_on, _partition
from bronze.outreach
where arm = 'treated'
