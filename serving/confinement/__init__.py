"""What a process that runs a model's code can reach, taken away before that code begins.

Here: the kernel's means (Landlock, seccomp), and the list of what is left. Never here: who is confined, and when.
"""
