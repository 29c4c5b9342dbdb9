"""What bench/run is made of: programs it starts (programs), what it measures (rows), and how it is told (table)."""
