"""Commands with more to do than to print: one file each."""
