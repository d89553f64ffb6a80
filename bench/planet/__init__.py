"""Plans a whole planet, and shows how good the plans are."""
