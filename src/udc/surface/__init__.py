"""HTTP in: endpoint tables, the guard, and the one border where errors become answers."""
