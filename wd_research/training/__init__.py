"""How nets are trained: data, models, tasks, one step, and a population of them."""
