"""What the commands do, one file each: gather a view, then print it. No decisions: those are the flow's."""
