"""What is measured: each file has one row of the comparison, and the table that shows it."""
