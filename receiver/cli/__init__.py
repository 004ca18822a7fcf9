"""The command line: options in, tables or JSON out. No decisions are taken here."""
