"""One file per outside system; vendor errors become ours here and nowhere else. No decisions are taken here."""
