"""Runs a team's application under its evaluation, in a process and an environment of its own.

1. ``environment`` holds the variables that reach the process.
2. ``process`` starts it under a guard, which ends all that it started, and reads what it reports.
3. ``log`` keeps the end of what it prints.
4. ``prepared`` keeps a process with its imports done for the next version.
5. ``evaluate`` has it run the evaluation, and watches its time and the weighing's lease.
"""
