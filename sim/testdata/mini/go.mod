module mini

go 1.25.0
