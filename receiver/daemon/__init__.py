"""``pinrail up``: listeners, threads, signals and the tunnel of a running receiver. No decisions are taken here."""
