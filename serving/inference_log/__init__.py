"""The inference log of a model server: what it was asked and what it answered, as segments in a directory.

Here: settings, the bounded buffer, the thread that writes, and the format of segments, which the receiver reads.
Never here: anything that a request waits for, Parquet, or the deletion of what was written.
"""
