"""Model servers as containers behind a proxy, one compose project per slot."""
