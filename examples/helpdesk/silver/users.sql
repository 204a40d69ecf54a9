-- One row per user of a company on the day on which they joined. Source: bronze.users.
select user_id, company_id, role, day, known_on, _partition
from bronze.users
