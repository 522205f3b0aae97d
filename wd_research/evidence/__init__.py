"""How a result is judged: statistics, claims, figures, event files."""
