"""What makes TFF 0.87 run today: its imports, and the process that runs its computations."""
