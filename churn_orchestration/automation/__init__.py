"""What acts by itself: jobs, the schedule, sensors, roll back, alerts."""
