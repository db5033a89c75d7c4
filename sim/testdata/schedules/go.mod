module schedules

go 1.25.0
