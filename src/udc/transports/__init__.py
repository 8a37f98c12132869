"""How messages leave the process: one `Transport` per kind of address."""
