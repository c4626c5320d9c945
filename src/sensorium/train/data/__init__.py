"""What do recipes learn from? Sources fetched by package name, and how their formats are read."""
