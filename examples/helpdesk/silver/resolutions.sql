-- One row per closed ticket on the day on which it closed: how long it took and how it went are known only then,
-- though the export has them in the ticket's row. Source: bronze.tickets.
select
    ticket_id, company_id, cast(closed_at as date) as day, resolution_hours, sla_breached, nps_score, csat_score,
    escalated, greatest(known_on, cast(closed_at as date)) as known_on, _partition
from bronze.tickets
where closed_at is not null
