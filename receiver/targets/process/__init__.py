"""Model servers as processes of this machine."""
