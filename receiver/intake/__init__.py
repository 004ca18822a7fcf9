"""What senders may say to us: verification and parsing per sender (pure), and the public app that stores it.

Nothing is decided or deployed here: a delivery is checked, stored, committed and answered.
"""
